"""Order: an app is changed only when the present revisions of the apps that it depends on are verified."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
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
        if name not in decided:
            result = planned[name]
            # a circle never gets here, and must not hang the agent if it does
            decided[name] = replace(result, outcome=Outcome.WAITING, note="the apps wait for each other")
            if alone not in (None, name) and result.outcome is Outcome.CHANGED:
                decided[name] = replace(result, outcome=Outcome.WAITING, note=f"this pass is about {alone} only")
                return decided[name]
            wanted = dependencies.get(name, ()) if result.outcome is Outcome.CHANGED else ()
            others = {on: decide(on) if on in planned else None for on in wanted}
            decided[name] = _decided(result, others)
        return decided[name]

    return [decide(name) for name in planned]


def in_order(
    work: Iterable[AppResult], dependencies: Dependencies, apply: Callable[[AppResult], AppResult], at_once: int
) -> list[AppResult]:
    """Apply each of ``work``, ``at_once`` side by side, every one after those that it depends on.

    One that depends on an app which did not get verified is not applied and waits. Only apps that are ready take a
    place in the pool, so that those which wait never keep out those that they wait for.
    """
    left = {result.app: result for result in work}
    # an app that is not among the work was looked at when the work was planned
    wanted = {name: [on for on in dependencies.get(name, ()) if on in left] for name in left}
    done: dict[str, AppResult] = {}
    running: dict[Future[AppResult], str] = {}
    with ThreadPoolExecutor(at_once, thread_name_prefix="apply") as pool:
        while True:
            for name in [name for name in left if all(on in done for on in wanted[name])]:
                result = _decided(left.pop(name), {on: done[on] for on in wanted[name]}, finished=True)
                if result.outcome is Outcome.CHANGED:
                    running[pool.submit(apply, result)] = name
                else:
                    done[name] = result
            if running:
                for future in wait(running, return_when=FIRST_COMPLETED).done:
                    done[running.pop(future)] = future.result()
            elif not any(all(on in done for on in wanted[name]) for name in left):
                return [*done.values(), *left.values()]


def _decided(result: AppResult, others: Mapping[str, AppResult | None], *, finished: bool = False) -> AppResult:
    """One app, given those that it depends on: as they were planned, or (``finished``) as they ended."""
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
