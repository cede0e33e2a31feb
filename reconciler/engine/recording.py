"""What a pass remembers: a verified release, a failed one, and the sentences that tell them."""

from __future__ import annotations

import hashlib
import time
import traceback
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from reconciler.engine.desired import DesiredApp
from reconciler.host import reporting
from reconciler.host.journal import EventRecord, Journal, ReleaseRecord, ReleaseState
from reconciler.model.errors import HostError, ReconcilerError, Retry, StageFailed
from reconciler.model.object_ids import short
from reconciler.model.plan import AppPlan
from reconciler.model.secret import masked


@dataclass(frozen=True, slots=True)
class Recorder:
    """Writes how one attempt to deploy an app ended; ``seconds`` is how long it took, ``more`` goes to the event."""

    journal: Journal
    app: DesiredApp
    config_revision: str
    plan: AppPlan

    def verified(self, seconds: float, more: Mapping[str, object]) -> None:
        """Move applied state to what was just verified."""
        release = self._release(ReleaseState.VERIFIED, seconds)
        stages = ", ".join(change.stage.value for change in self.plan.changes if change.needed)
        message = f"release {self.app.release} of commit {short(self.app.commit)} serves; changed: {stages}"
        event = EventRecord(self.app.name, "verified", message, release.at, {**self._changes(), **more})
        self.journal.record_verified(release, [stage.as_applied() for stage in self.app.stages], [event])

    def failed(self, error: Exception, seconds: float, more: Mapping[str, object]) -> ReconcilerError:
        """Remember why a release failed; one that only git can mend is quarantined. Returns the error to report."""
        failure = without_secrets(as_reconciler_error(error, self.app.facts.layout.root), self.app)
        release = self._release(ReleaseState.FAILED, seconds, str(failure))
        detail = {**self._changes(), **more, "tail": getattr(failure, "tail", ""), "hint": failure.hint}
        event = EventRecord(self.app.name, "failed", str(failure), release.at, detail)
        key = quarantine_key(self.app) if failure.retry is Retry.ON_CHANGE else None
        self.journal.record_failed(release, key, [event])
        return failure

    def superseded(self, seconds: float, more: Mapping[str, object]) -> None:
        """Remember that a newer commit ended an attempt; it counts neither as failed nor as tried."""
        release = self._release(ReleaseState.SUPERSEDED, seconds)
        message = (
            f"release {self.app.release} of commit {short(self.app.commit)} was given up after {seconds:.1f} s "
            "for a newer commit"
        )
        reporting.info(
            "app_superseded",
            app=self.app.name,
            release=self.app.release,
            commit=short(self.app.commit),
            stages=[change.stage.value for change in self.plan.changes if change.needed],
            seconds=round(seconds, 3),
        )
        event = EventRecord(self.app.name, "superseded", message, release.at, {**self._changes(), **more})
        self.journal.record_superseded(release, event)

    def _release(self, state: ReleaseState, seconds: float, error: str | None = None) -> ReleaseRecord:
        app = self.app
        digests = {stage.stage.value: stage.digest for stage in app.stages}
        at = time.time()
        return ReleaseRecord(
            app.name, app.release, app.commit, self.config_revision, digests, state, at, seconds, error
        )

    def _changes(self) -> dict[str, object]:
        return {
            "changes": [
                {
                    "stage": change.stage.value,
                    "action": change.action.value,
                    "reasons": [reason.value for reason in change.reasons],
                    "detail": list(change.detail),
                }
                for change in self.plan.changes
                if change.needed
            ]
        }


def quarantine_key(app: DesiredApp) -> str:
    """What a failed attempt is remembered by: all inputs of all stages, and how the release was to be proven."""
    spec = app.manifest.spec
    keys = [stage.inputs.key for stage in app.stages]
    return hashlib.sha256(repr((keys, spec.verify, spec.hooks)).encode()).hexdigest()


def as_reconciler_error(error: Exception, place: Path | None = None) -> ReconcilerError:
    """Any exception as one with a sentence for the user; a bug carries its traceback.

    ``place`` is where was written, for an error that does not say so itself.
    """
    if isinstance(error, ReconcilerError):
        return error
    if isinstance(error, OSError):
        named = f"{error.filename}: " if error.filename else ""
        from reconciler.host.file_systems import disk_error  # noqa: PLC0415  only where something failed

        if (failure := disk_error(error, *([] if place is None else [place]))) is not None:
            failure.message = f"{named}{failure.message}"
            return failure
        return HostError(
            f"{named}{error.strerror or error}", hint="check the free space and the rights of the state folder"
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
