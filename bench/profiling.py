"""Flame graphs: passes over a thousand apps, of which one changes now and then, and a cold ``once``."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from bench import CHECKOUT
from bench.growing import commit_to, engine_of_one, watched
from bench.measuring import command
from bench.reconciling import environment, reconciler
from bench.tools import environment_of_tools
from many import commit_many, settled
from world import new_world

FOLDER = CHECKOUT / "docs"
CHANGED, EVERYTHING = FOLDER / "flame-one-of-a-thousand.svg", FOLDER / "flame-thousand-apps.svg"
COLD = FOLDER / "flame-cold-once.svg"
APPS = 1000
PASSES_SECONDS = 8
PASSES_PER_SECOND = 250
COLD_PER_SECOND = 1000
"""Samples; a cold start is over in half a second."""
END_SECONDS = 60
MOST_BYTES = 200_000
NARROWEST_PERCENT = 0.5
BOX = re.compile(r'<g><title>[^<]*</title><rect [^>]*?width="([0-9.]+)%"[^>]*/><text [^>]*>[^<]*</text></g>')
COMMAND = re.compile(r'(<text id="title"[^>]*>)[^<]*')
PLACES = re.compile(r"(?<=[ (;'])/(?:[^ :<>&;()]+/)+(?=[^ :<>&;()/]+)")
"""Folders of the machine that was measured on; the last part of a path stays."""


def draw() -> None:
    """Write the graphs into ``docs/``; needs the right to trace one's own processes."""
    py_spy = environment_of_tools() / "py-spy"
    with new_world() as world:
        commit_many(world, 1)
        with engine_of_one(world) as engine:
            engine.reconcile("bench")
        with settled(world, APPS):
            pass
        with engine_of_one(world) as engine, watched(engine) as follow:
            engine.reconcile("start")
            follow()
            _draw(py_spy, EVERYTHING, lambda _number: engine.reconcile("sync"))

            def change(number: int) -> None:
                commit_to(world, f"page {number}")
                engine.reconcile("poll")
                follow()

            change(-1)
            _draw(py_spy, CHANGED, change)
    _draw_cold(py_spy)
    for graph in (CHANGED, EVERYTHING, COLD):
        graph.write_text(slim(without_places(graph.read_text("utf-8"))), "utf-8")
        print(f"wrote {graph.relative_to(CHECKOUT)}, {graph.stat().st_size:,} bytes", file=sys.stderr)
        if graph.stat().st_size > MOST_BYTES:
            raise RuntimeError(f"{graph} is larger than {MOST_BYTES:,} bytes")


def without_places(graph: str) -> str:
    """A graph without the folders of this machine, and without the command that drew it."""
    return PLACES.sub("", COMMAND.sub(r"\1", graph))


def slim(graph: str) -> str:
    """A graph without boxes that are too narrow to be seen."""
    return BOX.sub(lambda box: box[0] if float(box[1]) >= NARROWEST_PERCENT else "", graph)


def _draw(py_spy: Path, graph: Path, action: Callable[[int], object]) -> None:
    """Trace this process while it does something again and again."""
    record = (
        *(str(py_spy), "record", "--pid", str(os.getpid()), "--duration", str(PASSES_SECONDS)),
        *("--rate", str(PASSES_PER_SECOND), "--output", str(graph), "--function"),
    )
    process = subprocess.Popen(record, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    end, number = time.monotonic() + END_SECONDS, 0
    while process.poll() is None and time.monotonic() < end:
        action(number)
        number += 1
    process.kill()
    _, said = process.communicate()
    if process.returncode != 0:
        raise RuntimeError(f"py-spy could not trace this process: {said.strip()}")


def _draw_cold(py_spy: Path) -> None:
    with new_world() as world:
        world.add_app("blog", "page")
        once = reconciler(world, "once")
        for _ in range(2):
            command(once, env=environment())
        record = (py_spy, "record", "--rate", str(COLD_PER_SECOND), "--function", "--output", COLD, "--", *once)
        command(record, env=environment())
