"""The table, for the terminal and for docs/performance.md."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from bench import CHECKOUT
from bench.rows import Row, cells

PAGE = CHECKOUT / "docs" / "performance.md"
BEGIN, END = "<!-- begin of the last run -->", "<!-- end of the last run -->"
BAR_HEADINGS = ("bar", "asked", "measured", "result", "what a missed one is made of")
MADE_OF = {
    "one changed": "the start of the release and its probes are the same for all sizes; the rest are loops over all "
    "apps that compare what is known of each with what it was known from, and git's look into larger folders",
    "nothing to do": "one `git ls-remote`, one line in the journal with its flush to the disk, and a stat for each "
    "site, vassal and link where everything is looked at",
    "poll": "the start of git, which is all of the floor, and one line in the journal with its flush to the disk",
    "once": "Python's start and the import of what every command needs",
    "first deploy": "the environment that is built, and the start of nginx and of the Emperor",
    "to live": "the import of the app, and what push to live shows",
    "memory": "Python, its libraries, and what is remembered of every app",
    "failed requests": "requests that were sent while a worker ended or a socket was closed",
    "descriptors": "files and sockets that were not closed",
}
"""By words of the row that names a bar; the first that fits."""
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
    """A table of the bars, and one for each part."""
    blocks = [machine, f"### Bars\n\n{_table([BAR_HEADINGS, *_bars(results)])}"]
    for part, rows in results.items():
        blocks.append(f"### {part}\n\n{_table([HEADINGS, *(cells(row) for row in rows)])}")
    return "\n\n".join(blocks)


def _bars(results: Results) -> Iterator[Sequence[str]]:
    for row in (row for rows in results.values() for row in rows if row.passed is not None):
        what, measured, ratio, bar, result = cells(row)
        made_of = "" if row.passed else next((text for word, text in MADE_OF.items() if word in what), "")
        yield what, bar, ratio or measured.partition(";")[0], result, made_of


def _table(lines: Sequence[Sequence[str]]) -> str:
    heading, *rest = lines
    return "\n".join(f"| {' | '.join(line)} |" for line in (heading, ["---"] * len(heading), *rest))


def write(results: Results, machine: str, page: Path = PAGE) -> None:
    """Put the last run between its two marks in the page."""
    text = page.read_text("utf-8")
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"{page} has no place for the last run: it needs {BEGIN} and {END}")
    page.write_text(f"{before}{BEGIN}\n\n{as_markdown(results, machine)}\n\n{END}{after}", "utf-8")
