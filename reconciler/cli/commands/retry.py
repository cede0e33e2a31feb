"""Try a quarantined release again."""

from __future__ import annotations

from typing import Annotated

import typer

from reconciler.cli.invocation import invocation_of


def command(
    context: typer.Context,
    app: Annotated[str, typer.Argument(metavar="APP", help="The app's name.")],
) -> int:
    """Let the next pass try a release again that failed before."""
    from reconciler.cli.output import write_lines  # noqa: PLC0415
    from reconciler.cli.views.lines import line  # noqa: PLC0415
    from reconciler.engine.known_apps import require_known  # noqa: PLC0415  not needed to refuse options

    installation = invocation_of(context).installation()
    with installation.journal() as journal:
        require_known(journal, app)
    with installation.journal(write=True) as journal:
        released = journal.release_quarantine(app)
    if released:
        write_lines([line(f"The next pass tries {app} again; `reconciler once` starts one now.")])
    else:
        write_lines([line(f"{app} is not quarantined; there is nothing to release.")])
    return 0
