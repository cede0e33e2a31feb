"""Order: an app is changed only when the present revisions of the apps that it depends on are verified."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from reconciler.engine.results import AppResult
from reconciler.model.plan import Outcome

Dependencies = Mapping[str, tuple[str, ...]]
"""What every app depends on, by its name; without circles."""


def hold_back(
    results: Iterable[AppResult], dependencies: Dependencies, *, alone: str | None = None
) -> list[AppResult]:
    """The results as planned, with those apps waiting that depend on one which this pass will not verify. Pure.

    An app that will be changed once another has been changed in the same pass stays changed, and its note says so.
    ``alone`` is the one app that this pass is about, where it is about one.
    """
    planned = {result.app: result for result in results}
    decided: dict[str, AppResult] = {}

    def decide(name: str) -> AppResult:
        result = planned[name]
        if result.outcome is not Outcome.CHANGED:
            return result
        if name not in decided:
            # a circle never gets here, and must not hang the agent if it does
            decided[name] = replace(result, outcome=Outcome.WAITING, note="the apps wait for each other")
            if alone not in (None, name):
                decided[name] = replace(result, outcome=Outcome.WAITING, note=f"this pass is about {alone} only")
                return decided[name]
            others = {on: decide(on) if on in planned else None for on in dependencies.get(name, ())}
            decided[name] = after_others(result, others)
        return decided[name]

    return [decide(name) for name in planned]


def after_others(result: AppResult, others: Mapping[str, AppResult | None], *, finished: bool = False) -> AppResult:
    """One app, given those that it depends on: as they were planned, or (``finished``) as they ended. Pure."""
    reasons = [f"it depends on {on}, which {why}" for on, other in others.items() if (why := _why_not(other))]
    if reasons:
        return replace(result, outcome=Outcome.WAITING, note="; ".join(reasons))
    first = [on for on, other in others.items() if other is not None and other.outcome is Outcome.CHANGED]
    if first and not finished:
        note = f"once {' and '.join(first)} {'is' if len(first) == 1 else 'are'} verified"
        return replace(result, note="; ".join(part for part in (note, result.note) if part))
    return result


def _why_not(other: AppResult | None) -> str | None:
    """Why this pass does not leave an app verified as git asks for it; ``None`` when it does."""
    if other is None:
        return "is not on this host"
    if other.outcome in (Outcome.UNCHANGED, Outcome.CHANGED):
        return None
    if other.outcome is Outcome.SUSPENDED and other.error is None and not other.plan.needed:
        return None
    reason = str(other.error) if other.error is not None else other.note
    return f"{WORDS[other.outcome]}{f' ({reason})' if reason else ''}"


WORDS = {
    Outcome.FAILED: "failed",
    Outcome.QUARANTINED: "is quarantined",
    Outcome.SUSPENDED: "is suspended",
    Outcome.WAITING: "waits itself",
}
