"""What a pass would do, and why."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from reconciler.cli.invocation import Invocation, invocation_of

if TYPE_CHECKING:
    import typer

CHANGES_STATUS = 3


def command(
    context: typer.Context,
    app: Annotated[str | None, typer.Option("--app", metavar="APP", help="Plan this app only.")] = None,
    revision: Annotated[
        str | None,
        typer.Option("--revision", metavar="REV", help="A commit, branch or tag of the config repository."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> int:
    """Show what a pass would do and why; change nothing.

    Exit status 3: there are changes."""
    return run(invocation_of(context), app=app, revision=revision, as_json=as_json)


def run(invocation: Invocation, *, app: str | None = None, revision: str | None = None, as_json: bool = False) -> int:
    """Show the plan; the exit status."""
    from reconciler.cli.output import write_json, write_lines  # noqa: PLC0415  not needed to refuse options
    from reconciler.cli.views.plan import plan_lines, planned  # noqa: PLC0415

    installation = invocation.installation()
    with installation.engine(looking=True) as engine:
        result = engine.plan(app=app, revision=revision)
        subject = engine.host.mirrors.revisions.subject(installation.config_address, result.revision)
    if as_json:
        write_json(result.as_json(with_diff=True))
    else:
        write_lines(plan_lines(result, subject))
    if result.failed:
        return 1
    return CHANGES_STATUS if planned(result) else 0
