"""What serves, since when, and what is wrong."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated

from reconciler.cli.invocation import Invocation, invocation_of

if TYPE_CHECKING:
    import typer


def command(
    context: typer.Context,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> int:
    """Show what serves, since when, and what is wrong.

    Reads the journal and the disk alone: works without git, network and agent."""
    return run(invocation_of(context), as_json=as_json)


def run(invocation: Invocation, *, as_json: bool) -> int:
    """Show the status; the exit status."""
    from reconciler.cli.output import write_json, write_lines  # noqa: PLC0415  not needed to refuse options
    from reconciler.cli.tables import write_table  # noqa: PLC0415
    from reconciler.cli.views.status import problem_lines, status_notes, status_table  # noqa: PLC0415
    from reconciler.engine.status import read_status  # noqa: PLC0415

    installation = invocation.installation()
    with installation.journal() as journal:
        status = read_status(installation.layout, journal)
    if as_json:
        write_json(status.as_json())
        return 0
    now = time.time()
    if status.apps:
        write_table(status_table(status, now))
    write_lines([*problem_lines(status), *status_notes(status, now)])
    return 0
