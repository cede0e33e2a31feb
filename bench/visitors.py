"""Visitors who do not wait for each other: new requests at a steady rate, whatever became of the ones before."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from bench import CHECKOUT

RATE = 200
LONGEST_SECONDS = 200
PROGRAM = CHECKOUT / "tests" / "load.py"
END_SECONDS = 60.0


@dataclass
class Visits:
    """What became of the requests: (started, latency, status, body)."""

    results: list[tuple[float, float, int, str]] = field(default_factory=list)

    @property
    def failed(self) -> int:
        """How many were not answered, or with an error."""
        return sum(entry[2] != 200 for entry in self.results)

    def latencies(self, since: float = 0.0, until: float = float("inf")) -> str:
        """50th and 99th percentile and highest of those that started in this time, in milliseconds."""
        ordered = sorted(entry[1] for entry in self.results if since <= entry[0] < until)
        if not ordered:
            return "nobody asked"
        shown = (ordered[len(ordered) // 2], ordered[int(len(ordered) * 0.99)], ordered[-1])
        return "/".join(f"{latency * 1000:.0f}" for latency in shown) + " ms"

    def mixed_seconds(self, old: str, new: str) -> float:
        """For how long old code was still answered after the first answer of the new."""
        first_new = min((entry[0] for entry in self.results if entry[3] == new), default=float("inf"))
        last_old = max((entry[0] for entry in self.results if entry[3] == old), default=0.0)
        return max(0.0, last_old - first_new)


@contextmanager
def visitors(port: int, host: str) -> Iterator[Visits]:
    """Visitors in a process of their own, for as long as the block lasts."""
    visits = Visits()
    with tempfile.TemporaryDirectory(prefix="rb-") as folder:
        result = Path(folder) / "load.json"
        arguments = (str(port), host, "/", str(RATE), str(LONGEST_SECONDS), str(result))
        process = subprocess.Popen([sys.executable, str(PROGRAM), *arguments], stdin=subprocess.PIPE)
        try:
            yield visits
        finally:
            assert process.stdin is not None
            process.stdin.close()
            process.wait(END_SECONDS)
        visits.results = [tuple(entry) for entry in json.loads(result.read_text())]
