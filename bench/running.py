"""Running a part in a process of its own, within its time; what it had found by its end is kept."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

from bench import CHECKOUT
from bench.rows import Row

END_SECONDS = 10.0


def run_part(name: str, seconds: float, *, quick: bool) -> tuple[list[Row], str | None]:
    """The rows of a part, and what went wrong with it."""
    with tempfile.TemporaryDirectory(prefix="rb-") as folder:
        result = Path(folder) / "rows"
        command = [sys.executable, "-m", "bench", "--one", name, "--result", str(result)]
        environment = {**os.environ, "PYTHONPATH": str(CHECKOUT)}
        # in a session of its own, so that all that it started can be ended with it
        process = subprocess.Popen(
            [*command, "--quick"] if quick else command, cwd=CHECKOUT, env=environment, start_new_session=True
        )
        problem = _await(process, name, seconds)
        found = list(_read(result)) if result.exists() else []
    return found, problem


def write_part(rows: Iterator[Row], result: Path) -> None:
    """Write each row as soon as it is there."""
    with result.open("w") as stream:
        for row in rows:
            stream.write(f"{json.dumps(asdict(row))}\n")
            stream.flush()


def _await(process: subprocess.Popen[bytes], name: str, seconds: float) -> str | None:
    try:
        status = process.wait(seconds)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        return f"{name} took longer than {seconds:.0f} s, and was ended"
    except BaseException:
        process.send_signal(signal.SIGINT)
        process.wait(END_SECONDS)
        raise
    return f"{name} failed with status {status}; its error stands above" if status else None


def _read(result: Path) -> Iterator[Row]:
    for line in result.read_text().splitlines():
        values = json.loads(line)
        yield Row(**{**values, "samples": tuple(values["samples"]), "ratios": tuple(values["ratios"])})
