"""What this host lacks."""

from __future__ import annotations

from typing import Annotated

import typer

from reconciler.cli.invocation import invocation_of

LACKING_STATUS = 1


def command(
    context: typer.Context,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> int:
    """Check what this host lacks, and say how to get it.

    Works without a configuration too."""
    from reconciler.cli.checks.examination import examine  # noqa: PLC0415  not needed to refuse options
    from reconciler.cli.checks.row import Level  # noqa: PLC0415
    from reconciler.cli.output import write_json, write_lines  # noqa: PLC0415
    from reconciler.cli.tables import write_table  # noqa: PLC0415
    from reconciler.cli.views.doctor import doctor_conclusion, doctor_table  # noqa: PLC0415

    rows = examine(invocation_of(context))
    if as_json:
        write_json({"checks": [row.as_json() for row in rows]})
    else:
        write_table(doctor_table(rows))
        write_lines([(), doctor_conclusion(rows)])
    return LACKING_STATUS if any(row.level is Level.FAIL for row in rows) else 0
