"""Triggers wait here: they say who asked, never what changed, so that many of them are one pass."""

from __future__ import annotations

import threading


class TriggerQueue:
    """Merges triggers until the worker takes them; safe between threads."""

    def __init__(self) -> None:
        self._condition = threading.Condition()
        self._waiting: list[str] = []
        self._closed = False

    def put(self, trigger: str) -> None:
        """Ask for a pass."""
        with self._condition:
            if trigger not in self._waiting:
                self._waiting.append(trigger)
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

    def take(self, settle_seconds: float = 0.0) -> str | None:
        """Wait for a trigger and return all that wait, joined by ``+``; ``None`` when the agent ends.

        ``settle_seconds`` lets a burst of file events end before the pass begins.
        """
        with self._condition:
            while not self._waiting and not self._closed:
                self._condition.wait()
            if settle_seconds and not self._closed and any(t.startswith("file") for t in self._waiting):
                self._condition.wait_for(lambda: self._closed, settle_seconds)
            if self._closed:
                return None
            triggers, self._waiting = self._waiting, []
            return "+".join(triggers)
