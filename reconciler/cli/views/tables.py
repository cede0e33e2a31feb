"""Tables as values, and as plain columns for pipes and files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from reconciler.cli.views.lines import Part, Style
from reconciler.model.printable import printable

GAP = "  "


@dataclass(frozen=True, slots=True)
class Table:
    """Column names and rows of cells; the last column takes the long texts."""

    columns: tuple[str, ...]
    rows: tuple[tuple[Part, ...], ...]


def cell(value: str | None, style: Style = Style.PLAIN) -> Part:
    """One cell; nothing to say is a dash."""
    return Part(value, style) if value else Part("-", Style.FAINT)


def plain_table(table: Table) -> list[str]:
    """Aligned columns of any width: what goes into a pipe is never wrapped or cut off."""
    rows = [table.columns, *([one_line(part.text) for part in row] for row in table.rows)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(table.columns))]
    return [_aligned(row, widths) for row in rows]


def one_line(text: str) -> str:
    """A text on one line, without control characters."""
    return printable(" ".join(text.split()))


def _aligned(row: Sequence[str], widths: Sequence[int]) -> str:
    return GAP.join(value.ljust(width) for value, width in zip(row, widths, strict=True)).rstrip()
