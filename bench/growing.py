"""What a host with many apps costs, seen from a process that is as young as an agent that has just started."""

from __future__ import annotations

import gc
import multiprocessing.process
import os
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any
from unittest import mock

import examples
from bench.measuring import Action, in_turn, memory_mib, timed
from reconciler.agent.agent import Agent
from reconciler.agent.watching import start_watching, stop_watching
from reconciler.engine.engine import Engine
from reconciler.engine.reading import Reader
from reconciler.host.uwsgi import Emperor, find_uwsgi
from world import World, of, wsgi_app

FIRST = "app-0"
"""The app that really runs, and is changed."""
MONOREPO = "m"
"""The repository, beside the config repository, that all apps live in where they do not live in that one."""
ANSWER_SECONDS = 120.0
ONE_EMPEROR = """\
#!/bin/sh
# in place of all vassals, the Emperor looks after those of one app: a thousand would need more memory than a
# benchmark may take
cd {vassals} || exit 1
shift
exec {uwsgi} '--emperor={app}.*.ini' "$@"
"""


@dataclass(frozen=True)
class Seen:
    """Figures of one size of host; times in seconds, memory in MiB, the journal in bytes.

    ``unchanged`` are polls that find nothing new, ``everything`` passes that look at every app's files.
    """

    unchanged: list[float]
    everything: list[float]
    changed: list[float]
    memory: float
    watches: int
    journal: int
    git_unchanged: int
    git_changed: int


@contextmanager
def engine_of_one(world: World) -> Iterator[Engine]:
    """An engine whose Emperor starts only the vassals of :data:`FIRST`."""
    with world.engine() as engine:
        layout = engine.host.layout
        script = world.home / "emperor"
        script.write_text(ONE_EMPEROR.format(vassals=layout.vassals, uwsgi=find_uwsgi(), app=FIRST))
        script.chmod(0o755)
        host = replace(engine.host, emperor=Emperor(layout, script))
        known = engine.reader
        reader = Reader(known.configuration, host, engine.journal, known.config_address, known.labels)
        yield Engine(host, engine.journal, reader)


def seen_from_young_processes(worlds: Sequence[World], runs: int) -> list[Seen]:
    """Measure ``runs`` passes without and with a change, in a process for each host that has done nothing before.

    Changes are made in turn, one host after the other: a machine that is slow just now is as slow for all of them.
    """
    context = multiprocessing.get_context("spawn")
    channels: list[Connection] = []
    with ExitStack() as stack:
        for world in worlds:
            ours, theirs = context.Pipe()
            process = context.Process(target=_measure, args=(world.home, world.port, runs, theirs))
            process.start()
            stack.callback(_end, process)
            theirs.close()
            channels.append(ours)
            # nothing else runs while one of them gets ready
            _heard(ours)
        for _ in range(runs + 1):
            for channel in channels:
                channel.send(None)
                _heard(channel)
        return [_heard(channel) for channel in channels]


def _heard(channel: Connection) -> Any:
    if not channel.poll(ANSWER_SECONDS):
        raise TimeoutError(f"a process that measures did not answer within {ANSWER_SECONDS:g} s")
    return channel.recv()


def _end(process: multiprocessing.process.BaseProcess) -> None:
    process.join(5)
    process.kill()


def _measure(home: Path, port: int, runs: int, channel: Connection) -> None:
    world = World(home, port)
    gc.enable()
    with engine_of_one(world) as engine, _counted() as git, watched(engine) as follow:
        _pass(engine, "unchanged", "start")
        follow()
        actions: dict[str, Action] = {
            "everything": lambda: _pass(engine, "unchanged", "sync"),
            "unchanged": lambda: _pass(engine, "unchanged", "poll"),
        }
        found = in_turn(actions, runs, warm=2)
        git.clear()
        _pass(engine, "unchanged", "poll")
        git_unchanged = len(git)
        memory, watches = memory_mib(), _watches()
        changed = []
        channel.send(None)
        for number in range(runs + 1):
            channel.recv()
            commit_to(world, f"page {number}")
            git.clear()
            changed.append(timed(lambda: _pass(engine, "changed", "poll")))
            git_changed = len(git)
            follow()
            # an agent sees the events of what its own work has written, too
            _pass(engine, "unchanged", "file:drift")
            channel.send(None)
        journal = sum(path.stat().st_size for path in world.root.glob("journal.sqlite3*"))
        seen = Seen(
            found["unchanged"], found["everything"], changed[1:], memory, watches, journal, git_unchanged, git_changed
        )
        channel.send(seen)


def commit_to(world: World, text: str) -> None:
    """Change the first app, where it lives."""
    files = {f"apps/{FIRST}/wsgi.py": wsgi_app(text)}
    monorepo = world.home / MONOREPO
    if monorepo.exists():
        examples.write_and_commit(monorepo, files, text)
    else:
        world.commit(files)


@contextmanager
def watched(engine: Engine) -> Iterator[Callable[[], None]]:
    """File events as an agent hears them; gives what an agent calls after every pass."""
    agent = Agent(engine, "bench")
    surveying = engine.surveying
    watcher = start_watching(
        agent.queue.put, agent._repositories(), agent._folders(), surveying.touched, surveying.is_known
    )
    if watcher is None:
        raise RuntimeError("the kernel lets nobody watch a folder")
    try:
        yield lambda: watcher.follow(engine.watched())
    finally:
        stop_watching(watcher)


def _pass(engine: Engine, outcome: str, trigger: str) -> None:
    result = engine.reconcile(trigger)
    found = of(result, FIRST)
    if result.failed or found.outcome.value != outcome or len(result.outcomes) > 1 + (outcome == "changed"):
        raise RuntimeError(f"{FIRST} was to be {outcome}: {found.outcome.value}, {found.error}, {result.problems}")


@contextmanager
def _counted() -> Iterator[list[str]]:
    """The git commands that are started in the block."""
    started: list[str] = []
    begin = subprocess.Popen.__init__

    def counting(process: Any, arguments: Any, *rest: Any, **options: Any) -> None:
        words = [arguments] if isinstance(arguments, str) else [os.fspath(argument) for argument in arguments]
        if Path(words[0]).name == "git":
            started.append(" ".join(words))
        begin(process, arguments, *rest, **options)

    with mock.patch.object(subprocess.Popen, "__init__", counting):
        yield started


def _watches() -> int:
    """How many folders the kernel watches for this process."""
    found = 0
    for entry in Path("/proc/self/fdinfo").iterdir():
        try:
            found += entry.read_text().count("inotify wd:")
        except OSError:
            continue
    return found
