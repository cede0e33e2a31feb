"""Turns: which of the apps that have work may be worked on now. Pure; :mod:`reconciler.engine.work` does it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from reconciler.engine.attempt import Attempt, Wish
from reconciler.engine.ordering import after_others
from reconciler.engine.results import AppResult
from reconciler.model.plan import Outcome

AT_ONCE = 4
"""How many apps are worked on side by side: builds wait for the network, starts wait for imports."""
SLOW_SECONDS = 10.0
"""An attempt that goes on for longer gives its place to another app, so that slow builds never hold the rest,"""
AT_MOST = 16
"""up to this many attempts in all."""


@dataclass(frozen=True, slots=True)
class Turns:
    """What to do now: apps to ``start``, in order, and apps that are held back by others, each with its result.

    ``look_again`` is when another app may start although nothing has ended, by the monotonic clock.
    """

    start: tuple[str, ...] = ()
    held_back: Mapping[str, AppResult] = field(default_factory=dict)
    look_again: float | None = None


def next_turns(
    wishes: Mapping[str, Wish],
    running: Mapping[str, Attempt],
    results: Mapping[str, AppResult],
    not_before: Mapping[str, float],
    now: float,
) -> Turns:
    """Choose the apps that may be started at ``now``.

    ``results`` has every app as it stands, by the last look or attempt; ``not_before`` when an app that failed may be
    tried again. An app waits for those that it depends on; one whose dependency failed, or backs off, is held back.
    """
    verdicts = _Verdicts(wishes, running, results, not_before, now)
    ready = [app for app in wishes if verdicts.of(app) is _READY]
    held_back = {app: verdict for app in wishes if isinstance(verdict := verdicts.of(app), AppResult)}
    fresh = [attempt.started for attempt in running.values() if now - attempt.started < SLOW_SECONDS]
    places = max(0, min(AT_ONCE - len(fresh), AT_MOST - len(running)))
    times = [moment for app, moment in not_before.items() if app in wishes and app not in running and moment > now]
    if len(ready) > places and len(running) < AT_MOST:
        times.append(min(fresh, default=now) + SLOW_SECONDS)
    return Turns(tuple(ready[:places]), held_back, min(times, default=None))


_READY, _LATER = "ready", "later"


@dataclass(slots=True)
class _Verdicts:
    """Whether each app may start, must wait for something that is under way, or is held back (a result)."""

    wishes: Mapping[str, Wish]
    running: Mapping[str, Attempt]
    results: Mapping[str, AppResult]
    not_before: Mapping[str, float]
    now: float
    _known: dict[str, str | AppResult] = field(default_factory=dict)

    def of(self, app: str) -> str | AppResult:
        if app not in self._known:
            # a circle never gets here, and must not hang the agent if it does
            self._known[app] = _LATER
            self._known[app] = self._judge(self.wishes[app])
        return self._known[app]

    def _judge(self, wish: Wish) -> str | AppResult:
        others: dict[str, AppResult | None] = {}
        under_way = wish.app in self.running
        for on in wish.needs:
            if on in self.running:
                under_way = True
            elif on not in self.wishes or self._backs_off(on):
                others[on] = self.results.get(on)
            elif isinstance(verdict := self.of(on), AppResult):
                others[on] = verdict
            else:
                under_way = True
        result = after_others(wish.planned, others, finished=True)
        if result.outcome is not Outcome.CHANGED:
            return result
        if under_way or self._backs_off(wish.app) or (wish.moves_site and not wish.removal and self._removing):
            return _LATER
        return _READY

    def _backs_off(self, app: str) -> bool:
        return self.not_before.get(app, self.now) > self.now

    @property
    def _removing(self) -> bool:
        """Whether an app is yet to go: a renamed one may claim the server name of the old one."""
        under_way = (attempt.wish for attempt in self.running.values())
        return any(wish.removal for wish in (*self.wishes.values(), *under_way))
