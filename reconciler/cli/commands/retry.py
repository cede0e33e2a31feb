"""Try a release again that failed."""

from __future__ import annotations

from typing import Annotated

import typer

from reconciler.cli.invocation import invocation_of


def command(
    context: typer.Context,
    app: Annotated[str, typer.Argument(metavar="APP", help="The app's name.")],
) -> int:
    """Let a release that failed before be tried again."""
    from reconciler.cli.operating import ask_or_do  # noqa: PLC0415  not needed to refuse options
    from reconciler.cli.output import write_lines  # noqa: PLC0415
    from reconciler.cli.views.lines import line  # noqa: PLC0415
    from reconciler.engine.operating import retry  # noqa: PLC0415
    from reconciler.host.journal import Journal  # noqa: PLC0415
    from reconciler.model.control import Command, Request  # noqa: PLC0415

    by_agent = True

    def directly(journal: Journal) -> dict[str, object]:
        nonlocal by_agent
        by_agent = False
        return {"released": retry(journal, app)}

    answer = ask_or_do(invocation_of(context).installation(), Request(Command.RETRY, app), directly)
    if by_agent:
        what = "was quarantined" if answer["released"] else "is not quarantined"
        write_lines([line(f"{app} {what}; the agent looks at it now. `reconciler sync` waits for the end.")])
    elif answer["released"]:
        write_lines([line(f"The next pass tries {app} again; `reconciler once` starts one now.")])
    else:
        write_lines([line(f"{app} is not quarantined, and no heal of it is held; there is nothing to release.")])
    return 0
