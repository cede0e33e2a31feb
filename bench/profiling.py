"""Flame graphs of what is measured most: a pass over a thousand apps with nothing to do, and a cold ``once``."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

from bench import CHECKOUT
from bench.measuring import command
from bench.reconciling import environment, reconciler
from bench.tools import environment_of_tools
from many import settled
from world import new_world

FOLDER = CHECKOUT / "docs"
THOUSAND, COLD = FOLDER / "flame-thousand-apps.svg", FOLDER / "flame-cold-once.svg"
APPS = 1000
PASSES_SECONDS = 8
PASSES_PER_SECOND = 250
COLD_PER_SECOND = 1000
"""Samples; a cold start is over in half a second."""
END_SECONDS = 60


def draw() -> None:
    """Write both graphs into ``docs/``; needs the right to trace one's own processes."""
    py_spy = environment_of_tools() / "py-spy"
    _draw_thousand(py_spy)
    _draw_cold(py_spy)
    print(f"wrote {THOUSAND.relative_to(CHECKOUT)} and {COLD.relative_to(CHECKOUT)}", file=sys.stderr)


def _draw_thousand(py_spy: Path) -> None:
    with new_world() as world, settled(world, APPS) as engine:
        engine.reconcile("bench")
        record = (
            *(str(py_spy), "record", "--pid", str(os.getpid()), "--duration", str(PASSES_SECONDS)),
            *("--rate", str(PASSES_PER_SECOND), "--output", str(THOUSAND)),
        )
        process = subprocess.Popen(record, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        end = time.monotonic() + END_SECONDS
        while process.poll() is None and time.monotonic() < end:
            engine.reconcile("bench")
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
        record = (py_spy, "record", "--rate", str(COLD_PER_SECOND), "--output", COLD, "--", *once)
        command(record, env=environment())
