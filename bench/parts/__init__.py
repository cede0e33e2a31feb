"""The parts of the benchmark; each runs in a process of its own, within a time of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from bench.parts import growth, long_run, push_to_live, side_by_side, under_load
from bench.rows import Row

Part = Callable[[bool], Iterator[Row]]
"""Gives its rows one after the other; told whether it is to be short."""

PARTS: dict[str, tuple[Part, float]] = {
    "side-by-side": (side_by_side.rows, 560.0),
    "push-to-live": (push_to_live.rows, 90.0),
    "under-load": (under_load.rows, 150.0),
    "growth": (growth.rows, 280.0),
    "long-run": (long_run.rows, 240.0),
}
"""Every part, and how many seconds it may take."""
