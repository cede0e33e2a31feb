"""Attempting: one app brought to what git asks for, or taken off this host, and how that ended recorded."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from reconciler.engine.attempt import Attempt, Wish
from reconciler.engine.desired import DesiredApp
from reconciler.engine.recording import Recorder, as_reconciler_error, without_secrets
from reconciler.engine.results import AppResult
from reconciler.host.interruption import Superseded, to_the_end
from reconciler.host.journal import EventRecord
from reconciler.model.errors import Aborted, JournalError, ReconcilerError
from reconciler.model.plan import Outcome

if TYPE_CHECKING:
    from reconciler.engine.engine import Engine


@dataclass(frozen=True, slots=True)
class Attempting:
    """Does the work of one engine, in any thread: of what the engine remembers it reads only what never changes."""

    engine: Engine

    def plan_again(self, wish: Wish) -> AppResult:
        """What is to be done for an app, by what is applied and observed now; a removal stays one."""
        if wish.removal:
            return wish.planned
        from reconciler.engine.planning import Planning  # noqa: PLC0415  a pass with nothing to do plans nothing

        journal, app = self.engine.journal, wish.app
        record = journal.app(app)
        planning = Planning(
            wish.desired,
            {app: journal.applied_of(app)},
            {} if record is None else {app: record},
            self.engine.observer,
            self.engine.reader.configuration.prune,
            journal,
            journal.last_irreversible_hooks(app),
            journal.suspensions(),
            self.engine.surveying.drifting,
        )
        return planning.plan_app(wish.desired.apps[app])

    def attempt(self, attempt: Attempt) -> AppResult:
        """Deploy or remove an app. Raises nothing for what the app did; :class:`Superseded` when it was given up."""
        if attempt.app is None:
            return self._remove(attempt.wish.planned)
        return self._deploy(attempt, attempt.app)

    def _deploy(self, attempt: Attempt, app: DesiredApp) -> AppResult:
        from reconciler.engine.applying import Applying  # noqa: PLC0415  and applies nothing
        from reconciler.engine.planning import suspended  # noqa: PLC0415

        engine, result = self.engine, attempt.wish.planned
        # a person may have suspended it since it was planned
        if (why := suspended(app, engine.journal.suspensions())) is not None:
            return replace(result, outcome=Outcome.SUSPENDED, note=why)
        applied = engine.journal.applied_of(app.name)
        limits = engine.reader.configuration.limits
        contents = engine.observer.contents
        applying = Applying(engine.host, engine.journal, engine.progress, app, result.plan, applied, contents, limits)
        recorder = Recorder(engine.journal, app, attempt.wish.desired.revision, result.plan)
        seconds = _stopwatch()

        def verified() -> None:
            recorder.verified(seconds(), applying.hooks_detail)
            engine.surveying.healed(app, result.plan)

        try:
            applying.apply(verified)
        except Superseded:
            if attempt.aborted is None:
                recorder.superseded(seconds(), applying.hooks_detail)
                raise
            error = _aborted(app, attempt.aborted, seconds())
            result = result.failed(_recorded(recorder, error, seconds(), applying.hooks_detail))
        except Exception as error:
            result = result.failed(_recorded(recorder, error, seconds(), applying.hooks_detail))
        return replace(result, seconds=applying.seconds, total_seconds=seconds())

    def _remove(self, result: AppResult) -> AppResult:
        from reconciler.engine.pruning import REMOVAL_DRAIN_SECONDS, remove_app  # noqa: PLC0415  and removes none

        seconds = _stopwatch()
        try:
            with to_the_end():
                remove_app(self.engine.host, result.app, REMOVAL_DRAIN_SECONDS)
            message = "its manifest is gone; shared files and logs stay"
            event = EventRecord(result.app, "removed", message, time.time())
            self.engine.journal.record_removed(result.app, event)
        except (ReconcilerError, OSError) as error:
            result = result.failed(as_reconciler_error(error, self.engine.host.layout.root))
        return replace(result, total_seconds=seconds())


def _recorded(recorder: Recorder, error: Exception, seconds: float, more: Mapping[str, object]) -> ReconcilerError:
    """Record a failure, and return the error to report; one that cannot be recorded says so too."""
    try:
        return recorder.failed(error, seconds, more)
    except JournalError as unwritten:
        failure = as_reconciler_error(error, recorder.app.facts.layout.root)
        if isinstance(failure, JournalError):
            return failure
        # not remembered, it cannot be left alone either: it is tried again, with time between
        unwritten.message = f"{without_secrets(failure, recorder.app)}; {unwritten}"
        unwritten.hint = failure.hint or unwritten.hint
        return unwritten


def _stopwatch() -> Callable[[], float]:
    began = time.monotonic()
    return lambda: time.monotonic() - began


def _aborted(app: DesiredApp, who: str, seconds: float) -> Aborted:
    return Aborted(
        f"the deployment of release {app.release} was ended by {who} after {seconds:.1f} s",
        hint=f"commit a change, or run `reconciler retry {app.name}` to try the same again",
    )
