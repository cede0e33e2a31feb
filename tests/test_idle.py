"""Proves what an agent costs that has nothing to do: memory, processor time, no growth over ten thousand polls."""

from __future__ import annotations

import gc
import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from test_agent import passes, running, wait_for
from world import World

MEMORY_MIB = 80.0
CORE_SHARE = 0.005
INTERVAL_SECONDS = 60.0
"""The interval of polls that the share of a core is about."""
POLLS = 10
QUIET_SECONDS = 5.0
ENDURED_POLLS = 10_000
LOOKED_AT = 10
GROWTH_MIB = 2.0
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")


def memory_mib(process: int | str = "self") -> float:
    """Resident memory of a process."""
    return int(Path(f"/proc/{process}/statm").read_text().split()[1]) * PAGE_BYTES / 1024**2


def processor_seconds(process: int) -> float:
    """Processor time of a process and of the children that it has waited for."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return sum(int(field) for field in fields[11:15]) / TICKS_PER_SECOND


@pytest.mark.load
def test_an_idle_agent_is_small_and_quiet(world: World, record_property: Callable[[str, object], None]) -> None:
    world.configure(repository="{url: ./c, branch: main, interval: 1s}")
    world.add_app("blog", "here")
    # a process that has imported what an agent needs, and no more
    with running(world, "env") as agent:
        agent.wait_until_told("app_changed", app="blog")
        process = agent.process.pid

        def polled() -> int:
            return sum("poll" in trigger for trigger, _ in passes(world))

        wait_for("the first polls", lambda: polled() >= 2)
        began, before = polled(), processor_seconds(process)
        started = time.monotonic()
        wait_for("the polls", lambda: polled() >= began + POLLS)
        seconds, used = time.monotonic() - started, processor_seconds(process) - before
        memory = memory_mib(process)
    # what a poll each second costs bounds what one a minute does, with all that goes on between them
    of_a_poll = used / POLLS
    share = of_a_poll / INTERVAL_SECONDS
    record_property("memory MiB", round(memory, 1))
    record_property("share of a core", round(share, 5))
    print(
        f"idle agent: {memory:.1f} MiB (bar {MEMORY_MIB:g}); {POLLS} polls in {seconds:.1f} s took {used:.2f} s of a "
        f"core, with an interval of {INTERVAL_SECONDS:g} s {share:.3%} of it (bar {CORE_SHARE:.1%})"
    )
    assert memory <= MEMORY_MIB
    assert share <= CORE_SHARE


@pytest.mark.endurance
@pytest.mark.timeout(600)
def test_ten_thousand_polls_hold_no_more_than_a_thousand(world: World) -> None:
    world.add_app("blog", "here")
    held: list[tuple[float, int]] = []
    with world.engine() as engine:
        assert not engine.reconcile("test").failed
        for number in range(ENDURED_POLLS + 1):
            if number % (ENDURED_POLLS // LOOKED_AT) == 0:
                gc.collect()
                held.append((memory_mib(), len(list(Path("/proc/self/fd").iterdir()))))
            assert not engine.reconcile("poll").failed
    print("memory in MiB and descriptors at every 1,000 polls:", [(round(mib, 1), files) for mib, files in held])
    settled = held[1]
    assert held[-1][0] - settled[0] <= GROWTH_MIB
    assert {files for _, files in held[1:]} == {settled[1]}
