"""Proves the voice of the command line: exit statuses, `error:` and `hint:`, streams, colours, start-up imports."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from command_line import environment, in_terminal, reconciler
from reconciler import __version__
from reconciler.cli.commanding import COMMANDS, global_options_first
from reconciler.cli.commands.demo import program
from reconciler.cli.main import main


def lines_of(text: str) -> list[str]:
    return text.rstrip("\n").split("\n")


@pytest.mark.parametrize(
    ("arguments", "error", "hint"),
    [
        (["stauts"], "there is no command 'stauts'", "did you mean `reconciler status`?"),
        (["zzz"], "there is no command 'zzz'", "`reconciler --help` lists all commands"),
        (["once", "--nope"], "no such option: --nope", "`reconciler once --help` explains the arguments"),
        (["--nope"], "no such option: --nope", "`reconciler --help` explains the arguments"),
        (["history"], "missing argument", "`reconciler history --help` explains the arguments"),
        (["status", "more"], "got unexpected extra argument", "`reconciler status --help` explains the arguments"),
        (
            ["history", "blog", "-n", "x"],
            "invalid value for '-n' / '--limit': it must be a whole number",
            "`reconciler history --help` explains the arguments",
        ),
        (["status", "-c"], "-c needs a file", "write `-c FILE`"),
        (["validate", "/nonexistent"], "there is no folder /nonexistent", "name the config repository's folder"),
    ],
)
def test_wrong_use_ends_with_2_and_two_lines_on_standard_error(
    arguments: list[str], error: str, hint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 2
    written = capsys.readouterr()
    assert written.out == ""
    first, second = lines_of(written.err)
    assert first.lower().startswith(f"error: {error}".lower())
    assert second.startswith(f"hint: {hint}")


def test_no_command_shows_the_help_on_standard_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    written = capsys.readouterr()
    assert written.out == ""
    assert "Commands:" in written.err


def test_the_help_lists_every_command_with_a_whole_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    listed = capsys.readouterr().out.partition("Commands:\n")[2]
    rows = {row.split(None, 1)[0]: row.split(None, 1)[1] for row in lines_of(listed)}
    assert list(rows) == list(COMMANDS)
    assert [row for row in rows.values() if not row.endswith(".") or row.endswith("...")] == []


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([name, "--help"]) == 0
    assert f"Usage: reconciler {name}" in capsys.readouterr().out


@pytest.mark.parametrize("arguments", [["--version"], ["-V"], ["-c", "x.yaml", "--version"]])
def test_the_version(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 0
    assert capsys.readouterr().out == f"reconciler {__version__}\n"


@pytest.mark.parametrize(
    "command", ["once", "plan", "status", "drift", "explain x", "history x", "logs x", "retry x"]
)
def test_a_missing_configuration_is_named_and_ends_with_2(
    command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    missing = tmp_path / "agent.yaml"
    assert main([*command.split(), "-c", str(missing)]) == 2
    first, second = lines_of(capsys.readouterr().err)
    assert first == f"error: there is no configuration at {missing}"
    assert second.startswith("hint: ")
    assert list(tmp_path.iterdir()) == []


def test_before_the_first_pass_the_journal_is_missing_and_what_to_do_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "agent.yaml").write_text("repository: {url: ./c}\nroot: ./v\n")
    assert main(["-c", str(tmp_path / "agent.yaml"), "status"]) == 1
    written = capsys.readouterr()
    assert written.out == ""
    assert "error: there is no journal at" in written.err
    assert "hint: run `reconciler once`" in written.err
    assert not (tmp_path / "v").exists()


def test_options_for_all_commands_may_stand_behind_the_command() -> None:
    assert global_options_first(["once", "-c", "f", "--debug", "--json"]) == ["-c", "f", "--debug", "once", "--json"]
    assert global_options_first(["once", "--config=f"]) == ["--config=f", "once"]
    assert global_options_first(["logs", "--", "-c"]) == ["logs", "--", "-c"]


def test_a_traceback_is_shown_only_with_debug(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["validate", "/nonexistent"]) == 2
    assert "Traceback" not in capsys.readouterr().err
    assert main(["--debug", "validate", "/nonexistent"]) == 2
    err = capsys.readouterr().err
    assert "Traceback" in err
    assert lines_of(err)[-2].startswith("error: there is no folder")


def test_a_bug_is_a_sentence_too(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def broken(*_arguments: object) -> None:
        raise ZeroDivisionError("division by zero")

    monkeypatch.setattr("reconciler.cli.validating.validate", broken)
    assert main(["validate", "."]) == 1
    first, second = lines_of(capsys.readouterr().err)
    assert first == "error: unexpected ZeroDivisionError: division by zero"
    assert "--debug" in second


def test_an_interrupt_is_a_sentence_and_130(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(*_arguments: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("reconciler.cli.validating.validate", interrupted)
    assert main(["validate", "."]) == 130
    assert lines_of(capsys.readouterr().err)[-1].startswith("interrupted: ")


def test_a_reader_that_goes_away_is_no_error() -> None:
    command = f"{sys.executable} -m reconciler.cli.main schema | head -c 1; echo ${{PIPESTATUS[0]}}"
    done = subprocess.run(
        ["bash", "-c", command], env=environment(), capture_output=True, text=True, timeout=60, check=False
    )
    # a schema may fit into the pipe before the reader is gone
    assert done.stdout in ("{141\n", "{0\n")
    assert done.stderr == ""


def test_a_broken_pipe_is_quiet_whenever_it_is_noticed() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "wb") as broken:
        done = subprocess.run(
            [sys.executable, "-m", "reconciler.cli.main", "schema"],
            env=environment(),
            stdout=broken,
            stderr=subprocess.PIPE,
            timeout=60,
            check=False,
        )
    assert done.returncode == 141
    assert done.stderr == b""


def test_colour_only_on_a_terminal_that_wants_it() -> None:
    assert "\x1b[1;31merror:" in in_terminal("zzz").out
    assert "\x1b" not in reconciler("zzz").err
    for unwanted in ({"NO_COLOR": "1"}, {"TERM": "dumb"}):
        shown = in_terminal("zzz", env=unwanted).out
        assert "\x1b" not in shown
        assert shown.startswith("error: there is no command 'zzz'\nhint: ")


@pytest.mark.parametrize(
    ("arguments", "unneeded"),
    [
        (["--version"], {"typer", "pydantic", "rich", "json"}),
        (["--help"], {"pydantic", "rich", "git", "structlog", "sqlite3", "yaml"}),
        (["schema"], {"rich", "git", "structlog", "sqlite3", "httpx", "jinja2"}),
        (["zzz"], {"rich", "git", "structlog", "sqlite3", "httpx", "jinja2"}),
    ],
)
def test_a_command_imports_only_what_it_needs(arguments: list[str], unneeded: set[str]) -> None:
    program = (
        "import sys, io; out, sys.stdout = sys.stdout, io.StringIO();"
        "from reconciler.cli.main import main; main(sys.argv[1:]);"
        "print(' '.join(name for name in sys.modules if '.' not in name), file=out)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert unneeded & set(done.stdout.split()) == set()


def test_a_demo_that_cannot_be_made_names_its_folder(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    ended = reconciler("demo", str(tmp_path / "file" / "demo"))
    assert ended.status == 2
    assert ended.err.startswith(f"error: the folder {tmp_path}/file/demo cannot be made: ")
    assert "hint: name another folder" in ended.err


def test_the_demo_says_commands_for_any_terminal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = tmp_path / "venv" / "bin" / "reconciler"
    own.parent.mkdir(parents=True)
    own.write_text("#!/bin/sh\n")
    own.chmod(0o755)
    everywhere = tmp_path / "bin"
    everywhere.mkdir()
    (everywhere / "reconciler").symlink_to(own)
    monkeypatch.setattr("sys.prefix", str(tmp_path / "venv"))
    monkeypatch.setenv("PATH", str(own.parent))
    assert program() == str(own)
    monkeypatch.setenv("PATH", f"{everywhere}:{own.parent}")
    assert program() == "reconciler"
    monkeypatch.setattr("sys.prefix", sys.base_prefix)
    assert program() == "reconciler"
