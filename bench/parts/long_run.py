"""Two thousand passes with two hundred deploys in one process: does it hold more and more?"""

from __future__ import annotations

import gc
import time
from collections.abc import Iterator

from bench.measuring import descriptors, memory_mib
from bench.rows import Row, bounded, plain
from world import new_world, of, wsgi_app

PASSES = 2000
DEPLOY_EVERY = 10
LOOKED_AT = 100
SETTLED_AFTER = 2
"""How many looks are not counted: caches, compiled templates and threads are there by then."""
GROWTH_MIB = 10.0
APPS = 4
"""They take turns."""


def rows(quick: bool) -> Iterator[Row]:
    """All rows of this part."""
    passes = PASSES // 25 if quick else PASSES
    looked_at = LOOKED_AT // 5 if quick else LOOKED_AT
    held: list[tuple[float, int]] = []
    quiet: list[float] = []
    deploys: list[float] = []
    with new_world() as world:
        for number in range(APPS):
            world.add_app(f"app-{number}", "first")
        with world.engine() as engine:
            engine.reconcile("bench")
            for number in range(1, passes + 1):
                name = f"app-{number // DEPLOY_EVERY % APPS}"
                due = number % DEPLOY_EVERY == 0
                if due:
                    world.commit({f"apps/{name}/wsgi.py": wsgi_app(f"page {number}")})
                started = time.perf_counter()
                result = engine.reconcile("poll")
                (deploys if due else quiet).append(time.perf_counter() - started)
                outcome = of(result, name)
                if result.failed or (outcome.outcome.value == "changed") is not due:
                    raise RuntimeError(f"pass {number}: {outcome.outcome.value}, {outcome.error}")
                if number % looked_at == 0:
                    gc.collect()
                    held.append((memory_mib(), descriptors()))
    yield from _told(held, quiet, deploys, looked_at)


def _told(held: list[tuple[float, int]], quiet: list[float], deploys: list[float], looked_at: int) -> Iterator[Row]:
    passes = len(quiet) + len(deploys)
    name = f"{passes:,} passes with {len(deploys)} deploys"
    memory = [mib for mib, _ in held]
    files = [count for _, count in held]
    settled = min(SETTLED_AFTER, len(held) - 1)
    shown = " ".join(f"{mib:.0f}" for mib in memory)
    growth = memory[-1] - memory[settled]
    yield plain(f"{name}: one with nothing to do", quiet)
    yield plain(f"{name}: one deploy", deploys)
    bar = f"grows by at most {GROWTH_MIB:g} MiB"
    note = f"at every {looked_at}: {shown} MiB"
    yield bounded(f"{name}: memory, from look {settled + 1} to the last", [growth], GROWTH_MIB, bar, "MiB", note)
    more = files[-1] - files[settled]
    note = f"at every {looked_at}: {' '.join(str(count) for count in files)}"
    yield bounded(f"{name}: descriptors, from look {settled + 1} to the last", [more], 0, "no more", "", note)
