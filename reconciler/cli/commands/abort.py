"""End the attempt that is under way."""

from __future__ import annotations

from typing import Annotated

import typer

from reconciler.cli.invocation import invocation_of


def command(
    context: typer.Context,
    app: Annotated[str, typer.Argument(metavar="APP", help="The app's name.")],
) -> int:
    """End the attempt to deploy an app that is under way."""
    from reconciler.cli.agent_client import ask_agent  # noqa: PLC0415  not needed to refuse options
    from reconciler.cli.output import write_lines  # noqa: PLC0415
    from reconciler.cli.views.lines import line  # noqa: PLC0415
    from reconciler.model.control import Command, Request  # noqa: PLC0415
    from reconciler.model.errors import AgentNotRunning  # noqa: PLC0415

    layout = invocation_of(context).installation().layout
    try:
        aborted = ask_agent(layout.control, Request(Command.ABORT, app))["aborted"]
    except AgentNotRunning:
        write_lines([line("No agent runs, so there is nothing to end.")])
        return 0
    if aborted:
        write_lines([line(f"The attempt to deploy {app} ends at a safe point; what served before still serves.")])
    else:
        write_lines([line(f"Nothing is being deployed for {app}; there is nothing to end.")])
    return 0
