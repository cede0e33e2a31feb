"""What more apps, more files and a longer history cost."""

from __future__ import annotations

import shutil
import statistics
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack

from bench.growing import FIRST, MONOREPO, Seen, engine_of_one, seen_from_young_processes
from bench.measuring import Action, command, in_turn, timed
from bench.reconciling import environment, reconciler
from bench.rows import Row, bounded, plain, slower
from many import commit_many, settled
from reconciler.engine.engine import Engine
from reconciler.host.journal import PassRecord
from world import World, new_world, of, wsgi_app

RUNS = 5
APPS = (1, 10, 100, 1000)
FILES = (10, 1000, 100_000)
HISTORIES = (10, 10_000)
MANY = 1000
MANY_SECONDS = 1.0
MANY_MIB = 150.0
CHANGE_TIMES = 2.0
FILES_IN_A_FOLDER = 500
LINE = "x" * 60


def rows(quick: bool) -> Iterator[Row]:
    """All rows of this part."""
    runs = 2 if quick else RUNS
    one: Seen | None = None
    for count in (1, 20) if quick else APPS:
        if one is None:
            (one,) = (seen,) = hosts_with((count,), runs)
        else:
            one, seen = hosts_with((1, count), runs)
        yield from _of_apps(count, seen, one)
    yield from _of_a_monorepo(20 if quick else MANY, runs)
    for count in (10, 200) if quick else FILES:
        yield from _files(count, 2 if quick or count > MANY else RUNS)
    for count in (10, 200) if quick else HISTORIES:
        yield from _history(count, 2 if quick else RUNS)


def hosts_with(counts: Sequence[int], runs: int, *, apart: bool = False) -> list[Seen]:
    """What hosts with so many apps cost, beside each other.

    The apps of the last one may be ``apart`` from the manifests, in a repository of their own.
    """
    with ExitStack() as stack:
        worlds = []
        for number, count in enumerate(counts, 1):
            world = stack.enter_context(new_world())
            monorepo = world.home / MONOREPO if apart and number == len(counts) else None
            commit_many(world, 1, monorepo)
            with engine_of_one(world) as engine:
                first = of(engine.reconcile("bench"), FIRST)
                if first.error is not None:
                    raise first.error
            with settled(world, count, monorepo):
                pass
            worlds.append(world)
        return seen_from_young_processes(worlds, runs)


def _of_apps(count: int, seen: Seen, one: Seen) -> Iterator[Row]:
    name = f"{count:,} app{'s' if count > 1 else ''}"
    note = f"{seen.watches:,} watches, journal {seen.journal / 1024:,.0f} KiB, {seen.git_unchanged} git processes"
    what, whole = f"{name}, nothing to do, warm", f"{name}, nothing to do, everything looked at"
    if count == MANY:
        yield bounded(what, seen.unchanged, MANY_SECONDS, "at most 1 s", note=note)
        yield bounded(whole, seen.everything, MANY_SECONDS, "at most 1 s")
        yield bounded(f"{name}, memory", [seen.memory], MANY_MIB, "at most 150 MiB", unit="MiB")
    else:
        yield plain(what, seen.unchanged, note=note)
        yield plain(whole, seen.everything)
        yield plain(f"{name}, memory", [seen.memory], unit="MiB")
    changed = f"{name}, one changed, warm"
    git = f"{seen.git_changed} git processes"
    if seen is one:
        yield plain(changed, seen.changed, note=git)
    else:
        most = CHANGE_TIMES if count == MANY else None
        yield slower(changed, seen.changed, f"one of one; {git}", one.changed, most)


def _of_a_monorepo(count: int, runs: int) -> Iterator[Row]:
    """The manifests in the config repository, all apps in another one; a commit to it touches one folder."""
    one, seen = hosts_with((1, count), runs, apart=True)
    name = f"{count:,} apps in a repository of their own"
    yield plain(f"{name}, nothing to do, warm", seen.unchanged, note=f"{seen.git_unchanged} git processes")
    most = CHANGE_TIMES if count == MANY else None
    against = f"one of one; {seen.git_changed} git processes"
    yield slower(f"{name}, one changed, warm", seen.changed, against, one.changed, most)


def _files(count: int, runs: int) -> Iterator[Row]:
    with new_world() as world:
        files = {f"data/{number // FILES_IN_A_FOLDER}/{number}.txt": f"{number} {LINE}\n" for number in range(count)}
        world.add_app("blog", "page", files=files)
        with world.engine() as engine:
            first = timed(lambda: _deploy(engine))
            scan: dict[str, Action] = {
                "scan": lambda: _ignore(engine.reconcile("drift")),
                "status": lambda: _ignore(command(("git", "status", "--porcelain"), cwd=world.config)),
                "poll": lambda: _ignore(engine.reconcile("poll")),
            }
            found = in_turn(scan, runs)
            changed = []
            for number in range(2 if count <= MANY else 1):
                world.commit({"apps/blog/wsgi.py": wsgi_app(f"page {number}")})
                changed.append(timed(lambda: _deploy(engine)))
            copied = _copied(world)
        yield plain(f"{count:,} files in an app, first deploy", [first])
        yield slower(f"{count:,} files in an app, scan for drift", found["scan"], "`git status`", found["status"])
        yield plain(f"{count:,} files in an app, poll with nothing new", found["poll"])
        yield slower(f"{count:,} files in an app, one line changed", changed, "`cp -al`", [copied] * len(changed))


def _ignore(_result: object) -> None:
    """Let what was returned not be taken for a time."""


def _deploy(engine: Engine) -> None:
    result = of(engine.reconcile("bench"), "blog")
    if result.error is not None:
        raise result.error


def _copied(world: World) -> float:
    """A copy of the app's folder by hard links."""
    target = world.home / "copy"
    started = time.perf_counter()
    command(("cp", "-al", world.config / "apps" / "blog", target))
    taken = time.perf_counter() - started
    shutil.rmtree(target)
    return taken


def _history(count: int, runs: int) -> Iterator[Row]:
    with new_world() as world:
        world.add_app("blog", "page")
        with world.engine() as engine:
            engine.reconcile("bench")
            connection = engine.journal._connection
            connection.execute("PRAGMA synchronous = OFF")
            for number in range(count):
                at = time.time() - (count - number)
                engine.journal.record_pass(PassRecord(at, at + 0.01, "poll", "0" * 40, {"unchanged": 1}))
            connection.execute("PRAGMA synchronous = FULL")
            actions: dict[str, Action] = {"pass": lambda: _ignore(engine.reconcile("bench"))}
            warm = in_turn(actions, runs)["pass"]
        status: dict[str, Action] = {
            "status": lambda: _ignore(command(reconciler(world, "status", "--json"), env=environment()))
        }
        cold = statistics.median(in_turn(status, 2)["status"])
        journal = sum(path.stat().st_size for path in world.root.glob("journal.sqlite3*"))
    note = f"`status`, cold, {cold * 1000:.0f} ms; journal {journal / 1024:,.0f} KiB"
    yield plain(f"history of {count:,} passes, nothing to do, warm", warm, note=note)
