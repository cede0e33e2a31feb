"""Triggers wait here: they say who asked, never what changed, so that many of them are one pass."""

from __future__ import annotations

import threading
import time

from reconciler.host.notifying import ServiceManager
from reconciler.model.trigger import Trigger, joined

BURST_SECONDS = 3.0
"""A commit that comes so soon after work on an earlier one began may be one of many."""
QUIET_SECONDS = 1.0
"""Then it is taken up when no other has come for this time,"""
LONGEST_SECONDS = 15.0
"""or when commits have come for so long without a pause."""

FILES = frozenset({Trigger.GIT_TOUCHED, Trigger.FILE_TOUCHED, Trigger.WORK})
"""Triggers that come with events of files; those of the files that work has written come with its end."""
PATIENT = FILES | {Trigger.POLL, Trigger.DRIFT, Trigger.COLLECT, Trigger.REMIND}
"""Triggers that wait for the end of a burst of commits; others, such as those of people, do not."""


class TriggerQueue:
    """Merges triggers until the worker takes them; safe between threads.

    A commit starts a pass at once. In a burst of commits the first one does; the others wait for the last one.
    """

    def __init__(self) -> None:
        self._condition = threading.Condition()
        self._waiting: list[str] = []
        self._since = 0.0
        self._closed = False
        self._worked = float("-inf")
        # commits that wait: when the first and the last was heard of, and whether they may be a burst
        self._first: float | None = None
        self._last = 0.0
        self._burst = False

    def put(self, trigger: str) -> None:
        """Ask for a pass."""
        now = time.monotonic()
        with self._condition:
            if not self._waiting:
                self._since = now
            if trigger not in self._waiting:
                self._waiting.append(trigger)
            if trigger == Trigger.GIT_TOUCHED:
                if self._first is None:
                    self._first, self._burst = now, now - self._worked < BURST_SECONDS
                self._last = now
            self._condition.notify()

    def close(self) -> None:
        """Let :meth:`take` return ``None`` from now on."""
        with self._condition:
            self._closed = True
            self._condition.notify_all()

    @property
    def closed(self) -> bool:
        """Whether the agent is ending."""
        return self._closed

    def take(self, settle_seconds: float = 0.0, service: ServiceManager | None = None) -> str | None:
        """Wait for a trigger and return all that wait, joined by ``+``; ``None`` when the agent ends.

        ``settle_seconds`` lets the file events of one change end before the pass begins. ``service`` is told that the
        agent goes on, however long nothing comes.
        """
        with self._condition:
            while not self._closed:
                if service is not None:
                    service.goes_on()
                if not self._waiting:
                    self._condition.wait(None if service is None else service.beat_seconds)
                elif (wait := self._begin(settle_seconds) - time.monotonic()) > 0:
                    self._condition.wait(wait)
                else:
                    triggers, self._waiting = self._waiting, []
                    self._first = None
                    return joined(triggers)
            return None

    def working(self) -> None:
        """Work begins on what git asks for now."""
        self._worked = time.monotonic()

    def _begin(self, settle_seconds: float) -> float:
        """When the pass for what waits may begin."""
        begin = self._since if FILES.isdisjoint(self._waiting) else self._since + settle_seconds
        if self._first is None or not PATIENT.issuperset(self._waiting):
            return begin
        return max(begin, self._quiet())

    def _quiet(self) -> float:
        """When the commits that wait have come to an end, as far as one can tell."""
        if self._first is None or not self._burst:
            return self._since
        return min(self._last + QUIET_SECONDS, self._first + LONGEST_SECONDS)
