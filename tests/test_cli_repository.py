"""Proves what authors of manifests and CI use: init, validate and schema."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

import examples
from reconciler.cli.main import main
from tests.world import manifest

WRONG = (
    "apiVersion: reconciler/v1\nkind: App\nmetadata: {name: shop}\nspec:\n  source: {repository: .}\n  uwgsi: {}\n"
)


def written(folder: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    capsys.readouterr()
    status = main(arguments)
    out, err = capsys.readouterr()
    return status, out, err


def test_valid_manifests_are_counted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    written(
        tmp_path, {"manifests/a.yaml": manifest("a"), "manifests/deep/b.yml": manifest("b"), "manifests/c.txt": "x"}
    )
    assert run(capsys, "validate", str(tmp_path)) == (0, "Valid: 2 apps in 2 files.\n", "")
    assert json.loads(run(capsys, "validate", str(tmp_path), "--json")[1]) == {
        "valid": True,
        "files": 2,
        "apps": 2,
        "problems": [],
    }


def test_every_mistake_of_every_file_is_told_with_file_line_and_field(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    written(
        tmp_path, {"manifests/shop.yaml": WRONG, "manifests/torn.yaml": "a: [1\n", "manifests/ok.yaml": manifest("a")}
    )
    status, out, err = run(capsys, "validate", str(tmp_path))
    assert (status, err) == (1, "")
    rows = out.splitlines()
    assert any(row.startswith("manifests/shop.yaml:6: spec.uwgsi: unknown key") for row in rows)
    assert any(row.startswith("manifests/shop.yaml:4: spec.uwsgi: ") for row in rows)
    assert any(row.startswith("manifests/torn.yaml:") for row in rows)
    assert rows[-1] == f"Invalid: {len(rows) - 2} problems in 3 files."
    status, out, _ = run(capsys, "validate", str(tmp_path), "--json")
    answer = json.loads(out)
    assert (status, answer["valid"], answer["files"], answer["apps"]) == (1, False, 3, 1)
    assert {"file", "line", "field", "message", "app"} == answer["problems"][0].keys()
    assert {problem["app"] for problem in answer["problems"]} == {"shop", None}


def test_a_folder_without_a_manifests_folder_is_read_itself(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    written(tmp_path, {"a.yaml": manifest("a")})
    assert run(capsys, "validate", str(tmp_path))[0] == 0


def test_where_there_is_nothing_to_read_it_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, _, err = run(capsys, "validate", str(tmp_path))
    assert (status, err.startswith(f"error: there is no manifest in {tmp_path}")) == (2, True)


@pytest.mark.parametrize(
    ("template", "sentence"),
    [
        (None, "there is no templates/own.j2"),
        ("server {\n{% if x %}\n", "templates/own.j2, line "),
        ("{{ app }}", None),
    ],
)
def test_the_template_of_a_manifest_must_be_there_and_parse(
    template: str | None, sentence: str | None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    written(tmp_path, {"manifests/a.yaml": manifest("a", nginx={"template": "own.j2"})})
    if template is not None:
        written(tmp_path, {"templates/own.j2": template})
    status, out, _ = run(capsys, "validate", str(tmp_path))
    # the folder of the manifests itself may be named as well
    assert run(capsys, "validate", str(tmp_path / "manifests"))[0] == status
    if sentence is None:
        assert status == 0
    else:
        assert status == 1
        assert out.startswith(f"manifests/a.yaml:1: spec.nginx.template: {sentence}")


def test_the_manifests_of_this_repository_are_valid(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(capsys, "validate", str(examples.CHECKOUT))[0] == 0


@pytest.mark.parametrize(("arguments", "key"), [(["schema"], "spec"), (["schema", "--agent"], "repository")])
def test_the_schema_is_json_for_editors(arguments: list[str], key: str, capsys: pytest.CaptureFixture[str]) -> None:
    status, out, _ = run(capsys, *arguments)
    schema = json.loads(out)
    assert status == 0
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert key in schema["properties"]


def test_a_scaffold_is_valid_and_committed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "deploy here"
    status, out, err = run(capsys, "init", str(folder))
    assert (status, err) == (0, "")
    assert f"  cd '{folder}'\n  reconciler -c agent.yaml once\n" in out
    assert run(capsys, "validate", str(folder))[0] == 0
    assert examples.git(folder, "status", "--porcelain") == ""
    assert examples.git(folder, "symbolic-ref", "--short", "HEAD") == "main"
    assert "/var/" in (folder / ".gitignore").read_text()
    for name, schema in (("manifests/hello.yaml", "../schema/manifest.json"), ("agent.yaml", "schema/agent.json")):
        assert (folder / name).read_text().startswith(f"# yaml-language-server: $schema={schema}\n")
        assert json.loads(((folder / name).parent / schema).read_text())["type"] == "object"
    assert not list(folder.rglob("__pycache__"))


def test_a_scaffold_overwrites_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    written(tmp_path, {"agent.yaml": "mine"})
    status, _, err = run(capsys, "init", str(tmp_path))
    assert (status, err.startswith(f"error: {tmp_path}/agent.yaml exists already\nhint: ")) == (2, True)
    assert [path.name for path in tmp_path.iterdir()] == ["agent.yaml"]
    assert (tmp_path / "agent.yaml").read_text() == "mine"


def test_a_scaffold_in_a_repository_leaves_the_commit_to_its_owner(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    examples.new_repository(tmp_path)
    status, out, err = run(capsys, "init", str(tmp_path))
    assert (status, "Next:" in out) == (0, True)
    assert err.startswith("warning: nothing is committed: it is a git repository already\nhint: ")
    assert examples.git(tmp_path, "status", "--porcelain").startswith("?? ")


def test_a_scaffold_has_an_identity_of_its_own_only_where_there_is_none(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("GIT_AUTHOR_NAME", "GIT_AUTHOR_EMAIL", "GIT_COMMITTER_NAME", "GIT_COMMITTER_EMAIL", "EMAIL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", "/dev/null")
    assert run(capsys, "init", str(tmp_path / "one"))[0] == 0
    assert examples.git(tmp_path / "one", "log", "--format=%an") == "reconciler init"
    own = written(tmp_path, {"gitconfig": "[user]\nname = Me\nemail = me@example.com\n"}) / "gitconfig"
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(own))
    assert run(capsys, "init", str(tmp_path / "two"))[0] == 0
    assert examples.git(tmp_path / "two", "log", "--format=%an") == "Me"
    configured = subprocess.run(["git", "config", "--local", "user.name"], cwd=tmp_path / "one", check=False)
    assert configured.returncode == 1
