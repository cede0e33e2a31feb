"""A plan as a reviewer reads it: what would change, why, and how; counts or a full sentence at its end."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from reconciler.cli.views.failures import error_lines, error_with_tail, warning_line
from reconciler.cli.views.lines import Line, Part, Style, indented, line, styled
from reconciler.cli.views.words import ACTION_STYLES, SYMBOLS, counted, diff_lines, reason_words, short
from reconciler.engine.results import AppResult, PassResult
from reconciler.model.plan import AppPlan, Change, Outcome
from reconciler.model.stage import Action

HELD_BACK = {
    Outcome.FAILED: "cannot be planned; it is left as it is",
    Outcome.QUARANTINED: "quarantined: this release failed before and is not tried again by itself",
    Outcome.SUSPENDED: "suspended: nothing is changed until that ends",
    Outcome.WAITING: "waiting",
}


def plan_lines(result: PassResult, subject: str = "") -> list[Line]:
    """The whole plan; ``subject`` is the first line of the commit's message."""
    blocks = [[_header(result, subject)]]
    for app in result.apps:
        if app.outcome is Outcome.CHANGED:
            blocks.append(_changed_app(app))
        elif app.outcome in HELD_BACK:
            blocks.append(_held_back(app))
        elif app.note:
            blocks.append([warning_line(f"{app.app}: {app.note}")])
    blocks += [[warning_line(problem)] for problem in problems_of_nobody(result)]
    unchanged = _counts(result)[Outcome.UNCHANGED]
    # where nothing else is shown, the last sentence says it
    if unchanged and len(blocks) > 1:
        blocks.append([styled(f"= {counted(unchanged, 'app')} unchanged", Style.FAINT)])
    blocks.append(error_with_tail(result.error) if result.error is not None else [_conclusion(result)])
    return [part for number, block in enumerate(blocks) for part in ([()] if number else []) + block]


def planned(result: PassResult) -> Counter[Action]:
    """How many stages a pass would make, change and remove; what is held back does not count."""
    return Counter(
        change.action
        for app in result.apps
        if app.outcome is Outcome.CHANGED
        for change in app.plan.changes
        if change.needed
    )


def problems_of_nobody(result: PassResult) -> list[str]:
    """Problems of the config repository that no app's own error has shown yet."""
    shown = {str(problem) for app in result.apps for problem in getattr(app.error, "problems", ())}
    return [problem for problem in result.problems if problem not in shown]


def _header(result: PassResult, subject: str) -> Line:
    commit = short(result.revision) or "(none)"
    return line(Part(f"Commit {commit}", Style.HEADING), f": {subject}" if subject else "")


def _changed_app(app: AppResult) -> list[Line]:
    action = _action_of(app.plan)
    notes = [f"commit {short(app.revision)}"] if app.revision else []
    notes += [f"release {app.release}"] if app.release else []
    lines = [
        line(
            Part(f"{SYMBOLS[action]} ", ACTION_STYLES[action]),
            Part(app.app, Style.HEADING),
            Part(f"  {', '.join(notes)}" if notes else "", Style.FAINT),
        )
    ]
    lines += indented([styled(app.note, Style.WARNING)] if app.note else [])
    return lines + indented(part for change in app.plan.changes for part in _change(change))


def _action_of(plan: AppPlan) -> Action:
    """An app is made when each of its stages is, and goes when each of them goes."""
    actions = {change.action for change in plan.changes if change.needed}
    return actions.pop() if len(actions) == 1 else Action.UPDATE


def _change(change: Change) -> list[Line]:
    if not change.needed and not change.detail:
        return []
    why = reason_words(change.reasons) if change.needed else "nothing to do"
    style = ACTION_STYLES[change.action]
    head = line(Part(f"{SYMBOLS[change.action]} {change.stage.value}", style), f"  {why}")
    detail = [styled(text, Style.PLAIN if change.needed else Style.FAINT) for text in change.detail]
    return [head, *indented(detail, 2), *indented(diff_lines(change.diff), 2)]


def _held_back(app: AppResult) -> list[Line]:
    words = HELD_BACK[app.outcome] + (f": {app.note}" if app.note else "")
    style = Style.BAD if app.outcome in (Outcome.FAILED, Outcome.QUARANTINED) else Style.WARNING
    lines = [line(Part("! ", style), Part(app.app, Style.HEADING), f"  {words}")]
    if app.error is not None:
        lines += indented(error_lines(app.error), 2)
    return lines


def _conclusion(result: PassResult) -> Line:
    counts, stages = _counts(result), planned(result)
    others = [f"{counts[outcome]} {outcome.value}" for outcome in HELD_BACK if counts[outcome]]
    unchanged = counted(counts[Outcome.UNCHANGED], "app")
    if not result.apps:
        return styled("No changes. There is no app for this host.", Style.HEADING)
    if not stages and not others:
        verb = "is" if counts[Outcome.UNCHANGED] == 1 else "are"
        return styled(f"No changes. {unchanged} {verb} as commit {short(result.revision)} asks.", Style.HEADING)
    numbers = _joined(
        f"{stages[action]} to {word}"
        for action, word in ((Action.CREATE, "create"), (Action.UPDATE, "update"), (Action.DELETE, "delete"))
    )
    ending = _joined([f"{unchanged} unchanged", *others])
    return line(Part("Plan:", Style.HEADING), f" {numbers}; {ending}.")


def _counts(result: PassResult) -> Counter[Outcome]:
    return Counter(app.outcome for app in result.apps)


def _joined(parts: Iterable[str]) -> str:
    return ", ".join(parts)
