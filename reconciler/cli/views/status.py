"""What serves, one row per app."""

from __future__ import annotations

from reconciler.cli.views.lines import Line, Part, Style, line
from reconciler.cli.views.tables import Table, cell, one_line
from reconciler.cli.views.times import ago
from reconciler.cli.views.words import counted, short, warning_line
from reconciler.engine.status import AppStatus, HostStatus
from reconciler.model.condition import ConditionReason, ConditionType

COLUMNS = ("app", "ready", "release", "revision", "serving since", "last pass", "problem")
PROBLEM_CHARACTERS = 200


def status_table(status: HostStatus, now: float) -> Table:
    """The table of all apps; ``now`` in seconds since 1970."""
    return Table(COLUMNS, tuple(_row(app, now) for app in status.apps))


def status_notes(status: HostStatus, now: float) -> list[Line]:
    """What concerns no single app: when the last pass was, and what was wrong with it."""
    last = status.last_pass
    if last is None:
        return [warning_line("no pass has run on this host yet")]
    ready = sum(app.ready for app in status.apps)
    counts = f"{ready} of {counted(len(status.apps), 'app')} ready"
    lines = [
        line(f"{counts}; last pass {ago(last.finished, now)}, commit {short(last.revision) or 'unknown'} ({last.trigger}).")
    ]
    return [warning_line(one_line(last.error)), *lines] if last.error else lines


def problem_of(app: AppStatus) -> str | None:
    """The most urgent thing to know about an app, in a sentence; ``None`` when all is well."""
    ready, reconciled = app.condition(ConditionType.READY), app.condition(ConditionType.RECONCILED)
    deployed = ready.reason is not ConditionReason.NEVER_DEPLOYED
    if deployed and not ready.holds:
        return ready.message
    if not reconciled.holds:
        return f"{reconciled.reason.value.lower()}: {reconciled.message}"
    drifted = app.condition(ConditionType.DRIFTED)
    return f"drifted: {drifted.message}" if drifted.holds else None


def _row(app: AppStatus, now: float) -> tuple[Part, ...]:
    problem = problem_of(app)
    return (
        cell(app.app, Style.HEADING),
        cell("yes", Style.GOOD) if app.ready else cell("no", Style.BAD),
        cell(app.release),
        cell(short(app.revision)),
        cell(ago(app.serving_since, now)),
        cell(ago(app.last_pass, now)),
        cell(one_line(problem)[:PROBLEM_CHARACTERS] if problem else None, Style.WARNING if app.ready else Style.BAD),
    )
