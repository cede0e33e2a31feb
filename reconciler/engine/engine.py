"""One pass: poll, desired, observe, plan, gate, apply, verify, record. One app's failure never stops another."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace

import structlog

from reconciler.engine.applying import Applying
from reconciler.engine.collecting import collect
from reconciler.engine.desired import DesiredApp
from reconciler.engine.observing import plan_of
from reconciler.engine.progress import Progress, Silence
from reconciler.engine.pruning import refusal, removable, remove_app
from reconciler.engine.reading import Desired, Reader
from reconciler.engine.results import AppResult, PassResult
from reconciler.host.journal import AppRecord, EventRecord, Journal, PassRecord, ReleaseRecord, ReleaseState
from reconciler.host.observing import Observer
from reconciler.host.services import Host
from reconciler.model.errors import HostError, ReconcilerError, Retry, StageFailed, UsageError
from reconciler.model.plan import AppPlan, Outcome, plan_removal
from reconciler.model.stage import AppliedStage, StageName

APPS_AT_ONCE = 4
"""How many apps are applied side by side: builds wait for the network, starts wait for imports."""
REMOVAL_DRAIN_SECONDS = 10.0

AppliedApps = dict[str, dict[StageName, AppliedStage]]


@dataclass(slots=True)
class Engine:
    """Plans and reconciles one host; lives as long as the agent does and remembers what has not moved."""

    host: Host
    journal: Journal
    reader: Reader
    progress: Progress = field(default_factory=Silence)
    observer: Observer = field(init=False)
    _applied: AppliedApps | None = None
    _outputs: dict[str, str] = field(default_factory=dict)
    _records: dict[str, AppRecord] = field(default_factory=dict)
    _journal_version: tuple[int, int] = (-1, -1)

    def __post_init__(self) -> None:
        self.observer = Observer(self.host.layout)

    def plan(self, *, app: str | None = None, revision: str | None = None) -> PassResult:
        """What a pass would do and why; changes nothing that serves or that is recorded."""
        started = time.monotonic()
        self._load()
        desired = self.reader.read(self._known, self._outputs, revision)
        results = self._planned(desired, app)
        return PassResult(desired.revision, tuple(results), desired.problems, seconds=time.monotonic() - started)

    def reconcile(self, trigger: str, *, app: str | None = None) -> PassResult:
        """One pass; ``trigger`` says who asked. Never raises for what one app did."""
        started, began = time.time(), time.monotonic()
        self._load()
        try:
            desired = self.reader.read(self._known, self._outputs)
        except ReconcilerError as error:
            return self._unreadable(trigger, error, started)
        planned = self._planned(desired, app)
        work = [result for result in planned if result.outcome is Outcome.CHANGED]
        done = {result.app: result for result in self._work(work, desired)} if work else {}
        results = tuple(done.get(result.app, result) for result in planned)
        if app is None and not any(result.error for result in results if result.outcome is Outcome.CHANGED):
            self.reader.remember(desired)
        if work:
            self._collect(desired)
        outcome = PassResult(desired.revision, results, desired.problems, seconds=time.monotonic() - began)
        self._remember_errors(results)
        problems = "; ".join(desired.problems) or None
        self.journal.record_pass(
            PassRecord(started, time.time(), trigger, desired.revision, outcome.outcomes, problems)
        )
        return outcome

    # loading and planning

    @property
    def _known(self) -> AppliedApps:
        return self._applied if self._applied is not None else {}

    def _load(self) -> None:
        """Read what was applied; only when something was written since the last time."""
        version = self.journal.version()
        if self._applied is None or version != self._journal_version:
            self._applied, self._outputs = self.journal.applied(), self.journal.outputs()
            self._records = self.journal.apps()
            self._journal_version = version

    def _planned(self, desired: Desired, only: str | None) -> list[AppResult]:
        gone = removable(self._known, desired.apps, desired.held)
        if only is not None and only not in {*desired.apps, *desired.held, *gone}:
            known = ", ".join(sorted({*desired.apps, *desired.held})) or "none"
            raise UsageError(f"there is no app {only} on this host", hint=f"the apps are: {known}")
        results = [self._plan_app(app) for app in desired.apps.values()]
        results += [AppResult(app, Outcome.FAILED, AppPlan(app), error=e) for app, e in desired.held.items()]
        results += self._removals(gone, desired)
        return sorted((r for r in results if only in (None, r.app)), key=lambda result: result.app)

    def _plan_app(self, app: DesiredApp) -> AppResult:
        applied = self._known.get(app.name, {})
        record = self._records.get(app.name)
        result = AppResult(app.name, Outcome.UNCHANGED, AppPlan(app.name), app.commit, app.release)
        try:
            plan = plan_of(app, applied, self.observer)
        except (ReconcilerError, OSError) as error:
            return result.failed(_as_reconciler_error(error))
        result = replace(result, plan=plan)
        if app.manifest.spec.suspend:
            return replace(result, outcome=Outcome.SUSPENDED, note="spec.suspend is true")
        if not plan.needed:
            return result
        if record is not None and record.quarantined_key == quarantine_key(app):
            error = StageFailed(
                record.quarantined_error or "it failed before",
                hint=f"commit a correction, or run `reconciler retry {app.name}`",
            )
            return replace(result, outcome=Outcome.QUARANTINED, error=error)
        return replace(result, outcome=Outcome.CHANGED)

    def _removals(self, gone: list[str], desired: Desired) -> list[AppResult]:
        prune = self.reader.configuration.prune
        why_not = refusal(gone, len(self._known), prune, complete=desired.complete)
        results = []
        for app in gone:
            result = AppResult(app, Outcome.CHANGED, plan_removal(app, self._known[app]))
            if why_not is not None:
                result = replace(result, outcome=Outcome.WAITING, plan=AppPlan(app), note=why_not)
            results.append(result)
        return results

    # doing

    def _work(self, work: list[AppResult], desired: Desired) -> list[AppResult]:
        # removals come first: a renamed app may claim the server name of the old one
        done = [self._remove(result, desired) for result in work if result.app not in desired.apps]
        changing = [result for result in work if result.app in desired.apps]
        with ThreadPoolExecutor(APPS_AT_ONCE, thread_name_prefix="apply") as pool:
            done += pool.map(lambda result: self._apply(result, desired), changing)
        return done

    def _apply(self, result: AppResult, desired: Desired) -> AppResult:
        app = desired.apps[result.app]
        applied = self._known.get(app.name, {})
        applying = Applying(self.host, self.journal, self.progress, app, result.plan, applied)
        began = time.monotonic()

        def record() -> None:
            release = self._release(app, desired, ReleaseState.VERIFIED, time.monotonic() - began)
            event = EventRecord(app.name, "verified", _sentence(app, result.plan), release.at, _detail(result.plan))
            self.journal.record_verified(release, [stage.as_applied() for stage in app.stages], [event])

        try:
            applying.apply(record)
        except Exception as error:
            result = result.failed(self._record_failure(app, desired, error, result.plan, time.monotonic() - began))
        return replace(result, seconds=applying.seconds, total_seconds=time.monotonic() - began)

    def _record_failure(
        self, app: DesiredApp, desired: Desired, error: Exception, plan: AppPlan, seconds: float
    ) -> ReconcilerError:
        failure = _as_reconciler_error(error)
        release = self._release(app, desired, ReleaseState.FAILED, seconds, str(failure))
        detail = {**_detail(plan), "tail": getattr(failure, "tail", ""), "hint": failure.hint}
        event = EventRecord(app.name, "failed", str(failure), release.at, detail)
        key = quarantine_key(app) if failure.retry is Retry.ON_CHANGE else None
        self.journal.record_failed(release, key, [event])
        return failure

    @staticmethod
    def _release(
        app: DesiredApp, desired: Desired, state: ReleaseState, seconds: float, error: str | None = None
    ) -> ReleaseRecord:
        digests = {stage.stage.value: stage.digest for stage in app.stages}
        return ReleaseRecord(
            app.name, app.release, app.commit, desired.revision, digests, state, time.time(), seconds, error
        )

    def _remove(self, result: AppResult, desired: Desired) -> AppResult:
        del desired
        began = time.monotonic()
        try:
            remove_app(self.host, result.app, REMOVAL_DRAIN_SECONDS)
            event = EventRecord(
                result.app, "removed", "its manifest is gone; shared files and logs stay", time.time()
            )
            self.journal.record_removed(result.app, event)
        except (ReconcilerError, OSError) as error:
            result = result.failed(_as_reconciler_error(error))
        return replace(result, total_seconds=time.monotonic() - began)

    # recording

    def _remember_errors(self, results: Iterable[AppResult]) -> None:
        """Keep each app's last error current; writes only when it is another one than before."""
        for result in results:
            record = self._records.get(result.app)
            before = record.last_error if record is not None else None
            if result.outcome is Outcome.FAILED and str(result.error) != before:
                self.journal.record_error(result.app, str(result.error))
            elif result.outcome is Outcome.UNCHANGED and before is not None:
                self.journal.record_error(result.app, None)

    def _unreadable(self, trigger: str, error: ReconcilerError, started: float) -> PassResult:
        """The config repository cannot be read: nothing is known, so nothing is done."""
        last = self.journal.last_pass()
        revision = last.revision if last is not None else ""
        self.journal.record_pass(PassRecord(started, time.time(), trigger, revision, {}, str(error)))
        return PassResult(revision, (), error=error, seconds=time.time() - started)

    def _collect(self, desired: Desired) -> None:
        retain = {app.name: app.manifest.spec.retain for app in desired.apps.values()}
        needed = {(stage.stage, stage.digest) for app in desired.apps.values() for stage in app.stages}
        collect(self.host.layout, self.journal, retain, needed)


def quarantine_key(app: DesiredApp) -> str:
    """What a failed attempt is remembered by: all inputs of all stages, and how the release was to be proven."""
    spec = app.manifest.spec
    keys = [stage.inputs.key for stage in app.stages]
    return hashlib.sha256(repr((keys, spec.verify, spec.hooks)).encode()).hexdigest()


def _as_reconciler_error(error: Exception) -> ReconcilerError:
    if isinstance(error, ReconcilerError):
        return error
    if isinstance(error, OSError):
        place = f"{error.filename}: " if error.filename else ""
        return HostError(
            f"{place}{error.strerror or error}", hint="check the free space and the rights of the state folder"
        )
    structlog.get_logger().exception("unexpected_error")
    return StageFailed(
        f"unexpected {type(error).__name__}: {error}", hint="this is a bug of the reconciler; report it"
    )


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
