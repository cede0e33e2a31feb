"""Accept a rewritten history once."""

from __future__ import annotations

from typing import Annotated

import typer

from reconciler.cli.invocation import invocation_of


def command(
    context: typer.Context,
    revision: Annotated[str, typer.Argument(metavar="REVISION", help="The commit that the branch is at now.")],
) -> int:
    """Accept once that the config repository's branch was rewritten."""
    from reconciler.cli.output import write_lines  # noqa: PLC0415  not needed to refuse options
    from reconciler.cli.views.lines import line  # noqa: PLC0415
    from reconciler.model.object_ids import short  # noqa: PLC0415

    with invocation_of(context).installation().engine() as engine:
        accepted = engine.reader.accept(revision)
    lines = [f"Accepted {short(accepted.commit)} in place of {short(accepted.before)}; the next pass deploys it."]
    if accepted.vanished:
        lines.append("These commits are not in it any more:")
        lines += [f"  {commit}" for commit in accepted.vanished]
    write_lines([line(text) for text in lines])
    return 0
