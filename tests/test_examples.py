"""The worked manifests are valid and the config repositories that tests make from them are whole."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from pydantic import TypeAdapter

import examples
from reconciler.model.manifest import Manifest


def read_manifests(folder: Path) -> list[Manifest]:
    adapter = TypeAdapter(Manifest)
    files = sorted((folder / "manifests").glob("*.yaml"))
    return [adapter.validate_python(document) for file in files for document in yaml.safe_load_all(file.read_text())]


def test_every_manifest_is_valid_and_names_an_app_that_is_there() -> None:
    manifests = read_manifests(examples.CHECKOUT)
    assert sorted(manifest.name for manifest in manifests) == ["api", "django", "flask", "web"]
    for manifest in manifests:
        module = manifest.spec.uwsgi.module.split(":")[0].replace(".", "/")
        assert (examples.CHECKOUT / manifest.spec.source.directory / f"{module}.py").is_file()


def test_the_repository_has_all_examples_in_one_commit_and_nothing_uncommitted(tmp_path: Path) -> None:
    folder = examples.make_config_repository(tmp_path / "config")
    assert len(read_manifests(folder)) == 4
    assert examples.git(folder, "rev-list", "--count", "main") == "1"
    assert examples.git(folder, "status", "--porcelain") == ""
    assert (folder / "examples/django/manage.py").stat().st_mode & 0o100


@pytest.mark.parametrize(("name", "apps"), [("flask", {"flask"}), ("monorepo", {"api", "web"})])
def test_only_some_examples_bring_their_own_apps_alone(tmp_path: Path, name: str, apps: set[str]) -> None:
    folder = examples.make_config_repository(tmp_path / "config", only=[name])
    assert {manifest.name for manifest in read_manifests(folder)} == apps
    assert [path.name for path in (folder / "examples").iterdir()] == [name]


def test_commits_return_their_ids_and_a_revert_brings_the_files_back(tmp_path: Path) -> None:
    folder = examples.make_config_repository(tmp_path / "config", only=["flask"])
    stylesheet = folder / "examples/flask/static/site.css"
    before = stylesheet.read_text()
    changed = examples.write_and_commit(folder, {"examples/flask/static/site.css": "a{}", "new/file": "x"}, "Change")
    assert changed == examples.git(folder, "rev-parse", "main")
    assert examples.revert(folder) != changed
    assert stylesheet.read_text() == before
    assert not (folder / "new/file").exists()
