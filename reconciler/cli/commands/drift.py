"""What was changed on this host behind git's back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from reconciler.cli.invocation import Invocation, invocation_of

if TYPE_CHECKING:
    import typer

DRIFT_STATUS = 3


def command(
    context: typer.Context,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> int:
    """Show what differs from the applied state, with diffs.

    Exit status 3: something does."""
    return run(invocation_of(context), as_json=as_json)


def run(invocation: Invocation, *, as_json: bool) -> int:
    """Show the drift; the exit status."""
    from reconciler.cli.output import write_json, write_lines  # noqa: PLC0415  not needed to refuse options
    from reconciler.cli.views.drift import drift_lines  # noqa: PLC0415
    from reconciler.engine.drift import find_drift  # noqa: PLC0415

    installation = invocation.installation()
    with installation.journal() as journal:
        rows = find_drift(installation.layout, journal)
        apps = len(journal.applied())
    if as_json:
        write_json({"drift": [row.as_json() for row in rows]})
    else:
        write_lines(drift_lines(rows, apps))
    return DRIFT_STATUS if rows else 0
