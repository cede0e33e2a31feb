"""What serves, one row per app."""

from __future__ import annotations

from collections.abc import Sequence

from reconciler.cli.views.failures import warning_line
from reconciler.cli.views.lines import Line, Part, Style, line
from reconciler.cli.views.tables import Table, cell, one_line
from reconciler.cli.views.times import age, ago
from reconciler.cli.views.words import counted, short
from reconciler.engine.status import AppStatus, HostStatus
from reconciler.model.condition import ConditionReason, ConditionType
from reconciler.model.times import local_time

COLUMNS = ("app", "ready", "release", "revision", "serving since", "last pass", "state")
STATE_WORDS = {
    ConditionReason.SUSPENDED: "suspended",
    ConditionReason.QUARANTINED: "quarantined",
    ConditionReason.FAILED: "failed",
    ConditionReason.CONFIGURATION_UNREADABLE: "unknown",
    ConditionReason.NEVER_DEPLOYED: "waiting",
}


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
    commit = short(last.revision) or "unknown"
    lines = [line(f"{counts}; last pass {ago(last.finished, now)}, commit {commit} ({last.trigger}).")]
    concern = _concern_of_nobody(last.error, status.apps) if last.error else ""
    lines.append(_agent_line(status, now))
    concerns = [warning_line(one_line(concern))] if concern else []
    return [*_server_lines(status), *_repository_lines(status, now), *concerns, *lines]


def _server_lines(status: HostStatus) -> list[Line]:
    """Which of the servers does not run although something was deployed."""
    if all(app.release is None for app in status.apps):
        return []
    servers = (("nginx", status.nginx), ("the uWSGI Emperor", status.emperor))
    return [
        warning_line(f"{name} does not run: the next pass starts it again, `reconciler once` does so now")
        for name, runs in servers
        if not runs
    ]


def _repository_lines(status: HostStatus, now: float) -> list[Line]:
    """Which repositories do not answer, and when they are asked again."""
    return [
        warning_line(
            f"{trouble.repository} has not answered for {age(now - trouble.since)} "
            f"({counted(trouble.failures, 'poll')}); it is asked again "
            + (f"within {age(trouble.again - now)}" if trouble.again > now else "now")
        )
        for trouble in status.troubles
    ]


def _agent_line(status: HostStatus, now: float) -> Line:
    agent = status.agent
    if agent is None:
        return line("No agent runs; `reconciler run` starts one.")
    since = f" since {local_time(agent.since)} ({ago(agent.since, now)})" if agent.since is not None else ""
    return line(f"The agent runs{since}, process {agent.process or 'unknown'}.")


def problem_lines(status: HostStatus) -> list[Line]:
    """Why an app's state is not what it should be; below the table, where a sentence has room."""
    return [
        line(Part(f"{app.app} {problem[0]}:", Style.WARNING if app.ready else Style.BAD), f" {one_line(problem[1])}")
        for app in status.apps
        if (problem := problem_of(app)) is not None
    ]


def problem_of(app: AppStatus) -> tuple[str, str] | None:
    """The most urgent thing to know about an app, as a word and a sentence; ``None`` when all is well."""
    ready, reconciled = app.condition(ConditionType.READY), app.condition(ConditionType.RECONCILED)
    deployed = ready.reason is not ConditionReason.NEVER_DEPLOYED
    if deployed and not ready.holds:
        return "down", ready.message
    if not reconciled.holds:
        return STATE_WORDS[reconciled.reason], reconciled.message
    drifted = app.condition(ConditionType.DRIFTED)
    if drifted.holds:
        return "drifted", f"{drifted.message}; `reconciler drift` shows them"
    certified = next((one for one in app.conditions if one.type is ConditionType.CERTIFIED), None)
    return None if certified is None or certified.holds else ("certificate", certified.message)


def _concern_of_nobody(error: str, apps: Sequence[AppStatus]) -> str:
    """What the last pass complained about, without what the table says already."""
    for app in apps:
        if app.last_error:
            error = error.replace(app.last_error, "")
    return error.strip("; ")


def _row(app: AppStatus, now: float) -> tuple[Part, ...]:
    problem = problem_of(app)
    state = cell("as git asks", Style.GOOD)
    if problem is not None:
        state = cell(problem[0], Style.WARNING if app.ready else Style.BAD)
    return (
        cell(app.app, Style.HEADING),
        cell("yes", Style.GOOD) if app.ready else cell("no", Style.BAD),
        cell(app.release),
        cell(short(app.revision)),
        cell(ago(app.serving_since, now)),
        cell(ago(app.last_pass, now)),
        state,
    )
