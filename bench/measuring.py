"""Taking times: several actions in turn, so that a machine whose speed drifts is equally fast for all of them."""

from __future__ import annotations

import os
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from bench.asking import await_text

COMMAND_SECONDS = 150.0
TAIL_CHARACTERS = 2000
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
LEAST_RUNS = 2

Action = Callable[[], float | None]
"""Something to be timed; what returns a number has taken its time itself, in seconds."""


def timed(action: Action) -> float:
    """Seconds that an action takes, or that it says."""
    started = time.perf_counter()
    said = action()
    return time.perf_counter() - started if said is None else said


def in_turn(
    actions: Mapping[str, Action], runs: int, *, warm: int = 1, budget: float = float("inf")
) -> dict[str, list[float]]:
    """Seconds of ``runs`` rounds of A B C, A B C, ... after ``warm`` rounds that are not counted.

    When ``budget`` seconds are over, two counted rounds are enough.
    """
    found: dict[str, list[float]] = {name: [] for name in actions}
    deadline = time.monotonic() + budget
    for number in range(-warm, runs):
        if number >= LEAST_RUNS and time.monotonic() > deadline:
            break
        for name, action in actions.items():
            taken = timed(action)
            if number >= 0:
                found[name].append(taken)
    return found


def command(arguments: Sequence[str | Path], *, cwd: Path | None = None, env: Mapping[str, str] | None = None) -> str:
    """Run a program, and return what it printed; a failure is told with the end of its output."""
    done = subprocess.run(
        [str(argument) for argument in arguments],
        cwd=cwd,
        env=None if env is None else dict(env),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=COMMAND_SECONDS,
        check=False,
    )
    if done.returncode != 0:
        raise RuntimeError(
            f"{arguments[0]} ended with {done.returncode}: {(done.stdout + done.stderr)[-TAIL_CHARACTERS:]}"
        )
    return done.stdout


def to_live(port: int, host: str, text: str, action: Callable[[], object]) -> float:
    """Seconds from the start of an action to the first answer through nginx that has ``text``."""
    answered: list[float] = []
    watch = threading.Thread(target=lambda: answered.append(await_text(port, host, text)))
    started = time.monotonic()
    watch.start()
    action()
    watch.join()
    if not answered:
        raise TimeoutError(f"{text!r} was not answered in time")
    return answered[0] - started


def memory_mib() -> float:
    """Resident memory of this process."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * PAGE_BYTES / 1024**2


def descriptors() -> int:
    """How many files this process has open."""
    return len(list(Path("/proc/self/fd").iterdir()))
