"""``python -m bench``: runs the parts, prints one table, and ends with 1 when a bar is missed or a part fails."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
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
QUICK_AT_ONCE = 3
"""How many parts of a quick run go on side by side."""


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
    expected = "about a minute" if asked.quick else f"about {EXPECTED_MINUTES} minutes, at most 22"
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

    def run(name: str) -> tuple[list[Row], str | None, float]:
        started = time.monotonic()
        # the parts that follow are to have a chance as well
        rows, problem = run_part(name, max(1.0, min(PARTS[name][1], deadline - started)), quick=quick)
        return rows, problem, time.monotonic() - started

    # whoever measures wants the machine for himself; a quick run does not measure
    with ThreadPoolExecutor(QUICK_AT_ONCE) as pool:
        answers = pool.map(run, wanted) if quick else map(run, wanted)
        for name, (rows, problem, seconds) in zip(wanted, answers, strict=True):
            results[name] = rows
            print(f"\n== {name}, {seconds:.0f} s")
            if rows:
                print(page.as_text(rows), flush=True)
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
    parser.add_argument(
        "--quick", action="store_true", help="within a minute: parts side by side, each once, without holding bars"
    )
    parser.add_argument("--part", action="append", choices=list(PARTS), help="only this part; may be given again")
    parser.add_argument("--write", action="store_true", help="write the table into docs/performance.md")
    parser.add_argument("--profile", action="store_true", help="draw the flame graphs in docs/, and measure nothing")
    parser.add_argument("--one", choices=list(PARTS), help=argparse.SUPPRESS)
    parser.add_argument("--result", type=Path, help=argparse.SUPPRESS)
    return parser


if __name__ == "__main__":
    sys.exit(main())
