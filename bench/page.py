"""The table, for the terminal and for docs/performance.md."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from bench import CHECKOUT
from bench.rows import Row, cells

PAGE = CHECKOUT / "docs" / "performance.md"
BEGIN, END = "<!-- begin of the last run -->", "<!-- end of the last run -->"
HEADINGS = ("what", "median (lowest to highest)", "ratio", "bar", "result")
WIDEST = 72
"""A cell of the terminal's table that is longer ends its line."""

Results = Mapping[str, Sequence[Row]]


def as_text(rows: Sequence[Row]) -> str:
    """Rows with columns under each other."""
    lines = [cells(row) for row in rows]
    widths = [min(WIDEST, max(len(line[column]) for line in lines)) for column in range(len(HEADINGS))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines
    )


def as_markdown(results: Results, machine: str) -> str:
    """One table for each part."""
    blocks = [machine]
    for part, rows in results.items():
        lines = [HEADINGS, tuple("---" for _ in HEADINGS), *(cells(row) for row in rows)]
        table = "\n".join(f"| {' | '.join(line)} |" for line in lines)
        blocks.append(f"### {part}\n\n{table}")
    return "\n\n".join(blocks)


def write(results: Results, machine: str, page: Path = PAGE) -> None:
    """Put the last run between its two marks in the page."""
    text = page.read_text("utf-8")
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"{page} has no place for the last run: it needs {BEGIN} and {END}")
    page.write_text(f"{before}{BEGIN}\n\n{as_markdown(results, machine)}\n\n{END}{after}", "utf-8")
