"""What happened to one app."""

from __future__ import annotations

from typing import Annotated

import typer

from reconciler.cli.invocation import invocation_of

ATTEMPTS = 20


def command(
    context: typer.Context,
    app: Annotated[str, typer.Argument(metavar="APP", help="The app's name.")],
    limit: Annotated[
        int, typer.Option("-n", "--limit", metavar="NUMBER", min=1, help="How many attempts.")
    ] = ATTEMPTS,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> int:
    """Show the attempts to deploy an app, the newest first."""
    from reconciler.cli.output import write_json, write_lines  # noqa: PLC0415
    from reconciler.cli.views.history import history_json, history_lines  # noqa: PLC0415
    from reconciler.cli.views.lines import line  # noqa: PLC0415
    from reconciler.engine.known_apps import require_known  # noqa: PLC0415  not needed to refuse options

    with invocation_of(context).installation().journal() as journal:
        require_known(journal, app)
        attempts = journal.releases(app, limit)
    if as_json:
        write_json(history_json(app, attempts))
    elif attempts:
        write_lines(history_lines(attempts))
    else:
        write_lines([line(f"No release of {app} has been tried yet; `reconciler explain {app}` says why.")])
    return 0
