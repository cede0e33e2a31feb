"""Writing tables: fitted to the terminal's width, or as plain columns into a pipe."""

from __future__ import annotations

import sys

from reconciler.cli.output import colour_wanted
from reconciler.cli.views.lines import Style
from reconciler.cli.views.tables import Table, plain_table
from reconciler.model.printable import printable

_RICH_STYLES = {
    Style.PLAIN: "",
    Style.HEADING: "bold",
    Style.ADDED: "green",
    Style.CHANGED: "yellow",
    Style.REMOVED: "red",
    Style.GOOD: "green",
    Style.BAD: "bold red",
    Style.WARNING: "yellow",
    Style.HINT: "cyan",
    Style.FAINT: "dim",
}


def write_table(table: Table) -> None:
    """Write a table to standard output."""
    if not sys.stdout.isatty():
        sys.stdout.write("".join(f"{row}\n" for row in plain_table(table)))
        return
    # rich takes 80 ms to import, and a pipe has no width to fit into
    from rich.console import Console  # noqa: PLC0415
    from rich.table import Table as RichTable  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    fitted = RichTable(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold", show_edge=False)
    for name in table.columns:
        last = name == table.columns[-1]
        fitted.add_column(name, overflow="fold", no_wrap=not last)
    for row in table.rows:
        fitted.add_row(*(Text(printable(part.text), _RICH_STYLES[part.style]) for part in row))
    wanted = colour_wanted(sys.stdout)
    Console(file=sys.stdout, no_color=not wanted, highlight=False, color_system="standard" if wanted else None).print(
        fitted
    )
