"""End a suspension."""

from __future__ import annotations

from typing import Annotated

import typer

from reconciler.cli.invocation import invocation_of


def command(
    context: typer.Context,
    app: Annotated[str, typer.Argument(metavar="APP", help="The app's name.")],
) -> int:
    """Let a suspended app follow git again."""
    from reconciler.cli.operating import ask_or_do  # noqa: PLC0415  not needed to refuse options
    from reconciler.cli.output import write_lines  # noqa: PLC0415
    from reconciler.cli.views.lines import line  # noqa: PLC0415
    from reconciler.engine.operating import resume  # noqa: PLC0415
    from reconciler.host.control_socket import own_name  # noqa: PLC0415
    from reconciler.host.journal import Journal  # noqa: PLC0415
    from reconciler.model.control import Command, Request  # noqa: PLC0415

    def directly(journal: Journal) -> dict[str, object]:
        resumed = resume(journal, app, own_name())
        before = resumed.before
        return {"before": before.sentence if before is not None else None, "by_manifest": resumed.by_manifest}

    answer = ask_or_do(invocation_of(context).installation(), Request(Command.RESUME, app), directly)
    before, by_manifest = answer["before"], answer["by_manifest"]
    lines = []
    if before is not None:
        lines.append(line(f"Resumed {app}; it was {before}"))
    elif not by_manifest:
        lines.append(line(f"{app} is not suspended; there is nothing to resume."))
    if by_manifest:
        still = "still " if before is not None else ""
        lines.append(line(f"Its manifest {still}suspends {app}: set spec.suspend to false and commit."))
    write_lines(lines)
    return 0
