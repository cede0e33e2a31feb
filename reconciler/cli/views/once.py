"""What one pass did, app by app, and where each changed app can be reached."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from reconciler.cli.views.failures import error_with_tail, warning_line
from reconciler.cli.views.lines import Line, Part, Style, indented, line, styled
from reconciler.cli.views.plan import problems_of_nobody
from reconciler.cli.views.times import duration
from reconciler.cli.views.words import counted, short
from reconciler.engine.results import AppResult, PassResult
from reconciler.model.plan import Outcome
from reconciler.model.stage import Action, AppliedApps, AppliedStage, StageName

OUTCOME_STYLES = {
    Outcome.CHANGED: Style.GOOD,
    Outcome.FAILED: Style.BAD,
    Outcome.QUARANTINED: Style.BAD,
    Outcome.SUSPENDED: Style.WARNING,
    Outcome.WAITING: Style.WARNING,
}
LEADS_SOMEWHERE = frozenset({Outcome.CHANGED, Outcome.FAILED, Outcome.QUARANTINED})


def summary_lines(result: PassResult, urls: Mapping[str, str]) -> list[Line]:
    """The summary; ``urls`` has the address of every app that serves."""
    shown = [app for app in result.apps if app.outcome is not Outcome.UNCHANGED]
    width = max((len(app.app) for app in shown), default=0)
    lines = [part for app in shown for part in _app(app, width, urls.get(app.app))]
    lines += [warning_line(problem) for problem in problems_of_nobody(result)]
    lines += [line(Part("note:", Style.HINT), f" {note}") for note in result.notes]
    if result.error is not None:
        return [*lines, *error_with_tail(result.error)]
    return [*lines, _conclusion(result)]


def url_of(nginx: AppliedStage) -> str:
    """Where a visitor reaches an app, from what was applied for its nginx stage."""
    address, _, port = nginx.declared.get("nginx.listen", "").rpartition(":")
    names = [name for name in nginx.declared.get("nginx.serverNames", "").split() if not name.startswith("*")]
    everywhere = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "[::]": "[::1]", "*": "127.0.0.1"}  # noqa: S104
    host = names[0] if names else everywhere.get(address, address)
    return f"http://{host}" if port == "80" else f"http://{host}:{port}"


def urls_of(applied: AppliedApps) -> dict[str, str]:
    """The address of every app that was applied."""
    return {app: url_of(stages[StageName.NGINX]) for app, stages in applied.items() if StageName.NGINX in stages}


def _app(app: AppResult, width: int, url: str | None) -> list[Line]:
    head = line(
        Part(app.app.ljust(width), Style.HEADING),
        "  ",
        Part(app.outcome.value, OUTCOME_STYLES[app.outcome]),
        f"  {_what(app, serves=url is not None)}",
        Part(f"  {url}" if url and app.outcome in LEADS_SOMEWHERE else "", Style.HINT),
    )
    return [head, *(indented(error_with_tail(app.error)) if app.error is not None else [])]


def _what(app: AppResult, *, serves: bool) -> str:
    if app.outcome is not Outcome.CHANGED:
        return app.note or ("what served before still serves" if serves and app.error is not None else "")
    changes = [change for change in app.plan.changes if change.needed]
    stages = ", ".join(change.stage.value for change in changes)
    verb = "removed " if all(change.action is Action.DELETE for change in changes) else ""
    return f"{verb}{stages} in {duration(app.total_seconds)}"


def _conclusion(result: PassResult) -> Line:
    counts = Counter(app.outcome for app in result.apps)
    commit = short(result.revision)
    if not result.apps:
        return styled(f"Nothing to do: commit {commit} has no app for this host.", Style.HEADING)
    if set(counts) == {Outcome.UNCHANGED}:
        number = counts[Outcome.UNCHANGED]
        verb = "is" if number == 1 else "are"
        return styled(f"Nothing to do: {counted(number, 'app')} {verb} as commit {commit} asks.", Style.HEADING)
    parts = ", ".join(f"{counts[outcome]} {outcome.value}" for outcome in Outcome if counts[outcome])
    return line(Part(f"Commit {commit}:", Style.HEADING), f" {parts} in {duration(result.seconds)}.")
