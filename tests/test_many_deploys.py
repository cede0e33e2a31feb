"""Proves that fifty deploys in a row leave nothing: no vassal, socket, process, folder, descriptor or memory."""

from __future__ import annotations

import gc
import os
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from reconciler.engine.engine import Engine
from reconciler.host.files import TEMPORARY_PREFIX
from reconciler.model.plan import Outcome
from test_agent import wait_for
from world import World, of, wsgi_app

DEPLOYS = 50
COUNTED_FROM = 10
"""Caches, compiled templates and threads are there by then."""
RETAIN = 3
GONE_SECONDS = 20.0
"""How long the last old vassal may take to go; it usually takes one."""
GROWTH_MIB = 6.0


def processes(world: World) -> set[int]:
    """All processes that run below the host's state folder: nginx, the Emperor, vassals, and what apps started."""
    root = str(world.root)
    found = set()
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            with suppress(OSError):
                places = (
                    str((entry / "cwd").readlink()),
                    (entry / "cmdline").read_bytes().decode("utf-8", "replace"),
                )
                if any(root in place for place in places):
                    found.add(int(entry.name))
    return found


def held() -> tuple[int, float]:
    """What this process, in which the engine runs, holds: open descriptors, and resident memory in MiB."""
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return len(list(Path("/proc/self/fd").iterdir())), pages * os.sysconf("SC_PAGE_SIZE") / 1024**2


def left(world: World) -> dict[str, int]:
    """How many of everything are in the state folder."""
    root = world.root
    return {
        "vassals": len(list((root / "vassals").iterdir())),
        "sockets": sum(1 for path in (root / "run").iterdir() if path.is_socket()),
        "run": len(list((root / "run").iterdir())),
        "processes": len(processes(world)),
    }


def deploy(world: World, engine: Engine, number: int) -> None:
    """One commit and its pass."""
    world.commit({"apps/blog/wsgi.py": wsgi_app(f"number {number}")})
    result = of(engine.reconcile("test"), "blog")
    assert result.outcome is Outcome.CHANGED, result.error


@pytest.mark.long
@pytest.mark.timeout(300)
def test_fifty_deploys_leave_as_much_as_one(world: World, record_property: Callable[[str, object], None]) -> None:
    world.add_app("blog", "first", retain=RETAIN)
    started = time.monotonic()
    with world.engine() as engine:
        assert not engine.reconcile("test").failed
        once = left(world)
        before = held()
        for number in range(1, DEPLOYS + 1):
            deploy(world, engine, number)
            if number == COUNTED_FROM:
                before = held()
        after = held()
        seconds = time.monotonic() - started
        assert world.text("blog.example.com") == f"number {DEPLOYS}"

    record_property("seconds per deploy", round(seconds / DEPLOYS, 3))
    gone = wait_for("the end of all old vassals", lambda: left(world) == once, GONE_SECONDS)
    print(
        f"{DEPLOYS} deploys in {seconds:.1f} s, {seconds / DEPLOYS * 1000:.0f} ms each; the last old vassal went "
        f"{gone:.1f} s later; from deploy {COUNTED_FROM} to {DEPLOYS}: {after[0] - before[0]:+d} descriptors, "
        f"{after[1] - before[1]:+.2f} MiB; left: {once}"
    )
    assert after[0] <= before[0]
    assert after[1] - before[1] <= GROWTH_MIB

    releases = list((world.root / "releases/blog").iterdir())
    assert len(releases) <= RETAIN + 1
    assert len(list((world.root / "store/source").iterdir())) <= RETAIN + 1
    assert len(list((world.root / "store/build").iterdir())) == 1
    assert not [path for path in world.root.rglob("*") if path.name.startswith(TEMPORARY_PREFIX)]


def test_sockets_of_a_killed_vassal_are_removed_and_those_that_somebody_listens_on_are_not(world: World) -> None:
    world.add_app("blog", "here")
    world.once()
    run = world.root / "run"
    before = set(run.iterdir())
    dead, alive = run / "blog.0123456789ab.web", run / "blog.ba9876543210.web"
    with socket.socket(socket.AF_UNIX) as killed:
        killed.bind(str(dead))
    with socket.socket(socket.AF_UNIX) as draining:
        draining.bind(str(alive))
        draining.listen()
        world.commit({"apps/blog/wsgi.py": wsgi_app("there")})
        world.once()
        assert not dead.exists()
        assert alive.exists()
    world.commit({"apps/blog/wsgi.py": wsgi_app("everywhere")})
    world.once()
    assert not alive.exists()
    wait_for("the end of the old vassals", lambda: len(set(run.iterdir())) == len(before), GONE_SECONDS)
