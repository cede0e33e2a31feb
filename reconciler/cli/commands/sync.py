"""Ask the agent for a pass now."""

from __future__ import annotations

from contextlib import suppress
from typing import Annotated

import typer

from reconciler.cli.invocation import invocation_of
from reconciler.cli.main import INTERRUPTED_STATUS
from reconciler.model.control import LONGEST_SYNC_SECONDS, SYNC_SECONDS


def command(
    context: typer.Context,
    app: Annotated[
        str | None, typer.Option("--app", metavar="APP", help="Wait for this app alone, and show it alone.")
    ] = None,
    no_wait: Annotated[bool, typer.Option("--no-wait", help="Ask, and do not wait for the end.")] = False,
    timeout: Annotated[
        float,
        typer.Option("--timeout", metavar="SECONDS", min=1, max=LONGEST_SYNC_SECONDS, help="How long to wait."),
    ] = SYNC_SECONDS,
) -> int:
    """Let the agent look at git now, and show what it changed."""
    from reconciler.cli.agent_client import ask_agent  # noqa: PLC0415  not needed to refuse options
    from reconciler.cli.output import write_lines, write_notes  # noqa: PLC0415
    from reconciler.cli.views.lines import line  # noqa: PLC0415
    from reconciler.cli.views.once import summary_lines, urls_of  # noqa: PLC0415
    from reconciler.engine.results_wire import from_wire  # noqa: PLC0415
    from reconciler.model.control import OTHER_VERSION_HINT, Command, Request  # noqa: PLC0415
    from reconciler.model.errors import JournalError, ReconcilerError  # noqa: PLC0415

    installation = invocation_of(context).installation()
    request = Request(Command.SYNC, app, wait=not no_wait, seconds=timeout)
    try:
        answer = ask_agent(installation.layout.control, request)
    except KeyboardInterrupt:
        write_notes([(), line("not waiting any more; the agent goes on")])
        return INTERRUPTED_STATUS
    if no_wait:
        write_lines([line("The agent was asked for a pass; `reconciler status` shows what came of it.")])
        return 0
    try:
        result = from_wire(answer["result"])
    except (KeyError, TypeError, ValueError) as error:
        raise ReconcilerError("the agent's answer is none that is understood", hint=OTHER_VERSION_HINT) from error
    urls: dict[str, str] = {}
    # one who may speak to the agent may yet have no right to read its journal
    with suppress(JournalError), installation.journal() as journal:
        urls = urls_of(journal.applied())
    write_lines(summary_lines(result, urls))
    if result.error is not None:
        return result.error.exit_status
    return 1 if result.failed else 0
