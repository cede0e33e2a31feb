"""One line of the table: what was measured, its samples, what it is held against, and whether it holds."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass

SAMPLES_SHOWN = 3
"""From this many samples on, the lowest and the highest say something that the median does not."""


@dataclass(frozen=True)
class Row:
    """One line: ``samples`` in ``unit``, and ``ratios`` of them, pair by pair, to what ``against`` names.

    ``passed`` is ``None`` without a bar.
    """

    what: str
    samples: tuple[float, ...]
    unit: str = "s"
    against: str = ""
    ratios: tuple[float, ...] = ()
    bar: str = ""
    passed: bool | None = None
    note: str = ""


def plain(what: str, samples: Sequence[float], unit: str = "s", note: str = "") -> Row:
    """A figure without a bar."""
    return Row(what, tuple(samples), unit, note=note)


def slower(what: str, ours: Sequence[float], against: str, floor: Sequence[float], most: float | None = None) -> Row:
    """How many times what a floor takes; with a bar, at most ``most`` times."""
    ratios = _pairs(ours, floor)
    bar = f"at most {most:g} times" if most is not None else ""
    passed = statistics.median(ratios) <= most if most is not None else None
    return Row(what, tuple(ours), "s", against, ratios, bar, passed)


def faster(what: str, ours: Sequence[float], against: str, others: Sequence[float], least: float | None = 1) -> Row:
    """How many times faster than another tool; with a bar, at least ``least`` times."""
    ratios = _pairs(others, ours)
    bar = "faster" if least == 1 else f"at least {least:g} times faster" if least is not None else ""
    passed = statistics.median(ratios) >= least if least is not None else None
    return Row(what, tuple(ours), "s", f"{against}, {seconds(statistics.median(others))}", ratios, bar, passed)


def bounded(what: str, samples: Sequence[float], most: float, bar: str, unit: str = "s", note: str = "") -> Row:
    """A figure whose median is at most ``most``; ``bar`` says that in words."""
    return Row(what, tuple(samples), unit, bar=bar, passed=statistics.median(samples) <= most, note=note)


def amount(value: float, unit: str) -> str:
    """A value with its unit: ``12.3 ms``, ``1.52 s``, ``84.1 MiB``, ``3``."""
    if unit == "s":
        return seconds(value)
    text = f"{value:,.0f}" if value == int(value) or value >= 1000 else f"{value:.1f}"
    return f"{text} {unit}".strip()


def seconds(value: float) -> str:
    """Seconds in the unit that reads best."""
    return f"{value * 1000:.1f} ms" if value < 0.1 else f"{value * 1000:.0f} ms" if value < 1 else f"{value:.2f} s"


def times(value: float) -> str:
    """A ratio: ``1.7x``, ``250x``."""
    return f"{value:.2f}x" if value < 10 else f"{value:,.0f}x"


def cells(row: Row) -> tuple[str, str, str, str, str]:
    """A row as text: what, median and spread, ratio and its spread, bar, result."""
    result = {None: "", True: "passed", False: "FAILED"}[row.passed]
    note = f"; {row.note}" if row.note else ""
    ratio = f"{_spread(row.ratios, times)} {row.against}" if row.ratios else ""
    return (row.what, _spread(row.samples, lambda value: amount(value, row.unit)) + note, ratio, row.bar, result)


def _spread(samples: Sequence[float], text: Callable[[float], str]) -> str:
    if not samples:
        return ""
    middle = text(statistics.median(samples))
    if len(samples) < SAMPLES_SHOWN:
        return middle
    return f"{middle} ({text(min(samples))} to {text(max(samples))})"


def _pairs(upper: Sequence[float], lower: Sequence[float]) -> tuple[float, ...]:
    return tuple(one / other for one, other in zip(upper, lower, strict=True))
