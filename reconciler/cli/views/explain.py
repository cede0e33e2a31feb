"""Why an app serves what it serves, in words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from reconciler.cli.explaining import Explanation
from reconciler.cli.views.failures import hint_line, tail_lines
from reconciler.cli.views.lines import Line, Part, Style, indented, line, styled
from reconciler.cli.views.times import ago
from reconciler.cli.views.words import ACTION_STYLES, SYMBOLS, reason_words, short
from reconciler.engine.results import AppResult
from reconciler.host.journal import EventRecord
from reconciler.model.condition import ConditionType
from reconciler.model.plan import Outcome
from reconciler.model.stage import Action
from reconciler.model.times import local_time


def explain_lines(explanation: Explanation, now: float) -> list[Line]:
    """The whole explanation; ``now`` in seconds since 1970."""
    lines = [styled(explanation.app, Style.HEADING), (), *_serving(explanation, now), ()]
    if explanation.last_change is not None:
        lines += [*_last_change(explanation.last_change, now), ()]
    lines += [*_asks(explanation), ()]
    if explanation.last_failure is not None:
        lines += [*_last_failure(explanation, explanation.last_failure, now), ()]
    if explanation.next_action is not None:
        return [*lines, hint_line(explanation.next_action)]
    return [*lines, styled("Nothing to do.", Style.HEADING)]


def _serving(explanation: Explanation, now: float) -> list[Line]:
    status = explanation.status
    if status is None or status.release is None:
        return [line(Part("What serves: ", Style.HEADING), "nothing; no release has been verified on this host")]
    head = line(
        Part("What serves: ", Style.HEADING),
        f"release {status.release} of commit {short(status.revision)}, since {_when(status.serving_since, now)}",
    )
    lines = [head]
    if explanation.url:
        lines += indented([styled(explanation.url, Style.HINT)])
    for condition in status.conditions:
        # drift is bad news when it holds, the others when they do not
        good = condition.holds is not (condition.type is ConditionType.DRIFTED)
        if not good:
            lines += indented([line(Part(f"{condition.type.value}: {condition.status.value}", Style.WARNING),
                                    f"  {condition.message}")])  # fmt: skip
    return lines


def _last_change(event: EventRecord, now: float) -> list[Line]:
    head = line(Part("Last change: ", Style.HEADING), f"{_when(event.at, now)}: {event.message}")
    changes = event.detail.get("changes")
    rows = changes if isinstance(changes, list) else []
    return [head, *indented(part for row in rows for part in _recorded_change(row))]


def _recorded_change(row: Mapping[str, Any]) -> list[Line]:
    action = Action(row["action"])
    head = line(Part(f"{SYMBOLS[action]} {row['stage']}", ACTION_STYLES[action]), f"  {reason_words(row['reasons'])}")
    return [head, *indented([styled(text, Style.PLAIN) for text in row["detail"]], 2)]


def _asks(explanation: Explanation) -> list[Line]:
    head = Part("What git asks for: ", Style.HEADING)
    asks = explanation.asks
    if asks is None:
        return [line(head, explanation.unknown or "unknown")]
    if asks.outcome is Outcome.UNCHANGED:
        return [line(head, f"commit {short(asks.revision)}, and that is what serves")]
    wanted = f"commit {short(asks.revision)}" if asks.revision else "its manifest"
    lines = [line(head, f"{wanted}, but {_why_not(asks)}")]
    if asks.error is not None:
        problems = getattr(asks.error, "problems", ()) or (str(asks.error),)
        lines += indented([line(Part("error:", Style.BAD), f" {problem}") for problem in problems])
    return lines


def _why_not(asks: AppResult) -> str:
    needed = ", ".join(change.stage.value for change in asks.plan.changes if change.needed)
    return {
        Outcome.CHANGED: f"no pass has made it yet; it would change: {needed}",
        Outcome.FAILED: "that cannot be planned; the app is left as it is",
        Outcome.QUARANTINED: "that release failed before and is not tried again by itself",
        Outcome.SUSPENDED: "the app is suspended" + (f" ({asks.note})" if asks.note else ""),
        Outcome.WAITING: f"it waits: {asks.note}",
    }[asks.outcome]


def _last_failure(explanation: Explanation, event: EventRecord, now: float) -> list[Line]:
    head = Part("Last failure: ", Style.HEADING)
    if explanation.mended:
        return [line(head, f"{_when(event.at, now)}, mended since: {event.message}")]
    return [
        line(head, f"{_when(event.at, now)}: {event.message}"),
        *indented(tail_lines(str(event.detail.get("tail", "")))),
    ]


def _when(seconds: float | None, now: float) -> str:
    return "unknown" if seconds is None else f"{local_time(seconds)} ({ago(seconds, now)})"
