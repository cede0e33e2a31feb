"""One pass, in the foreground."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING, Annotated

from reconciler.cli.invocation import Invocation, invocation_of
from reconciler.model.trigger import Trigger

if TYPE_CHECKING:
    import typer

    from reconciler.cli.wiring import Installation
    from reconciler.engine.progress import Progress
    from reconciler.engine.results import PassResult
    from reconciler.model.stage import AppliedApps


def command(
    context: typer.Context,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> int:
    """Run one pass: deploy what git asks for, and prove it."""
    return run(invocation_of(context), as_json=as_json)


def run(invocation: Invocation, *, as_json: bool) -> int:
    """Run one pass and show it; the exit status."""
    # the engine takes longest to import, so that options are read and refused before it is
    from reconciler.cli.interrupts import ending_safely  # noqa: PLC0415
    from reconciler.cli.output import write_json, write_lines  # noqa: PLC0415
    from reconciler.cli.progress import make_progress  # noqa: PLC0415
    from reconciler.cli.views.once import summary_lines, urls_of  # noqa: PLC0415
    from reconciler.engine.collecting import remove_left_over  # noqa: PLC0415
    from reconciler.host.locking import state_lock  # noqa: PLC0415

    installation = invocation.installation()
    installation.layout.create()
    with ending_safely(), state_lock(installation.layout), closing(make_progress()) as progress:
        remove_left_over(installation.layout)
        result, applied = _pass(installation, progress)
        urls = {} if as_json else urls_of(applied)
    if as_json:
        write_json(result.as_json())
    else:
        write_lines(summary_lines(result, urls))
    if result.error is not None:
        return result.error.exit_status
    return 1 if result.failed else 0


def _pass(installation: Installation, progress: Progress) -> tuple[PassResult, AppliedApps]:
    """One pass, and what is applied after it; once more with a new journal where the old one turns out damaged."""
    from reconciler.model.errors import JournalDamaged  # noqa: PLC0415

    for thorough in (False, True):
        try:
            with installation.engine(progress, thorough=thorough) as engine:
                _tell(engine.journal_news)
                return engine.reconcile(Trigger.COMMAND), engine.journal.applied()
        except JournalDamaged:
            if thorough:
                raise
    raise AssertionError("a pass either returns or raises")


def _tell(news: str | None) -> None:
    from reconciler.cli.output import write_notes  # noqa: PLC0415
    from reconciler.cli.views.failures import warning_line  # noqa: PLC0415

    if news is not None:
        write_notes([warning_line(news)])
