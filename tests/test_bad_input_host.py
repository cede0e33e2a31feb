"""Proves that a port in use, and whatever an agent leaves that is killed at any point, end in sites as git asks."""

from __future__ import annotations

import os
import signal
import socket
from pathlib import Path

import pytest

from breaking import show, well_said
from command_line import Ended, reconciler
from reconciler.model.plan import Outcome
from world import World, free_port, manifest, of, wsgi_app

ONCE_ONLY = "test -e data/killed || { touch data/killed; kill -9 $PPID; }"
"""A command that kills the agent that runs it, the first time."""


def once_in_a_process(world: World) -> Ended:
    """``reconciler once``, as a process that can be killed."""
    ended = reconciler("-c", str(world.agent_file), "once")
    print(ended.out, ended.err)
    return ended


def left_over(world: World) -> list[str]:
    """What is not there for good: temporary files, and vassals that nothing leads to."""
    linked = {f"{link.name}.{link.readlink().name}.ini" for link in (world.root / "public").iterdir()}
    vassals = {path.name for path in (world.root / "vassals").glob("*.ini")}
    temporary = {str(path.relative_to(world.root)) for path in world.root.rglob(".tmp-*")}
    return sorted((vassals - linked) | temporary)


def test_a_port_in_use_is_named_and_everything_converges_once_it_is_free(world: World) -> None:
    world.add_app("blog", "hello")
    world.add_app("other", "hi")
    with socket.create_server(("127.0.0.1", world.port)):
        result = world.once()
        show(result)
        for name in ("blog", "other"):
            failed = of(result, name)
            assert failed.error is not None
            assert str(failed.error).startswith(f"127.0.0.1:{world.port} is in use by ")
            assert f"pid {os.getpid()}" in str(failed.error)
            assert "http.port" in (failed.error.hint or "")
            well_said(failed.error)
    result = world.once()
    show(result)
    assert not result.failed
    assert (world.text("blog.example.com"), world.text("other.example.com")) == ("hello", "hi")


def test_moving_to_a_port_in_use_leaves_the_sites_where_they_are(world: World) -> None:
    world.add_app("blog", "hello")
    assert not world.once().failed
    here, taken = world.port, free_port()
    with socket.create_server(("127.0.0.1", taken)):
        world.port = taken
        world.configure()
        result = world.once()
        show(result)
        assert result.failed
        assert f"127.0.0.1:{taken} is in use by " in str(of(result, "blog").error)
        world.port = here
        assert world.text("blog.example.com") == "hello"
    world.port = taken
    assert not world.once().failed
    assert world.text("blog.example.com") == "hello"


@pytest.mark.parametrize("hook", ["beforeSwitch", "afterSwitch"])
def test_an_agent_killed_around_the_switch_converges_with_the_next_pass(world: World, hook: str) -> None:
    spec = {"shared": ["data"], "hooks": {hook: [ONCE_ONLY]}}
    world.add_app("blog", "first", shared=["data"])
    assert once_in_a_process(world).status == 0
    world.commit({"apps/blog/wsgi.py": wsgi_app("second"), "manifests/blog.yaml": manifest("blog", **spec)})
    assert once_in_a_process(world).status == -signal.SIGKILL
    assert world.text("blog.example.com") == ("first" if hook == "beforeSwitch" else "second")
    assert once_in_a_process(world).status == 0
    assert world.text("blog.example.com") == "second"
    assert left_over(world) == []
    assert of(world.once(), "blog").outcome is Outcome.UNCHANGED


@pytest.mark.parametrize("hook", ["beforeSwitch", "afterSwitch"])
def test_a_change_that_is_reverted_after_the_agent_was_killed_leaves_nothing(world: World, hook: str) -> None:
    spec = {"shared": ["data"], "hooks": {hook: [ONCE_ONLY]}}
    world.add_app("blog", "first", shared=["data"])
    assert once_in_a_process(world).status == 0
    world.commit({"apps/blog/wsgi.py": wsgi_app("second"), "manifests/blog.yaml": manifest("blog", **spec)})
    assert once_in_a_process(world).status == -signal.SIGKILL
    world.commit(
        {"apps/blog/wsgi.py": wsgi_app("first"), "manifests/blog.yaml": manifest("blog", shared=["data"])}, "Revert"
    )
    assert once_in_a_process(world).status == 0
    assert world.text("blog.example.com") == "first"
    assert left_over(world) == []


@pytest.mark.parametrize("hook", ["beforeSwitch", "afterSwitch"])
def test_a_first_release_that_is_removed_after_the_agent_was_killed_leaves_nothing(world: World, hook: str) -> None:
    world.add_app("other", "hi")
    world.add_app("blog", "first", shared=["data"], hooks={hook: [ONCE_ONLY]})
    assert once_in_a_process(world).status == -signal.SIGKILL
    world.commit({"apps/blog/wsgi.py": None, "manifests/blog.yaml": None})
    assert once_in_a_process(world).status == 0
    assert list((world.root / "vassals").glob("blog*")) == []
    assert world.get("/", "blog.example.com").status_code == 404
    assert left_over(world) == []
    assert world.text("other.example.com") == "hi"


def test_an_agent_killed_in_a_build_leaves_nothing_half_made(world: World, tmp_path: Path) -> None:
    marker = tmp_path / "killed"
    command = f"test -e {marker} || {{ touch {marker}; kill -9 $PPID; }}"
    world.add_app("blog", "first", build={"commands": [command]})
    assert once_in_a_process(world).status == -signal.SIGKILL
    assert any(".tmp-" in name for name in left_over(world))
    assert once_in_a_process(world).status == 0
    assert world.text("blog.example.com") == "first"
    assert left_over(world) == []


def test_files_that_somebody_else_put_there_are_not_touched(world: World) -> None:
    world.add_app("blog", "first")
    assert not world.once().failed
    foreign = world.root / "nginx" / "sites" / "mine.conf"
    foreign.write_text("# my own site\n")
    world.commit({"apps/blog/wsgi.py": wsgi_app("second")})
    assert not world.once().failed
    assert foreign.exists()
