"""Interpreters are found by version without a download, are never a virtual environment's, and are asked for once."""

from __future__ import annotations

import contextlib
import json
import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest

from reconciler.host import interpreters as module
from reconciler.host.interpreters import HostInterpreter, Interpreters, identity, running_interpreter, uv_binary
from reconciler.model.errors import StageFailed

RUNNING_MINOR = ".".join(platform.python_version_tuple()[:2])


@pytest.fixture(scope="session")
def other() -> HostInterpreter:
    """A CPython of another minor version than the one that runs the tests."""
    interpreters = Interpreters(None)
    for minor in ("3.12", "3.13", "3.11", "3.14", "3.10"):
        if minor != RUNNING_MINOR:
            with contextlib.suppress(StageFailed):
                return interpreters.find(minor)
    pytest.skip(f"this host has no Python besides {RUNNING_MINOR}")


def test_uv_lists_the_interpreters_of_this_host_the_newest_first() -> None:
    listed = Interpreters(None)._list()
    assert all(interpreter.executable.is_absolute() for interpreter in listed)
    orders = [module._order(interpreter.version) for interpreter in listed]
    assert orders == sorted(orders, reverse=True)


@pytest.fixture
def no_program(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fail the test when it starts a program."""

    def refuse(*arguments: object, **_options: object) -> None:
        raise AssertionError(f"a program was started: {arguments}")

    monkeypatch.setattr(subprocess, "Popen", refuse)


def fake_python(folder: Path, version: str) -> Path:
    """An executable that answers as a Python of ``version`` would; each version needs its own folder."""
    folder.mkdir(parents=True, exist_ok=True)
    executable = folder / f"python{'.'.join(version.split('.')[:2])}"
    executable.write_text(f'#!/bin/sh\necho \'["cpython", "{version}", "{executable}"]\'\n')
    executable.chmod(0o755)
    return executable


def cached(tmp_path: Path, wanted: str, executable: Path, version: str) -> Path:
    file = tmp_path / "interpreters.json"
    status = executable.stat()
    entry = {
        "implementation": "cpython",
        "version": version,
        "executable": str(executable),
        "stamp": [status.st_ino, status.st_size, status.st_mtime_ns],
    }
    file.write_text(json.dumps({"format": 1, "interpreters": {wanted: entry}}))
    return file


@pytest.mark.usefixtures("no_program")
def test_without_a_version_it_is_the_base_of_the_running_interpreter() -> None:
    found = Interpreters(None).find(None)
    assert found.version == platform.python_version()
    assert found.executable.is_absolute()
    assert Path(sys.prefix) == Path(sys.base_prefix) or Path(sys.prefix) not in found.executable.parents


@pytest.mark.usefixtures("no_program")
@pytest.mark.parametrize("wanted", [RUNNING_MINOR, platform.python_version()])
def test_the_running_version_is_found_without_a_program(wanted: str) -> None:
    assert Interpreters(None).find(wanted) == running_interpreter()


def test_another_version_is_found_and_is_no_virtual_environment(other: HostInterpreter) -> None:
    found = Interpreters(None).find(other.minor)
    assert found.minor == other.minor
    script = "import sys; print(sys.prefix == sys.base_prefix, sys.version.split()[0])"
    answer = subprocess.run([found.executable, "-c", script], capture_output=True, text=True, check=True, timeout=30)
    assert answer.stdout.split() == ["True", found.version]


def test_an_environment_on_path_leads_to_the_interpreter_below_it(other: HostInterpreter, tmp_path: Path) -> None:
    base = Interpreters(None).find(other.minor)
    venv = tmp_path / "venv"
    command = [str(uv_binary()), "venv", "-q", "--no-project", "--no-config", "-p", str(base.executable), str(venv)]
    subprocess.run(command, check=True, timeout=60)
    environment = {"PATH": str(venv / "bin"), "VIRTUAL_ENV": str(venv), "HOME": str(tmp_path)}
    assert Interpreters(None, environment=environment).find(other.minor).executable == base.executable


def test_a_second_process_starts_no_program(
    other: HostInterpreter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "cache" / "interpreters.json"
    first = Interpreters(file)
    found = first.find(other.minor)
    monkeypatch.setattr(subprocess, "Popen", None)
    assert first.find(other.minor) == found
    assert Interpreters(file).find(other.minor) == found


@pytest.mark.usefixtures("no_program")
def test_what_was_found_first_stays(tmp_path: Path) -> None:
    executable = fake_python(tmp_path, f"{RUNNING_MINOR}.99")
    file = cached(tmp_path, RUNNING_MINOR, executable, f"{RUNNING_MINOR}.99")
    assert Interpreters(file).find(RUNNING_MINOR) == HostInterpreter("cpython", f"{RUNNING_MINOR}.99", executable)


@pytest.mark.usefixtures("no_program")
@pytest.mark.parametrize("change", ["replaced", "removed"])
def test_another_file_at_the_same_path_is_asked_again(tmp_path: Path, change: str) -> None:
    executable = fake_python(tmp_path, f"{RUNNING_MINOR}.99")
    file = cached(tmp_path, RUNNING_MINOR, executable, f"{RUNNING_MINOR}.99")
    executable.unlink()
    if change == "replaced":
        executable.write_text("another")
    assert Interpreters(file).find(RUNNING_MINOR) == running_interpreter()
    assert json.loads(file.read_text())["interpreters"][RUNNING_MINOR]["version"] == platform.python_version()


@pytest.mark.usefixtures("no_program")
@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b"\xff\x00",
        b'{"format": 1}',
        b'{"format": 2, "interpreters": {}}',
        b'{"format": 1, "interpreters": {"3.11": {"stamp": [1, 2]}}}',
        b'{"format": 1, "interpreters": {"3.11": 5}}',
        b"[" * 100_000,
    ],
)
def test_a_corrupt_cache_is_ignored(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "interpreters.json"
    file.write_bytes(content)
    assert Interpreters(file).find(RUNNING_MINOR) == running_interpreter()
    assert json.loads(file.read_text())["format"] == 1


def test_a_cache_that_cannot_be_written_is_no_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert Interpreters(tmp_path / "file" / "interpreters.json").find(RUNNING_MINOR) == running_interpreter()


def test_a_version_that_is_not_here_is_an_error_that_lists_what_is(tmp_path: Path) -> None:
    with pytest.raises(StageFailed, match=r"^Python 3\.99 is not on this host$") as caught:
        Interpreters(tmp_path / "interpreters.json").find("3.99")
    hint = caught.value.hint or ""
    assert platform.python_version() in hint
    assert "apt-get install python3.99" in hint
    assert "uv python install 3.99" in hint


def test_a_missing_version_is_asked_for_again_only_when_a_folder_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def ask(variables: dict[str, str]) -> tuple[HostInterpreter, ...]:
        asked.append(variables["PATH"])
        return ()

    monkeypatch.setattr(module, "_ask_uv", ask)
    folder = tmp_path / "bin"
    folder.mkdir()
    interpreters = Interpreters(None, environment={"PATH": f"{folder}:relative:/x/shims", "HOME": str(tmp_path)})
    for _ in range(3):
        with pytest.raises(StageFailed):
            interpreters.find("3.99")
    assert asked == [str(folder)]
    (folder / "python3.99").touch()
    os.utime(folder, ns=(1, 1))
    with pytest.raises(StageFailed):
        interpreters.find("3.99")
    assert len(asked) == 2


def test_folders_of_version_managers_are_searched(tmp_path: Path) -> None:
    (tmp_path / ".pyenv/versions/3.99.1/bin").mkdir(parents=True)
    (tmp_path / "asdf/installs/python/3.99.2/bin").mkdir(parents=True)
    environment = {"PATH": "/bin", "HOME": str(tmp_path), "ASDF_DATA_DIR": str(tmp_path / "asdf")}
    assert Interpreters(None, environment=environment)._folders() == (
        "/bin",
        f"{tmp_path}/.pyenv/versions/3.99.1/bin",
        f"{tmp_path}/asdf/installs/python/3.99.2/bin",
    )


def test_releases_come_before_pre_releases_and_newer_before_older() -> None:
    versions = ["3.15.0a7", "3.9.18", "3.11.2", "3.11.10"]
    assert sorted(versions, key=module._order) == ["3.15.0a7", "3.9.18", "3.11.2", "3.11.10"]


def test_the_broken_interpreter_is_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    good = fake_python(tmp_path / "good", "3.99.1")
    listed = tuple(HostInterpreter("cpython", "3.99.2", path) for path in (tmp_path / "gone", Path("/bin/false")))
    monkeypatch.setattr(module, "_ask_uv", lambda _: (*listed, HostInterpreter("cpython", "3.99.1", good)))
    assert Interpreters(None).find("3.99") == HostInterpreter("cpython", "3.99.1", good)


def test_the_identity_keeps_the_patch_version_apart() -> None:
    assert identity(HostInterpreter("cpython", "3.11.7", Path("/usr/bin/python3.11"))) == {
        "implementation": "cpython",
        "version": "3.11",
        "patch": "3.11.7",
    }
