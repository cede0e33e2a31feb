"""One pass, in the foreground."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING, Annotated

from reconciler.cli.invocation import Invocation, invocation_of

if TYPE_CHECKING:
    import typer

TRIGGER = "cli"


def command(
    context: typer.Context,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> int:
    """Run one pass: deploy what git asks for, and prove it."""
    return run(invocation_of(context), as_json=as_json)


def run(invocation: Invocation, *, as_json: bool) -> int:
    """Run one pass and show it; the exit status."""
    # the engine takes longest to import, so that options are read and refused before it is
    from reconciler.cli.interrupts import ending_safely  # noqa: PLC0415
    from reconciler.cli.output import write_json, write_lines  # noqa: PLC0415
    from reconciler.cli.progress import make_progress  # noqa: PLC0415
    from reconciler.cli.views.once import summary_lines, urls_of  # noqa: PLC0415
    from reconciler.engine.collecting import remove_left_over  # noqa: PLC0415
    from reconciler.host.locking import state_lock  # noqa: PLC0415

    installation = invocation.installation()
    installation.layout.create()
    with (
        ending_safely(),
        state_lock(installation.layout),
        closing(make_progress()) as progress,
        installation.engine(progress) as engine,
    ):
        remove_left_over(installation.layout)
        result = engine.reconcile(TRIGGER)
        urls = {} if as_json else urls_of(engine.journal.applied())
    if as_json:
        write_json(result.as_json())
    else:
        write_lines(summary_lines(result, urls))
    if result.error is not None:
        return result.error.exit_status
    return 1 if result.failed else 0
