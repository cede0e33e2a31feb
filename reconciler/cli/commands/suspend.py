"""Leave an app as it is, whatever git asks for."""

from __future__ import annotations

from typing import Annotated

import typer

from reconciler.cli.invocation import invocation_of


def command(
    context: typer.Context,
    app: Annotated[str, typer.Argument(metavar="APP", help="The app's name.")],
    reason: Annotated[str, typer.Option("--reason", metavar="TEXT", help="Why; everybody who looks will read it.")],
) -> int:
    """Leave an app as it is until `resume`, whatever git asks for."""
    from reconciler.cli.operating import ask_or_do  # noqa: PLC0415  not needed to refuse options
    from reconciler.cli.output import write_lines  # noqa: PLC0415
    from reconciler.cli.views.lines import line  # noqa: PLC0415
    from reconciler.engine.operating import suspend  # noqa: PLC0415
    from reconciler.host.control_socket import own_name  # noqa: PLC0415
    from reconciler.host.journal import Journal  # noqa: PLC0415
    from reconciler.model.control import Command, Request, checked_reason  # noqa: PLC0415

    text = checked_reason(reason)

    def directly(journal: Journal) -> dict[str, object]:
        before = suspend(journal, app, text, own_name())
        return {"before": before.sentence if before is not None else None}

    answer = ask_or_do(invocation_of(context).installation(), Request(Command.SUSPEND, app, text), directly)
    lines = [line(f"Suspended {app}; `reconciler resume {app}` lets it change again.")]
    if answer["before"] is not None:
        lines.append(line(f"Before, it was {answer['before']}"))
    write_lines(lines)
    return 0
