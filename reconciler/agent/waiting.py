"""Waiting for the end of what one has asked for: a look at what git wants, and the work that the look finds."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from reconciler.engine.results import AppResult, PassResult
from reconciler.model.errors import ReconcilerError, UsageError
from reconciler.model.plan import Outcome

CHECK_SECONDS = 0.05
"""How often one who waits looks whether the work is at rest, and whether it is still worth it."""


class NoAnswer(ReconcilerError):
    """The wait for a pass ended without one."""


@dataclass(slots=True, eq=False)
class Asked:
    """What one client waits for: look ``number``, and the ``attempts`` that end from when it asked on, by app.

    Those that ended after the look are ``final``.
    """

    number: int
    app: str | None
    began: float
    attempts: dict[str, AppResult] = field(default_factory=dict)
    final: set[str] = field(default_factory=set)


class Waiting:
    """Numbers looks from 1 on, and hears of attempts; safe between threads."""

    def __init__(self) -> None:
        self._condition = threading.Condition()
        self._begun = 0
        self._ended = 0
        self._last = PassResult("", ())
        self._asked: list[Asked] = []
        self._closed = False

    # what the agent tells

    def look_began(self) -> None:
        """A look begins: it sees whatever was asked for until now."""
        with self._condition:
            self._begun += 1

    def look_ended(self, result: PassResult) -> None:
        """The look that began last has ended, and what it found has been handed to those who work."""
        with self._condition:
            self._ended, self._last = self._begun, result
            self._condition.notify_all()

    def attempt_ended(self, result: AppResult) -> None:
        """An attempt has ended, and not because something newer overtook it."""
        with self._condition:
            for asked in self._asked:
                before = asked.attempts.get(result.app)
                # an attempt that found nothing left to do says nothing of what the one before it did
                if before is None or before.outcome is not Outcome.CHANGED or result.outcome is not Outcome.UNCHANGED:
                    asked.attempts[result.app] = result
                if self._ended >= asked.number:
                    asked.final.add(result.app)
            self._condition.notify_all()

    def close(self) -> None:
        """Nothing will happen any more."""
        with self._condition:
            self._closed = True
            self._condition.notify_all()

    # what a client does

    def ask(self, app: str | None) -> Asked:
        """Listen from now on; for :meth:`wait`, which must follow."""
        with self._condition:
            asked = Asked(self._begun + 1, app, time.monotonic())
            self._asked.append(asked)
            return asked

    def wait(
        self, asked: Asked, seconds: float, *, at_rest: Callable[[], bool], given_up: Callable[[], bool]
    ) -> PassResult | None:
        """Wait until the look, and what it found to do for the app or for all of them, is done; return what was done.

        ``at_rest`` says that nobody works, and nobody could. ``None`` once ``given_up`` says so; raises
        :class:`NoAnswer` after ``seconds``, or when the agent ends.
        """
        try:
            while True:
                with self._condition:
                    ended, done = self._ended, self._done(asked)
                if done or (ended >= asked.number and at_rest()):
                    return self._result(asked)
                self._pause(asked, seconds)
                if given_up():
                    return None
        finally:
            with self._condition:
                self._asked.remove(asked)

    def _done(self, asked: Asked) -> bool:
        if self._ended < asked.number:
            return False
        working = {app.app for app in self._last.apps if app.outcome is Outcome.CHANGED}
        wanted = working if asked.app is None else working & {asked.app}
        return self._last.error is not None or wanted <= asked.final

    def _pause(self, asked: Asked, seconds: float) -> None:
        left = asked.began + seconds - time.monotonic()
        with self._condition:
            if self._closed:
                raise NoAnswer("the agent ended before it was done", hint="the next agent carries on")
            if left <= 0:
                raise NoAnswer(
                    f"the agent was not done within {seconds:g} s; it goes on",
                    hint="`reconciler status` says what serves, and --timeout SECONDS waits longer",
                )
            self._condition.wait(min(left, CHECK_SECONDS))

    def _result(self, asked: Asked) -> PassResult:
        with self._condition:
            last, attempts = self._last, dict(asked.attempts)
        apps = {app.app: app for app in last.apps}
        apps |= {name: app for name, app in attempts.items() if app.outcome is not Outcome.UNCHANGED}
        result = replace(last, apps=tuple(app for _, app in sorted(apps.items())))
        if asked.app is not None and last.error is None:
            if asked.app not in apps:
                known = ", ".join(sorted(apps)) or "none"
                raise UsageError(f"there is no app {asked.app} on this host", hint=f"the apps are: {known}")
            result = replace(result, apps=(apps[asked.app],), problems=(), notes=())
        return replace(result, seconds=time.monotonic() - asked.began)
