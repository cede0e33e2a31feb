"""Why an app serves what it serves."""

from __future__ import annotations

import time
from typing import Annotated

import typer

from reconciler.cli.invocation import invocation_of


def command(
    context: typer.Context,
    app: Annotated[str, typer.Argument(metavar="APP", help="The app's name.")],
    offline: Annotated[
        bool, typer.Option("--offline", help="Do not ask git: the journal and the disk alone.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> int:
    """Say what serves and why, why nothing else, what to do."""
    from reconciler.cli.explaining import explain  # noqa: PLC0415  not needed to refuse options
    from reconciler.cli.output import write_json, write_lines  # noqa: PLC0415
    from reconciler.cli.views.explain import explain_lines  # noqa: PLC0415

    explanation = explain(invocation_of(context).installation(), app, offline=offline)
    if as_json:
        write_json(explanation.as_json())
    else:
        write_lines(explain_lines(explanation, time.time()))
    return 0
