"""The closure of an app's requirements holds every file that decides its environment, and none outside the app."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable

import pytest

from reconciler.model.errors import StageFailed
from reconciler.model.requirement_files import MAX_FILES, logical_lines, without_editable
from reconciler.model.requirements import Closure, Kind, closure

HASH = "sha256:" + "0" * 64
PROJECT = '[project]\nname = "blog"\nversion = "1"\ndependencies = ["flask"]\n'
PACKAGE = PROJECT + '[build-system]\nrequires = ["hatchling"]\n'


def lock(source: str) -> str:
    return f'version = 1\n[[package]]\nname = "blog"\nversion = "1"\nsource = {source}\n'


def reader(files: dict[str, str | bytes]) -> Callable[[str], bytes | None]:
    encoded = {path: text.encode() if isinstance(text, str) else text for path, text in files.items()}
    return encoded.get


def of(files: dict[str, str | bytes], entry: str | None = None) -> Closure:
    return closure(entry, reader(files))


def test_an_app_without_requirements_is_legal() -> None:
    assert of({"app.py": ""}) == Closure(Kind.NONE, None, {}, False, False)


def test_a_pyproject_with_settings_of_tools_only_asks_for_nothing() -> None:
    assert of({"pyproject.toml": "[tool.ruff]\nline-length = 100\n"}).kind is Kind.NONE


def test_the_lock_file_comes_before_requirements_and_those_before_the_project() -> None:
    files: dict[str, str | bytes] = {
        "uv.lock": lock('{ virtual = "." }'),
        "requirements.txt": "flask\n",
        "pyproject.toml": PROJECT,
    }
    assert of(files).kind is Kind.UV_LOCK
    assert set(of(files).files) == {"uv.lock", "pyproject.toml"}
    del files["uv.lock"]
    assert of(files).kind is Kind.REQUIREMENTS
    del files["requirements.txt"]
    assert of(files).kind is Kind.PYPROJECT


def test_includes_are_followed_relative_to_the_file_that_names_them() -> None:
    found = of(
        {
            "requirements/prod.txt": (
                "-r base.txt\n-c ../limits.txt\n--requirement=more/a.txt\n--constraint more/b.txt\n"
            ),
            "requirements/base.txt": "flask\n",
            "limits.txt": "click<9\n",
            "requirements/more/a.txt": "-r ../base.txt  # again\n",
            "requirements/more/b.txt": "-r \\\n  'c d.txt'\n",
            "requirements/more/c d.txt": "",
            "unrelated.txt": "",
        },
        "requirements/prod.txt",
    )
    assert found.entry == "requirements/prod.txt"
    assert sorted(found.files) == [
        "limits.txt",
        "requirements/base.txt",
        "requirements/more/a.txt",
        "requirements/more/b.txt",
        "requirements/more/c d.txt",
        "requirements/prod.txt",
    ]
    assert not found.needs_source


def test_files_that_include_each_other_end() -> None:
    found = of({"requirements.txt": "-r a.txt\n", "a.txt": "-r requirements.txt\n-r a.txt\nsix\n"})
    assert set(found.files) == {"requirements.txt", "a.txt"}


@pytest.mark.parametrize(
    "line",
    [
        "-r ../secret.txt",
        "-c a/../../secret.txt",
        "-r /etc/passwd",
        "-r https://example.com/requirements.txt",
        "-r file:///etc/passwd",
        "-e ..",
        "../lib",
        "lib @ file:///opt/lib",
        "/opt/lib-1-py3-none-any.whl",
        "--find-links ../wheels",
    ],
)
def test_nothing_outside_of_the_app_is_named(line: str) -> None:
    with pytest.raises(StageFailed, match=r"requirements\.txt (names|includes) .*(outside|not in git)") as caught:
        of({"requirements.txt": f"six\n{line}\n"})
    assert caught.value.hint


def test_the_password_of_a_refused_address_is_not_shown() -> None:
    with pytest.raises(StageFailed) as caught:
        of({"requirements.txt": "-r https://me:hunter2@example.com/r.txt"})
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("entry", ["requirements/prod.txt", "uv.lock", "pyproject.toml"])
def test_a_named_file_that_is_missing_is_an_error_with_a_hint(entry: str) -> None:
    with pytest.raises(StageFailed, match=f"build.requirements names {entry}, which is not") as caught:
        of({"requirements.txt": "six\n"}, entry)
    assert f"commit {entry}" in (caught.value.hint or "")


def test_a_missing_include_names_both_files() -> None:
    with pytest.raises(StageFailed, match=r"requirements\.txt includes base\.txt, which is not"):
        of({"requirements.txt": "-r base.txt\n"})


@pytest.mark.parametrize("entry", ["../requirements.txt", "/etc/passwd", "https://example.com/r.txt"])
def test_the_entry_is_inside_of_the_app(entry: str) -> None:
    with pytest.raises(StageFailed, match=r"build\.requirements"):
        of({}, entry)


@pytest.mark.parametrize("entry", ["Pipfile.lock", "poetry.lock", "pylock.toml"])
def test_lock_files_of_other_tools_are_refused_by_name(entry: str) -> None:
    with pytest.raises(StageFailed, match=f"{entry} is not a kind of file"):
        of({entry: ""}, entry)


@pytest.mark.parametrize(
    "line",
    [
        ".",
        "./lib",
        "lib/",
        "-e .",
        "-e ./lib",
        "-e lib",
        "--editable=./lib",
        "file:lib",
        "lib @ ./lib",
        "lib[fast] @ file:./lib ; python_version > '3'",
        ".[web]",
        "lib @ file:///${PROJECT_ROOT}/lib",
        "wheels/lib-1-py3-none-any.whl --hash=" + HASH,
        "lib-1-py3-none-any.whl",
        "lib-1.tar.gz",
        "--find-links wheels",
        "-f ./wheels",
    ],
)
def test_a_requirement_in_the_app_needs_its_source(line: str) -> None:
    assert of({"requirements.txt": f"six\n{line}\n"}).needs_source


@pytest.mark.parametrize(
    "line",
    [
        "flask",
        "flask[async]>=3,<4 ; python_version >= '3.11' and sys_platform == 'linux'",
        "flask;python_version<'3'",
        "lib @ https://example.com/lib-1-py3-none-any.whl",
        "lib @ git+https://git@example.com/lib.git@main#subdirectory=x",
        "-e git+https://example.com/lib.git#egg=lib",
        "git+ssh://git@example.com/lib.git",
        "https://example.com/lib-1.tar.gz",
        "--index-url https://example.com/simple",
        "--extra-index-url https://example.com/simple",
        "-i https://example.com/simple",
        "--find-links /srv/wheels",
        "--find-links https://example.com/wheels",
        "--no-binary :all:",
        "--no-index",
        "--pre",
        "# -e ./lib",
        "six  # ./lib",
    ],
)
def test_a_requirement_of_an_index_does_not_need_the_source(line: str) -> None:
    found = of({"requirements.txt": f"{line}\n"})
    assert not found.needs_source
    assert found.files == {"requirements.txt": f"{line}\n".encode()}


def test_lines_are_joined_and_comments_left_out() -> None:
    text = "# top\r\nflask==3 \\\n    --hash=a \\\n    --hash=b\n\n  six # why\nidna \\\n # ends here\n"
    text += "url#fragment\nlast \\"
    assert list(logical_lines(text)) == [
        "flask==3     --hash=a     --hash=b",
        "six",
        "idna",
        "url#fragment",
        "last",
    ]


@pytest.mark.parametrize("line", [f"six==1 --hash={HASH}", f"six==1 \\\n    --hash={HASH}", "--require-hashes"])
def test_hash_checking_is_recognized(line: str) -> None:
    assert of({"requirements.txt": line}).requires_hashes
    assert not of({"requirements.txt": "six==1  # --hash=" + HASH}).requires_hashes


def test_links_into_a_folder_become_copies() -> None:
    content = b"six\n-e ./lib\n  --editable=./b\n-e git+https://example.com/x\n--extra-index-url y\nx-e y\n"
    assert without_editable(content) == (
        b"six\n./lib\n  ./b\ngit+https://example.com/x\n--extra-index-url y\nx-e y\n"
    )


@pytest.mark.parametrize(
    ("text", "needs_source"),
    [
        (PROJECT, False),
        (PACKAGE, True),
        (PACKAGE + "[tool.uv]\npackage = false\n", False),
        (PROJECT + "[tool.uv]\npackage = true\n", True),
        ('[build-system]\nrequires = ["setuptools"]\n', True),
        (PROJECT + "[tool.uv.sources]\nlib = { path = 'lib' }\n", True),
        (PROJECT + "[tool.uv.sources]\nlib = [{ workspace = true }]\n", True),
        (PROJECT + "[tool.uv.sources]\nlib = { git = 'https://example.com/lib.git' }\n", False),
        (PROJECT + "[tool.uv.workspace]\nmembers = ['lib']\n", True),
        ('[project]\nname = "blog"\nversion = "1"\ndynamic = ["dependencies"]\n', True),
        ('[project]\nname = "blog"\nversion = "1"\ndependencies = ["lib @ file:lib"]\n', True),
    ],
)
def test_a_project_needs_its_source_when_it_or_a_part_of_it_is_installed(text: str, needs_source: bool) -> None:
    assert of({"pyproject.toml": text}).needs_source is needs_source


@pytest.mark.parametrize(
    ("source", "project", "needs_source"),
    [
        ('{ virtual = "." }', PROJECT, False),
        ('{ editable = "." }', PACKAGE, True),
        ('{ virtual = "." }', PACKAGE, True),
        ('{ registry = "https://example.com/simple" }', PROJECT, False),
        ('{ virtual = "packages/lib" }', PROJECT, True),
        ('{ directory = "lib" }', PROJECT, True),
        ('{ path = "wheels/lib-1-py3-none-any.whl" }', PROJECT, True),
    ],
)
def test_a_lock_file_needs_the_source_when_it_installs_from_it(source: str, project: str, needs_source: bool) -> None:
    assert of({"uv.lock": lock(source), "pyproject.toml": project}).needs_source is needs_source


def test_a_lock_file_that_points_out_of_the_app_is_refused() -> None:
    with pytest.raises(StageFailed, match=r"uv\.lock names '\.\./lib', which is outside"):
        of({"uv.lock": lock('{ editable = "../lib" }'), "pyproject.toml": PROJECT})


def test_uv_settings_beside_a_project_are_an_input() -> None:
    assert set(of({"pyproject.toml": PROJECT, "uv.toml": ""}).files) == {"pyproject.toml", "uv.toml"}


@pytest.mark.parametrize(
    ("files", "entry", "sentence"),
    [
        ({"uv.lock": lock('{ virtual = "." }')}, None, "uv.lock has no pyproject.toml beside it"),
        ({"uv.lock": "x =", "pyproject.toml": PROJECT}, None, "uv.lock is not TOML"),
        ({"uv.lock": "package = 3", "pyproject.toml": PROJECT}, None, "uv.lock is not a lock file of uv"),
        ({"pyproject.toml": "["}, None, "pyproject.toml is not TOML"),
        ({"pyproject.toml": "a=" + "[" * 5000}, None, "pyproject.toml is not TOML"),
        ({"pyproject.toml": "[tool.x]"}, "pyproject.toml", "neither a [project] nor a [build-system]"),
        ({"requirements.txt": b"\xff\xfe\x00"}, None, "requirements.txt is not UTF-8 text"),
        ({"requirements.txt": b"#" * (1024 * 1024 + 1)}, None, "requirements.txt has 1048577 bytes"),
    ],
)
def test_a_malformed_file_is_named(files: dict[str, str | bytes], entry: str | None, sentence: str) -> None:
    with pytest.raises(StageFailed) as caught:
        of(files, entry)
    assert sentence in str(caught.value)


def test_an_endless_chain_of_includes_ends() -> None:
    def endless(path: str) -> bytes:
        number = int(path.removesuffix(".txt").removeprefix("r"))
        return f"-r r{number + 1}.txt\n".encode()

    with pytest.raises(StageFailed, match=f"more than {MAX_FILES} files"):
        closure("r0.txt", endless)


@pytest.mark.parametrize(
    "text", ["a" + " " * 500_000 + "b", "a[" * 250_000, "#" * 900_000, "-r" + "=" * 500_000, "\\\n" * 400_000]
)
def test_hostile_lines_take_linear_time(text: str) -> None:
    started = time.process_time()
    with contextlib.suppress(StageFailed):
        of({"requirements.txt": text})
    assert time.process_time() - started < 3


@pytest.mark.parametrize("path", ["pyproject.toml", "uv.lock"])
def test_tables_of_a_wrong_type_are_no_crash(path: str) -> None:
    texts = {
        "pyproject.toml": "tool = 3\nproject = {dynamic = 1, dependencies = {a = 1}}\n",
        "uv.lock": "package = [3]\n",
    }
    assert of({"pyproject.toml": texts["pyproject.toml"], path: texts[path]}).files
