"""What the agent says of its passes: a line for what is news, one a minute for passes that did nothing."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field, replace

import structlog

from reconciler.engine.attempt import Attempt
from reconciler.engine.drifting import DriftNews, Response
from reconciler.engine.results import AppResult, PassResult
from reconciler.model.errors import ReconcilerError
from reconciler.model.object_ids import short
from reconciler.model.plan import Outcome
from reconciler.model.trigger import Trigger, triggers_of

QUIET_SECONDS = 60.0
"""Passes that did nothing are told once in this time."""
QUIET_OUTCOMES = frozenset({Outcome.UNCHANGED, Outcome.SUSPENDED})

PASS = "pass"  # noqa: S105  no password
"""Under which key it is remembered what was told of passes as such; apps have theirs under their names,"""
PROBLEM = "problem "
"""and problems theirs behind this."""

Log = structlog.typing.FilteringBoundLogger


@dataclass(slots=True)
class Telling:
    """Remembers what it has told, so that an error that stays is told once, and its end too."""

    _told: dict[str, str] = field(default_factory=dict)
    _quiet_since: float = 0.0
    _quiet_passes: int = 0
    _reminding: bool = False
    _lock: threading.RLock = field(default_factory=threading.RLock)

    def tell_look(self, result: PassResult, trigger: str) -> None:
        """What a look found; apps with work are told of when an attempt for them has ended.

        A look that the clock asked for as a reminder tells again what was told before.
        """
        working = frozenset(app.app for app in result.apps if app.outcome is Outcome.CHANGED)
        others = tuple(app for app in result.apps if app.app not in working)
        with self._lock:
            self._reminding = Trigger.REMIND in triggers_of(trigger)
            self._tell(replace(result, apps=others), trigger, working)
            self._reminding = False

    def tell_attempt(self, attempt: Attempt, result: AppResult | None) -> None:
        """One line for an attempt that has ended; one that was given up for a newer commit has its own already."""
        wish = attempt.wish
        log = structlog.get_logger().bind(trigger=wish.trigger, revision=short(wish.desired.revision))
        if result is not None and result.outcome not in QUIET_OUTCOMES:
            with self._lock:
                self.tell_app(log, result)

    def tell(self, result: PassResult, trigger: str) -> None:
        """What a pass did that has come to its end: one line for each app with news, or one for the pass."""
        with self._lock:
            self._tell(result, trigger)

    def _tell(self, result: PassResult, trigger: str, working: frozenset[str] = frozenset()) -> None:
        log = structlog.get_logger().bind(trigger=trigger, revision=short(result.revision))
        if result.error is not None:
            self._tell_once(log, PASS, "pass_failed", str(result.error), hint=result.error.hint)
        for problem in result.problems:
            self._tell_once(log, f"{PROBLEM}{problem}", "manifest_problem", problem)
        for note in result.notes:
            log.info("collected", note=note)
        news = [app for app in result.apps if app.outcome not in QUIET_OUTCOMES]
        for app in news:
            self.tell_app(log, app)
        if result.error is not None:
            return
        self._tell_recovered(log, result, working)
        if not news and not working:
            self._tell_quiet(log, result)

    def tell_drift(self, news: DriftNews) -> None:
        """A drift that was found for the first time, or is worth a reminder; in the middle of a pass."""
        detail = {name: value for name, value in news.detail.items() if value not in (None, "")}
        log = structlog.get_logger().bind(app=news.app, **detail, note=news.message)
        if news.response is Response.HELD:
            log.warning("drift_held")
        else:
            log.warning("app_drifted")

    def tell_failed(self, error: ReconcilerError, trigger: str) -> None:
        """A pass that could not come to its end."""
        log = structlog.get_logger().bind(trigger=trigger)
        self._tell_once(log, PASS, "pass_failed", str(error), hint=error.hint)

    def tell_bug(self, error: Exception) -> None:
        """An exception that nobody expected; called where it is handled."""
        structlog.get_logger().exception("unexpected_error", error=f"{type(error).__name__}: {error}")

    def tell_app(self, log: Log, app: AppResult) -> None:
        """The one line with all that is to be known of what was done for an app, or why not."""
        if app.outcome is Outcome.CHANGED:
            self._told.pop(app.app, None)
            log.info("app_changed", **_fields(app))
            return
        text = str(app.error) if app.error is not None else app.note or ""
        hint = app.error.hint if app.error is not None else None
        self._tell_once(log, app.app, f"app_{app.outcome.value}", text, hint=hint, **_fields(app))

    def _tell_recovered(self, log: Log, result: PassResult, working: frozenset[str]) -> None:
        """What was told as wrong and is not any more; forget what has gone without having become right.

        Of apps that are worked on it is not known yet.
        """
        if (was := self._told.pop(PASS, None)) is not None:
            log.info("pass_recovered", was=was)
        standing = {app.app: app for app in result.apps}
        known = {*standing, *working}
        for name in [name for name in self._told if name not in known and not name.startswith(PROBLEM)]:
            del self._told[name]
        for name, app in standing.items():
            if app.outcome is Outcome.UNCHANGED and (was := self._told.pop(name, None)) is not None:
                log.info("app_recovered", was=was, **_fields(app))
        problems = {f"{PROBLEM}{problem}" for problem in result.problems}
        for name in [name for name in self._told if name.startswith(PROBLEM) and name not in problems]:
            del self._told[name]

    def _tell_once(self, log: Log, key: str, event: str, text: str, **more: object) -> None:
        if self._told.get(key) == text and not self._reminding:
            return
        self._told[key] = text
        log.error(event, error=text, **{name: value for name, value in more.items() if value is not None})

    def _tell_quiet(self, log: Log, result: PassResult) -> None:
        self._quiet_passes += 1
        now = time.monotonic()
        if now - self._quiet_since >= QUIET_SECONDS:
            log.info(
                "nothing_to_do", apps=len(result.apps), passes=self._quiet_passes, seconds=round(result.seconds, 3)
            )
            self._quiet_since, self._quiet_passes = now, 0


def _fields(app: AppResult) -> dict[str, object]:
    """What is known of an app's part of a pass; what is not is left out."""
    needed = [change for change in app.plan.changes if change.needed]
    known: dict[str, object] = {
        "app": app.app,
        "outcome": app.outcome.value,
        "release": app.release,
        "commit": short(app.revision or ""),
        "stages": [change.stage.value for change in needed],
        "stage_seconds": {stage.value: round(seconds, 3) for stage, seconds in app.seconds.items()},
        "reasons": {change.stage.value: [reason.value for reason in change.reasons] for change in needed},
        "seconds": round(app.total_seconds, 3),
    }
    return {name: value for name, value in known.items() if value}
