"""What the agent says of its passes: a line for what is news, one a minute for passes that did nothing."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

import structlog

from reconciler.engine.drifting import DriftNews, Response
from reconciler.engine.results import AppResult, PassResult
from reconciler.model.errors import ReconcilerError
from reconciler.model.plan import Outcome

QUIET_SECONDS = 60.0
"""Passes that did nothing are told once in this time."""
QUIET_OUTCOMES = frozenset({Outcome.UNCHANGED, Outcome.SUSPENDED})

Log = structlog.typing.FilteringBoundLogger


@dataclass(slots=True)
class Telling:
    """Remembers what it has told, so that an error that stays is told once."""

    _told: dict[str, str] = field(default_factory=dict)
    _quiet_since: float = 0.0
    _quiet_passes: int = 0

    def tell(self, result: PassResult, trigger: str) -> None:
        """One line for each app that has news, one for the pass when nobody has."""
        log = structlog.get_logger().bind(trigger=trigger, revision=result.revision[:7])
        if result.error is not None:
            self._tell_once(log, "pass", "pass_failed", str(result.error), hint=result.error.hint)
        for problem in result.problems:
            self._tell_once(log, f"problem {problem}", "manifest_problem", problem)
        for note in result.notes:
            log.info("collected", note=note)
        news = [app for app in result.apps if app.outcome not in QUIET_OUTCOMES]
        for app in news:
            self._tell_app(log, app)
        quiet = {"pass", *(app.app for app in news)}
        if result.error is None:
            quiet.discard("pass")
            self._told = {
                name: text for name, text in self._told.items() if name in quiet or name.startswith("problem")
            }
        if not news and result.error is None:
            self._tell_quiet(log, result)

    def tell_drift(self, news: DriftNews) -> None:
        """A drift that was found for the first time, or is worth a reminder; in the middle of a pass."""
        log = structlog.get_logger().bind(app=news.app, **news.detail, note=news.message)
        if news.response is Response.HELD:
            log.warning("drift_held")
        else:
            log.warning("app_drifted")

    def tell_failed(self, error: ReconcilerError, trigger: str) -> None:
        """A pass that could not come to its end."""
        log = structlog.get_logger().bind(trigger=trigger)
        self._tell_once(log, "pass", "pass_failed", str(error), hint=error.hint)

    def tell_bug(self, error: Exception) -> None:
        """An exception that nobody expected; called where it is handled."""
        structlog.get_logger().exception("unexpected_error", error=f"{type(error).__name__}: {error}")

    def _tell_app(self, log: Log, app: AppResult) -> None:
        stages = [change.stage.value for change in app.plan.changes if change.needed]
        seconds = round(app.total_seconds, 3)
        if app.outcome is Outcome.CHANGED:
            self._told.pop(app.app, None)
            log.info("app_changed", app=app.app, release=app.release, commit=(app.revision or "")[:7], stages=stages,
                     seconds=seconds)  # fmt: skip
            return
        text = str(app.error) if app.error is not None else app.note or ""
        hint = app.error.hint if app.error is not None else None
        self._tell_once(log, app.app, f"app_{app.outcome.value}", text, hint=hint, app=app.app)

    def _tell_once(self, log: Log, key: str, event: str, text: str, **more: str | None) -> None:
        if self._told.get(key) == text:
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
