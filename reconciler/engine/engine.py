"""One pass: poll, desired, observe, plan, gate, apply, verify, record. One app's failure never stops another."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from reconciler.engine.applying import Applying
from reconciler.engine.collecting import Collected, Collecting
from reconciler.engine.drifting import Drifting
from reconciler.engine.ordering import in_order
from reconciler.engine.planning import SUSPENDED_BY_MANIFEST, AppliedApps, Planning, suspended
from reconciler.engine.polling import Polled
from reconciler.engine.progress import Progress, Silence
from reconciler.engine.pruning import REMOVAL_DRAIN_SECONDS, remove_app
from reconciler.engine.recording import as_reconciler_error, record_failure, record_superseded, record_verified
from reconciler.engine.results import AppResult, PassResult
from reconciler.engine.rotating import Rotating
from reconciler.engine.settled import Settling, settled_by
from reconciler.engine.superseding import News, Silent, Superseding
from reconciler.engine.surveying import Surveying
from reconciler.engine.sweeping import sweep
from reconciler.host.interruption import Superseded, giving_way
from reconciler.host.journal import AppRecord, EventRecord, HookRecord, Journal, PassRecord, SuspensionRecord
from reconciler.host.observing import Observer
from reconciler.host.services import Host
from reconciler.model.errors import HistoryRewritten, ReconcilerError
from reconciler.model.plan import Outcome

if TYPE_CHECKING:
    from reconciler.engine.desired import DesiredApp
    from reconciler.engine.reading import Desired, Reader

APPS_AT_ONCE = 4
"""How many apps are applied side by side: builds wait for the network, starts wait for imports."""


@dataclass(slots=True)
class Engine:
    """Plans and reconciles one host; lives as long as the agent does and remembers what has not moved."""

    host: Host
    journal: Journal
    reader: Reader
    progress: Progress = field(default_factory=Silence)
    observer: Observer = field(init=False)
    surveying: Surveying = field(init=False)
    _settling: Settling = field(init=False)
    _collecting: Collecting = field(init=False)
    _rotating: Rotating = field(init=False)
    _applied: AppliedApps | None = None
    _outputs: dict[str, str] = field(default_factory=dict)
    _records: dict[str, AppRecord] = field(default_factory=dict)
    _irreversible: dict[str, HookRecord] = field(default_factory=dict)
    _suspensions: dict[str, SuspensionRecord] = field(default_factory=dict)
    _journal_version: tuple[int, int] = (-1, -1)

    def __post_init__(self) -> None:
        self.observer = Observer(self.host.layout)
        self.surveying = Surveying(self.observer, Drifting(self.journal))
        self._settling = Settling(self.host.mirrors, self.journal, self.reader)
        self._rotating = Rotating(self.host.layout.logs)
        self._collecting = Collecting(self.host.layout, self.journal, self.reader.configuration.store)

    def plan(self, *, app: str | None = None, revision: str | None = None) -> PassResult:
        """What a pass would do and why; changes nothing that serves or that is recorded."""
        started = time.monotonic()
        self._load()
        self.surveying.scan(self._known)
        desired = self.reader.read(self._known, self._outputs, revision)
        results = self._planning(desired).plan(app)
        return PassResult(desired.revision, tuple(results), desired.problems, seconds=time.monotonic() - started)

    def reconcile(self, trigger: str, *, app: str | None = None, news: News | None = None) -> PassResult:
        """One pass; ``trigger`` says who asked. Never raises for what one app did.

        With ``news``, an app for which git asks for something newer meanwhile is given up, and the newer one applied.
        """
        started, began = time.time(), time.monotonic()
        self._load()
        drift = self.surveying.begin(trigger, self._known)
        ahead: Polled = {}
        quiet = not (self._collecting.due or self._suspensions or self.surveying.drifting.unsettled)
        if app is None and self.reader.fresh and quiet:
            ahead, settled = self._settling.look(self._known, self._records, self.observer)
            if settled is not None:
                revision, results = settled
                problems = (*self._keep_serving(), *self._collecting.problems)
                return self._finish(trigger, started, began, PassResult(revision, results, problems))
        try:
            desired = self.reader.read(self._known, self._outputs, ahead=ahead)
        except ReconcilerError as error:
            return self._unreadable(trigger, error, started)
        planned = self._planning(desired).plan(app, alone=True)
        drift += self.surveying.note(planned, desired, self._known)
        work = [result for result in planned if result.outcome is Outcome.CHANGED]
        if work:
            self._settling.remember(None)
        superseding = Superseding(desired, news or Silent(), lambda: self._read_newer(superseding))
        done = {result.app: result for result in self._work(work, desired, superseding)} if work else {}
        problems = (*desired.problems, *self._keep_serving(), *self._sweep(planned, desired))
        results = tuple(done.get(result.app, result) for result in planned)
        if app is None:
            self.reader.repository.remember(superseding.newest.revision)
            self._forget_unasked(desired)
            if superseding.newest is desired:
                self._settling.remember(settled_by(desired, results, self.reader.configuration.repository.branch))
        if work:
            self.observer.contents.save()
        collected = self._collect(superseding.newest) if work or self._collecting.due else Collected()
        self._remember_errors(results)
        problems = (*problems, *collected.problems, *self._collecting.problems)
        result = PassResult(desired.revision, results, problems, collected.notes, drift=drift)
        return self._finish(trigger, started, began, result)

    def _finish(self, trigger: str, started: float, began: float, result: PassResult) -> PassResult:
        sentences = "; ".join(result.problems) or None
        record = PassRecord(started, time.time(), trigger, result.revision, result.outcomes, sentences)
        self.journal.record_pass(record)
        return replace(result, seconds=time.monotonic() - began)

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
            self._irreversible = self.journal.last_irreversible_hooks()
            self._suspensions = self.journal.suspensions()
            self.surveying.drifting.load()
            self._journal_version = version

    def _planning(self, desired: Desired) -> Planning:
        prune = self.reader.configuration.prune
        return Planning(
            desired,
            self._known,
            self._records,
            self.observer,
            prune,
            self.journal,
            self._irreversible,
            self._suspensions,
            self.surveying.drifting,
        )

    # doing

    def _read_newer(self, superseding: Superseding) -> Desired:
        """What git asks for by now; a history that was rewritten during the pass is refused as after it."""
        self.reader.repository.remember(superseding.newest.revision)
        return self.reader.read(self._known, self.journal.outputs())

    def _work(self, work: list[AppResult], desired: Desired, superseding: Superseding) -> list[AppResult]:
        # removals come first: a renamed app may claim the server name of the old one
        done = [self._remove(result) for result in work if result.app not in desired.apps]
        changing = [result for result in work if result.app in desired.apps]
        dependencies = {app.name: app.manifest.spec.depends_on for app in desired.apps.values()}
        with superseding.looking():
            done += in_order(
                changing,
                dependencies,
                lambda result: self._apply_newest(result, desired, superseding),
                APPS_AT_ONCE,
            )
        return done

    def _apply_newest(self, result: AppResult, desired: Desired, superseding: Superseding) -> AppResult:
        """Apply an app; each time that a newer commit overtakes the attempt, go on with that one."""
        while True:
            app = desired.apps[result.app]
            # a person may have suspended it since the pass began
            if (why := suspended(app, self.journal.suspensions())) is not None:
                return replace(result, outcome=Outcome.SUSPENDED, note=why)
            try:
                with giving_way(lambda app=app: superseding.overtaken(app)):  # type: ignore[misc]
                    return self._apply(result, desired)
            except Superseded:
                desired = superseding.newest
            if result.app not in desired.apps:
                return replace(result, outcome=Outcome.WAITING, note="a newer commit removes it, with the next pass")
            result = self._planning(desired).plan_app(desired.apps[result.app])
            overtaken = self._unverified(desired.apps[result.app], desired)
            if result.outcome is Outcome.CHANGED and overtaken:
                note = f"it depends on {', '.join(overtaken)}: a newer commit changed that in the middle of this pass"
                return replace(result, outcome=Outcome.WAITING, note=note)
            if result.outcome is not Outcome.CHANGED:
                return result

    def _unverified(self, app: DesiredApp, desired: Desired) -> list[str]:
        """Those of an app's dependencies whose releases in ``desired`` are not the ones that were verified last."""
        if not app.manifest.spec.depends_on:
            return []
        records = self.journal.apps()
        return [
            on
            for on in app.manifest.spec.depends_on
            if on not in desired.apps or on not in records or records[on].release != desired.apps[on].release
        ]

    def _apply(self, result: AppResult, desired: Desired) -> AppResult:
        app = desired.apps[result.app]
        applying = Applying(
            self.host,
            self.journal,
            self.progress,
            app,
            result.plan,
            self._known.get(app.name, {}),
            self.observer.contents,
        )
        began = time.monotonic()

        def verified() -> None:
            record_verified(
                self.journal, app, desired.revision, result.plan, time.monotonic() - began, applying.hooks_detail
            )
            self.surveying.healed(app, result.plan)

        try:
            applying.apply(verified)
        except Superseded:
            seconds, more = time.monotonic() - began, applying.hooks_detail
            record_superseded(self.journal, app, desired.revision, result.plan, seconds, more)
            raise
        except Exception as error:
            seconds = time.monotonic() - began
            more = applying.hooks_detail
            failure = record_failure(self.journal, app, desired.revision, result.plan, error, seconds, more)
            result = result.failed(failure)
        return replace(result, seconds=applying.seconds, total_seconds=time.monotonic() - began)

    def _remove(self, result: AppResult) -> AppResult:
        began = time.monotonic()
        try:
            remove_app(self.host, result.app, REMOVAL_DRAIN_SECONDS)
            event = EventRecord(
                result.app, "removed", "its manifest is gone; shared files and logs stay", time.time()
            )
            self.journal.record_removed(result.app, event)
        except (ReconcilerError, OSError) as error:
            result = result.failed(as_reconciler_error(error))
        return replace(result, total_seconds=time.monotonic() - began)

    def _keep_serving(self) -> tuple[str, ...]:
        """Start what a reboot or a person ended, and take over a changed listen address; sentences where it fails."""
        if not self._known:
            return ()
        problems = [*self._rotating.look()]
        for current, bring_back in (
            (self.host.emperor.running, self.host.emperor.ensure_running),
            (self.host.nginx.current, self.host.nginx.ensure_running),
        ):
            try:
                if not current():
                    bring_back()
            except ReconcilerError as error:
                problems.append(str(error) if error.hint is None else f"{error}; hint: {error.hint}")
        return tuple(problems)

    def _sweep(self, planned: Iterable[AppResult], desired: Desired) -> tuple[str, ...]:
        quiet = (Outcome.UNCHANGED, Outcome.QUARANTINED)
        settled = [result.app for result in planned if result.outcome in quiet]
        return sweep(self.host, self._known, settled, desired, self.reader.configuration.prune)

    # recording

    def _remember_errors(self, results: Iterable[AppResult]) -> None:
        """Keep what `status` says of each app current; writes only what is another thing than before."""
        for result in results:
            record = self._records.get(result.app, AppRecord(result.app))
            # what an operator suspended is in a table of its own, and may end at any time
            by_manifest = result.outcome is Outcome.SUSPENDED and SUSPENDED_BY_MANIFEST in (result.note or "")
            reason = SUSPENDED_BY_MANIFEST if by_manifest else None
            if reason != record.suspended_reason:
                self.journal.record_suspended(result.app, reason)
            waiting = result.note if result.outcome is Outcome.WAITING else None
            if waiting != record.waiting_reason:
                self.journal.record_waiting(result.app, waiting)
            if result.outcome is Outcome.FAILED and str(result.error) != record.last_error:
                self.journal.record_error(result.app, str(result.error))
            elif result.outcome is Outcome.UNCHANGED:
                if record.last_error is not None:
                    self.journal.record_error(result.app, None)
                if record.quarantined_key is not None:
                    # a revert asks for what serves: what failed is not asked for any more
                    self.journal.release_quarantine(result.app)

    def _forget_unasked(self, desired: Desired) -> None:
        """Drop what is remembered of apps that never served here and that no manifest asks for any more."""
        if desired.unreadable:
            return
        unknown = self._records.keys() - self._known.keys() - desired.apps.keys() - desired.held.keys()
        for name in unknown - self._suspensions.keys():
            message = "its manifest is gone, and no release of it was ever verified here"
            self.journal.record_removed(name, EventRecord(name, "removed", message, time.time()))

    def _unreadable(self, trigger: str, error: ReconcilerError, started: float) -> PassResult:
        """The config repository cannot be read: nothing is known, so nothing is done."""
        if isinstance(error, HistoryRewritten):
            self.reader.repository.record_rewritten(error)
        last = self.journal.last_pass()
        revision = last.revision if last is not None else ""
        self.journal.record_pass(PassRecord(started, time.time(), trigger, revision, {}, str(error)))
        return PassResult(revision, (), error=error, seconds=time.time() - started)

    def _collect(self, desired: Desired) -> Collected:
        try:
            return self._collecting.collect(desired)
        except OSError as error:
            return Collected(problems=(f"what is not needed any more could not be removed: {error}",))
