"""Proves that commands start without what they do not need, and that what they remember of agent.yaml is the same."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

import command_line
from reconciler.cli.commanding import COMMANDS
from reconciler.cli.plain import PLAIN, plain_command
from reconciler.host.configuration_memory import NAME, keep, recall
from reconciler.host.layout import Layout
from reconciler.model.configuration import Configuration
from reconciler.model.configuration_reading import read_configuration
from reconciler.model.errors import ConfigurationError
from world import World

FULL = b"""\
root: "state"   # beside this file
repository: {url: ./c, branch: production, path: apps, interval: 1500ms, fastForwardOnly: false}
host: {name: web-1, labels: {role: web}}
http: {address: "::1", port: 8081}
drift: {interval: 1h}
prune: {enabled: false, limit: 1}
store: {limit: 20g}
"""
HEAVY = ("typer", "pydantic", "yaml", "jinja2", "httpx", "rich", "apscheduler", "watchdog", "structlog")


def read(text: bytes) -> Configuration:
    return read_configuration(text, file="agent.yaml")


@pytest.mark.parametrize(
    "text",
    [
        FULL,
        b"repository: {url: ./c}\n",
        b"repository: {url: ./c}\nroot: ../here\n",
        b"root: 'a b'\nrepository: {url: ./c}\n",
    ],
)
def test_what_is_remembered_is_what_was_read(tmp_path: Path, text: bytes) -> None:
    file = tmp_path / "etc" / "agent.yaml"
    file.parent.mkdir()
    configuration = read(text)
    layout = Layout((file.parent / configuration.root).resolve())
    layout.create()
    assert recall(file, text) is None
    keep(layout, text, configuration)
    assert recall(file, text) == configuration
    assert repr(recall(file, text)) == repr(configuration)
    assert recall(file, text + b"\n") is None


@pytest.mark.parametrize("kept", [b"", b"{", b"[]", b'{"of": "x"}', b"\xff", b"[" * 100_000])
def test_a_memory_that_is_torn_counts_as_none(tmp_path: Path, kept: bytes) -> None:
    file = tmp_path / "agent.yaml"
    layout = Layout(tmp_path / "state")
    layout.create()
    keep(layout, FULL, read(FULL))
    (layout.cache / NAME).write_bytes(kept)
    assert recall(file, FULL) is None


@pytest.mark.parametrize(
    "content", [None, {"Path": "x"}, {"json": {}}, {"Configuration": {"unknown": 1}}, {"Host": {}}, ["x"]]
)
def test_a_memory_of_another_kind_counts_as_none(tmp_path: Path, content: object) -> None:
    layout = Layout(tmp_path / "state")
    layout.create()
    keep(layout, FULL, read(FULL))
    place = layout.cache / NAME
    place.write_text(json.dumps({**json.loads(place.read_text()), "configuration": content}))
    assert recall(tmp_path / "agent.yaml", FULL) is None


def test_a_configuration_that_became_wrong_is_refused_although_the_last_one_is_remembered(world: World) -> None:
    with world.engine():
        pass
    assert (world.root / "cache" / NAME).stat().st_mode & 0o777 == 0o600
    assert recall(world.agent_file, world.agent_file.read_bytes()) is not None
    world.configure(nonsense="1")
    with pytest.raises(ConfigurationError, match="nonsense"), world.engine():
        pass


@pytest.mark.builds
def test_commands_that_read_what_is_settled_import_no_more_than_they_need(world: World) -> None:
    world.add_app("blog")
    assert not world.once().failed
    for command in ("once", "status", "drift"):
        program = (
            "import sys\n"
            "from reconciler.cli.main import main\n"
            f"status = main(['-c', {str(world.agent_file)!r}, {command!r}, '--json'])\n"
            f"print(status, [name for name in {HEAVY!r} if name in sys.modules], file=sys.stderr)\n"
        )
        done = subprocess.run(
            [sys.executable, "-c", program],
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
            env=command_line.environment(),
        )
        assert done.stderr.splitlines()[-1] == "0 []", command
        json.loads(done.stdout)


@pytest.mark.parametrize(
    "arguments",
    [
        ["once"],
        ["once", "--json"],
        ["-c", "agent.yaml", "plan"],
        ["status", "--json", "-c", "agent.yaml"],
        ["--config", "agent.yaml", "drift"],
    ],
)
def test_plain_arguments_are_understood_without_typer(arguments: list[str]) -> None:
    assert plain_command(arguments) is not None


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["--help"],
        ["once", "--help"],
        ["once", "--debug"],
        ["once", "--jsn"],
        ["once", "--json", "--json"],
        ["once", "blog"],
        ["once", "--", "--json"],
        ["--json", "once"],
        ["plan", "--app", "blog"],
        ["once", "-c"],
        ["once", "-c", ""],
        ["-c", "--json", "once"],
        ["--config=agent.yaml", "once"],
        ["history", "--json"],
        ["onec"],
    ],
)
def test_all_other_arguments_are_left_to_typer(arguments: list[str]) -> None:
    assert plain_command(arguments) is None


@pytest.mark.parametrize("command", PLAIN)
def test_plain_commands_do_the_same_through_typer(world: World, command: str) -> None:
    assert command in COMMANDS
    world.add_app("blog")
    assert not world.once().failed
    arguments = ("-c", str(world.agent_file), command, "--json")
    plain = command_line.reconciler(*arguments)
    # --debug is none of the plain words, and changes nothing where nothing fails
    typed = command_line.reconciler("--debug", *arguments)
    assert (plain.status, typed.status) == (0, 0), plain.err + typed.err
    assert json.loads(plain.out).keys() == json.loads(typed.out).keys()
    missing = ("-c", str(world.home / "none.yaml"), command)
    assert command_line.reconciler(*missing) == command_line.reconciler(*missing, "--json")
