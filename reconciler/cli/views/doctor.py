"""What a host has and lacks, one row per check."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from reconciler.cli.views.lines import Line, Part, Style, line, styled
from reconciler.cli.views.tables import Table, cell, one_line
from reconciler.cli.views.words import counted

if TYPE_CHECKING:
    from reconciler.cli.checks.row import Row

COLUMNS = ("", "check", "finding")
LEVEL_STYLES = {"ok": Style.GOOD, "warn": Style.WARNING, "fail": Style.BAD}


def doctor_table(rows: Sequence[Row]) -> Table:
    """One row per finding, and one below it for how to get what lacks."""
    return Table(COLUMNS, tuple(part for row in rows for part in _rows(row)))


def doctor_conclusion(rows: Sequence[Row]) -> Line:
    """Whether this host can run the reconciler, in a sentence."""
    levels = Counter(row.level.value for row in rows)
    warnings = f"{counted(levels['warn'], 'warning')}"
    if levels["fail"]:
        return line(
            Part("This host lacks something:", Style.BAD), f" {counted(levels['fail'], 'failure')}, {warnings}."
        )
    return styled(f"This host has what it takes; {warnings}.", Style.HEADING)


def _rows(row: Row) -> Iterator[tuple[Part, ...]]:
    level = cell(row.level.value, LEVEL_STYLES[row.level.value])
    yield level, cell(row.check, Style.HEADING), Part(one_line(row.message))
    if row.hint is not None:
        yield Part(""), Part(""), Part(f"hint: {one_line(row.hint)}", Style.HINT)
