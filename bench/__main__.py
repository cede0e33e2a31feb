"""``python -m bench``: runs the parts, prints one table, and ends with 1 when a bar is missed or a part fails."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from bench import page
from bench.machine import described
from bench.parts import PARTS
from bench.profiling import draw
from bench.rows import Row
from bench.running import run_part, write_part

EXPECTED_MINUTES = 11
ALL_SECONDS = 880.0
QUICK_SECONDS = 120.0


def main(arguments: Sequence[str] | None = None) -> int:
    """Run as the arguments say; returns the exit status."""
    asked = _parser().parse_args(arguments)
    if asked.one is not None:
        write_part(PARTS[asked.one][0](asked.quick), asked.result)
        return 0
    if asked.profile:
        draw()
        return 0
    wanted = asked.part or list(PARTS)
    limit = QUICK_SECONDS if asked.quick else ALL_SECONDS
    expected = "about a minute" if asked.quick else f"about {EXPECTED_MINUTES} minutes, at most 15"
    print(f"{len(wanted)} parts, {expected}; times on a busy machine mean little.", flush=True)
    results, problems = _run(wanted, limit, quick=asked.quick)
    machine = described()
    print(f"\n{machine}")
    if asked.write:
        page.write(results, machine)
    return _verdict(results, problems, held=not asked.quick)


def _run(wanted: Sequence[str], limit: float, *, quick: bool) -> tuple[dict[str, list[Row]], list[str]]:
    results: dict[str, list[Row]] = {}
    problems: list[str] = []
    deadline = time.monotonic() + limit
    for name in wanted:
        started = time.monotonic()
        # the parts that follow are to have a chance as well
        seconds = max(1.0, min(PARTS[name][1], deadline - started))
        results[name], problem = run_part(name, seconds, quick=quick)
        print(f"\n== {name}, {time.monotonic() - started:.0f} s")
        if results[name]:
            print(page.as_text(results[name]), flush=True)
        if problem is not None:
            print(f"error: {problem}", file=sys.stderr)
            problems.append(problem)
    return results, problems


def _verdict(results: dict[str, list[Row]], problems: list[str], *, held: bool) -> int:
    rows = [row for found in results.values() for row in found]
    missed = [row for row in rows if row.passed is False]
    kept = sum(row.passed is True for row in rows)
    print(f"{kept} bars kept, {len(missed)} missed, {len(problems)} parts failed")
    for row in missed:
        print(f"missed: {row.what}: {row.bar}")
    if not held:
        print("A quick run shows that everything runs; it measures too little to hold bars.")
    return 1 if problems or (missed and held) else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="bench", description="Measure the reconciler beside other tools and floors."
    )
    parser.add_argument("--quick", action="store_true", help="a minute: everything once, without holding bars")
    parser.add_argument("--part", action="append", choices=list(PARTS), help="only this part; may be given again")
    parser.add_argument("--write", action="store_true", help="write the table into docs/performance.md")
    parser.add_argument("--profile", action="store_true", help="draw the flame graphs in docs/, and measure nothing")
    parser.add_argument("--one", choices=list(PARTS), help=argparse.SUPPRESS)
    parser.add_argument("--result", type=Path, help=argparse.SUPPRESS)
    return parser


if __name__ == "__main__":
    sys.exit(main())
