"""Proves the bars for passes with nothing to do: warm for one app and for a thousand, cold for one."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable

import pytest

from bench.parts.growth import hosts_with
from many import settled
from reconciler.model.plan import Outcome
from world import World

pytestmark = pytest.mark.serial

ONE_APP_SECONDS = 0.030
THOUSAND_APPS_SECONDS = 1.0
COLD_SECONDS = 0.6
COLD_TIMES = 2.0
"""As many times what the libraries take: that is 0.6 s on a machine that has nothing else to do."""
LIBRARIES = "import typer, pydantic.dataclasses, git, yaml, sqlite3"
RUNS = 9
MANY, CHANGES, CHANGE_TIMES = 200, 4, 2.0


def times(
    action: Callable[[], object],
    runs: int = RUNS,
    *,
    warm: bool = True,
    after: Callable[[], object] = lambda: None,
) -> list[float]:
    """Seconds of several runs, after one that is not counted; ``after`` each of them something else runs."""
    if warm:
        action()
    found = []
    for _ in range(runs):
        started = time.perf_counter()
        action()
        found.append(time.perf_counter() - started)
        after()
    return found


def report(what: str, seconds: list[float], bar: float) -> None:
    print(
        f"{what}: median {statistics.median(seconds) * 1000:.1f} ms, lowest {min(seconds) * 1000:.1f} ms, "
        f"highest {max(seconds) * 1000:.1f} ms (bar {bar * 1000:.0f} ms)"
    )


def test_a_warm_pass_with_nothing_to_do_for_one_app(world: World) -> None:
    world.add_app("blog", "fast")
    world.once()
    with world.engine() as engine:
        seconds = times(lambda: engine.reconcile("test"))
        assert [app.outcome for app in engine.reconcile("test").apps] == [Outcome.UNCHANGED]
    report("warm pass, one app, nothing to do", seconds, ONE_APP_SECONDS)
    assert statistics.median(seconds) <= ONE_APP_SECONDS


def test_a_warm_pass_with_nothing_to_do_for_a_thousand_apps(world: World) -> None:
    with settled(world, 1000) as engine:
        seconds = times(lambda: engine.reconcile("test"), 5)
        result = engine.reconcile("test")
        assert {app.outcome for app in result.apps} == {Outcome.UNCHANGED}
    report("warm pass, 1000 apps, nothing to do", seconds, THOUSAND_APPS_SECONDS)
    assert statistics.median(seconds) <= THOUSAND_APPS_SECONDS


def test_a_change_of_one_of_two_hundred_apps_costs_at_most_twice_one_of_one() -> None:
    """The benchmark holds the same bar for a thousand."""
    one, many = (seen.changed for seen in hosts_with((1, MANY), CHANGES))
    bar = CHANGE_TIMES * statistics.median(one)
    report("one of one changed", one, bar)
    report(f"one of {MANY} changed", many, bar)
    assert statistics.median(many) <= bar


def test_the_cold_command_with_nothing_to_do(world: World) -> None:
    world.add_app("blog", "fast")
    world.once()
    command = [sys.executable, "-m", "reconciler", "-c", str(world.agent_file), "once"]

    # an installed package has its bytecode; the first run, which is not counted, writes it in a checkout
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}

    def run(command: list[str]) -> None:
        subprocess.run(command, check=True, capture_output=True, timeout=60, env=environment)

    def libraries() -> None:
        run([sys.executable, "-c", LIBRARIES])

    # in turn, so that a machine that is slow just now is as slow for both
    floor: list[float] = []
    seconds = times(lambda: run(command), after=lambda: floor.extend(times(libraries, 1, warm=False)))
    bar = max(COLD_SECONDS, COLD_TIMES * statistics.median(floor))
    report("the libraries of the command line alone", floor, bar)
    report("cold `reconciler once`, one app, nothing to do", seconds, bar)
    assert statistics.median(seconds) <= bar
