"""Proves that doctor says what a host has and lacks, with and without a configuration."""

from __future__ import annotations

import json
import socket
from pathlib import Path

import pytest

from reconciler.cli.checks import place
from reconciler.cli.main import main
from reconciler.host.layout import Layout
from tests.world import World


def rows_of(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, dict[str, dict[str, str]]]:
    capsys.readouterr()
    status = main([*arguments, "doctor", "--json"])
    return status, {row["check"]: row for row in json.loads(capsys.readouterr().out)["checks"]}


def test_it_runs_without_a_configuration(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RECONCILER_CONFIG", raising=False)
    status, rows = rows_of(capsys)
    assert status == 0
    assert {"reconciler", "git", "git-lfs", "uv", "nginx", "uwsgi", "python", "configuration"} <= rows.keys()
    assert {rows[name]["level"] for name in ("git", "uv", "nginx", "uwsgi", "python")} == {"ok"}
    assert rows["configuration"]["level"] == "warn"


def test_a_configuration_that_is_named_but_missing_is_a_failure(capsys: pytest.CaptureFixture[str]) -> None:
    status, rows = rows_of(capsys, "-c", "/nonexistent/agent.yaml")
    assert (status, rows["configuration"]["level"]) == (1, "fail")


def test_everything_is_well_where_a_site_is_served(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    config = ("-c", str(world.agent_file))
    world.add_app("blog")
    world.once()
    status, rows = rows_of(capsys, *config)
    assert (status, rows["port"]["level"]) == (0, "ok")
    assert "served by this installation's nginx" in rows["port"]["message"]


@pytest.mark.builds
def test_before_the_first_pass_the_port_is_free_and_nothing_is_made(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["-c", str(world.agent_file), "doctor"]) == 0
    out = capsys.readouterr().out
    assert f"127.0.0.1:{world.port} is free" in out
    assert "This host has what it takes" in out
    assert not world.root.exists()


def test_a_taken_port_is_a_failure_that_names_who_has_it(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", world.port)):
        status, rows = rows_of(capsys, "-c", str(world.agent_file))
    assert (status, rows["port"]["level"]) == (1, "fail")
    assert f"127.0.0.1:{world.port} is in use by" in rows["port"]["message"]
    assert rows["port"]["hint"]


def test_what_lacks_comes_with_how_to_get_it(
    world: World, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    # a PATH with nothing on it: what comes with the package is still found, what comes with the host is not
    monkeypatch.setenv("PATH", str(tmp_path))
    assert main(["-c", str(world.agent_file), "doctor"]) == 1
    out = capsys.readouterr().out
    rows = [row.rstrip() for row in out.splitlines()]
    git = next(number for number, row in enumerate(rows) if row.startswith("fail  git "))
    assert rows[git + 1].strip() == "hint: apt-get install git"
    assert any(row.startswith("warn  git-lfs ") for row in rows)
    assert rows[-1].startswith("This host lacks something: 1 failure, ")


@pytest.mark.parametrize(("root", "level"), [("/v", "ok"), ("/" + "r" * 50, "warn"), ("/" + "r" * 107, "fail")])
def test_a_long_root_leaves_less_room_for_names(root: str, level: str) -> None:
    row = place._socket_paths(Layout(Path(root)))
    assert row.level == level
    if level == "warn":
        characters = int(row.message.split()[-3])
        longest = Layout(Path(root)).socket(f"{'a' * characters}.{'0' * 12}", "stats")
        assert len(str(longest)) == 107


def test_a_root_that_cannot_be_used_is_a_failure(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    world.agent_file.write_text(world.agent_file.read_text().replace("root: ./v", "root: /proc/nothing"))
    status, rows = rows_of(capsys, "-c", str(world.agent_file))
    assert (status, rows["state folder"]["level"]) == (1, "fail")
    world.configure()
