"""What a pass remembers: a verified release, a failed one, and the sentences that tell them."""

from __future__ import annotations

import hashlib
import time
import traceback
from collections.abc import Mapping

from reconciler.engine.desired import DesiredApp
from reconciler.host import reporting
from reconciler.host.journal import EventRecord, Journal, ReleaseRecord, ReleaseState
from reconciler.model.errors import HostError, ReconcilerError, Retry, StageFailed
from reconciler.model.plan import SHORT_DIGITS, AppPlan
from reconciler.model.secret import masked


def record_verified(
    journal: Journal,
    app: DesiredApp,
    config_revision: str,
    plan: AppPlan,
    seconds: float,
    more: Mapping[str, object] | None = None,
) -> None:
    """Move applied state to what was just verified; ``seconds`` is how long it took, ``more`` goes to the event."""
    release = _release(app, config_revision, ReleaseState.VERIFIED, seconds)
    event = EventRecord(app.name, "verified", _sentence(app, plan), release.at, {**_detail(plan), **(more or {})})
    journal.record_verified(release, [stage.as_applied() for stage in app.stages], [event])


def record_failure(
    journal: Journal,
    app: DesiredApp,
    config_revision: str,
    plan: AppPlan,
    error: Exception,
    seconds: float,
    more: Mapping[str, object] | None = None,
) -> ReconcilerError:
    """Remember why a release failed; one that only git can mend is quarantined. Returns the error to report."""
    failure = without_secrets(as_reconciler_error(error), app)
    release = _release(app, config_revision, ReleaseState.FAILED, seconds, str(failure))
    detail = {**_detail(plan), **(more or {}), "tail": getattr(failure, "tail", ""), "hint": failure.hint}
    event = EventRecord(app.name, "failed", str(failure), release.at, detail)
    key = quarantine_key(app) if failure.retry is Retry.ON_CHANGE else None
    journal.record_failed(release, key, [event])
    return failure


def record_superseded(
    journal: Journal,
    app: DesiredApp,
    config_revision: str,
    plan: AppPlan,
    seconds: float,
    more: Mapping[str, object] | None = None,
) -> None:
    """Remember that a newer commit ended an attempt after ``seconds``; it counts neither as failed nor as tried."""
    release = _release(app, config_revision, ReleaseState.SUPERSEDED, seconds)
    message = (
        f"release {app.release} of commit {app.commit[:7]} was given up after {seconds:.1f} s for a newer commit"
    )
    detail = {**_detail(plan), **(more or {})}
    stages = [change.stage.value for change in plan.changes if change.needed]
    reporting.info(
        "app_superseded",
        app=app.name,
        release=app.release,
        commit=app.commit[:SHORT_DIGITS],
        stages=stages,
        seconds=round(seconds, 3),
    )
    journal.record_superseded(release, EventRecord(app.name, "superseded", message, release.at, detail))


def _release(
    app: DesiredApp, config_revision: str, state: ReleaseState, seconds: float, error: str | None = None
) -> ReleaseRecord:
    digests = {stage.stage.value: stage.digest for stage in app.stages}
    return ReleaseRecord(
        app.name, app.release, app.commit, config_revision, digests, state, time.time(), seconds, error
    )


def quarantine_key(app: DesiredApp) -> str:
    """What a failed attempt is remembered by: all inputs of all stages, and how the release was to be proven."""
    spec = app.manifest.spec
    keys = [stage.inputs.key for stage in app.stages]
    return hashlib.sha256(repr((keys, spec.verify, spec.hooks)).encode()).hexdigest()


def as_reconciler_error(error: Exception) -> ReconcilerError:
    """Any exception as one with a sentence for the user; a bug carries its traceback."""
    if isinstance(error, ReconcilerError):
        return error
    if isinstance(error, OSError):
        place = f"{error.filename}: " if error.filename else ""
        return HostError(
            f"{place}{error.strerror or error}", hint="check the free space and the rights of the state folder"
        )
    return StageFailed(
        f"unexpected {type(error).__name__}: {error}",
        hint="this is a bug of the reconciler; report it with the lines below",
        tail="".join(traceback.format_exception(error)),
    )


def without_secrets(error: ReconcilerError, app: DesiredApp) -> ReconcilerError:
    """The same error; what an app or a program printed of the app's secrets is masked in it."""
    if secrets := tuple(app.facts.secrets.values()):
        error.message = masked(error.message, secrets)
        error.hint = None if error.hint is None else masked(error.hint, secrets)
        if hasattr(error, "tail"):
            error.tail = masked(error.tail, secrets)
    return error


def _sentence(app: DesiredApp, plan: AppPlan) -> str:
    stages = ", ".join(change.stage.value for change in plan.changes if change.needed)
    return f"release {app.release} of commit {app.commit[:7]} serves; changed: {stages}"


def _detail(plan: AppPlan) -> dict[str, object]:
    return {
        "changes": [
            {
                "stage": change.stage.value,
                "action": change.action.value,
                "reasons": [reason.value for reason in change.reasons],
                "detail": list(change.detail),
            }
            for change in plan.changes
            if change.needed
        ]
    }
