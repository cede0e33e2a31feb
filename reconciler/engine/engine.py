"""One pass: poll, desired, observe, plan, gate, apply, verify, record. One app's failure never stops another.

A *look* is the part that decides: it reads git, plans every app, and hands the apps that have work to
:class:`~reconciler.engine.work.Work`. A single pass waits for that work; the agent goes on looking meanwhile.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from reconciler.engine.attempting import Attempting
from reconciler.engine.certifying import Certifying
from reconciler.engine.drifting import Drifting
from reconciler.engine.housekeeping import Housekeeping
from reconciler.engine.progress import Progress, Silence
from reconciler.engine.recalling import Made, Recalling
from reconciler.engine.results import AppResult, PassResult, followed_by
from reconciler.engine.settled import Settling, settled_by
from reconciler.engine.standing import Standing
from reconciler.engine.surveying import Place, Surveying
from reconciler.engine.work import Work
from reconciler.host.journal import Journal, PassRecord
from reconciler.host.observing import Observer
from reconciler.host.services import Host
from reconciler.model.errors import HistoryRewritten, JournalDamaged, JournalError, ReconcilerError
from reconciler.model.plan import Outcome
from reconciler.model.repositories import REPOSITORIES, written
from reconciler.model.stage import AppliedApps
from reconciler.model.trigger import Trigger, triggers_of
from reconciler.stages.packages import packages_of

if TYPE_CHECKING:
    from reconciler.engine.desired import Desired
    from reconciler.engine.planning import Planning
    from reconciler.engine.polling import Polled
    from reconciler.engine.reading import Reader

UNDER_WAY = "applying"
"""How the journal counts apps that a pass of the agent left to the work that goes on."""


@dataclass(frozen=True, slots=True)
class _Look:
    """What a look found; without ``desired`` nothing moved since all was settled, or git could not be read.

    ``whole``: it is about every app. ``final``: the results are how the apps stand after all work. ``looked_at`` are
    the apps of which more than what was known was asked; ``None``: all of them, and what belongs to nobody.
    """

    started: float
    began: float
    marks: Mapping[str, int]
    result: PassResult
    desired: Desired | None = None
    whole: bool = True
    final: bool = False
    looked_at: frozenset[str] | None = None


@dataclass(slots=True)
class Engine:
    """Plans and reconciles one host; lives as long as the agent does and remembers what has not moved.

    ``journal_news`` is a sentence about a journal that was damaged, and begun anew when it was opened.
    """

    host: Host
    journal: Journal
    reader: Reader
    progress: Progress = field(default_factory=Silence)
    journal_news: str | None = None
    observer: Observer = field(init=False)
    surveying: Surveying = field(init=False)
    work: Work = field(init=False)
    certifying: Certifying = field(init=False)
    _settling: Settling = field(init=False)
    _housekeeping: Housekeeping = field(init=False)
    _recalling: Recalling = field(init=False)
    _standing: Standing = field(init=False)
    _made: Made = field(init=False)
    _remembered: Desired | None = None

    def __post_init__(self) -> None:
        self.observer = Observer(self.host.layout)
        self.surveying = Surveying(self.observer, Drifting(self.journal))
        self._recalling = Recalling(self.journal, self.surveying.drifting)
        self._standing = Standing(self.surveying.touched)
        self._made = Made(self.journal)
        self.work = Work(Attempting(self))
        self.certifying = Certifying(self.host, self.journal, self.reader.configuration.acme)
        self._settling = Settling(self.host.mirrors.revisions, self.journal, self.reader)
        self._housekeeping = Housekeeping(self.host, self.journal, self.reader.configuration, self.observer)

    def plan(self, *, app: str | None = None, revision: str | None = None) -> PassResult:
        """What a pass would do and why; changes nothing that serves or that is recorded."""
        started = time.monotonic()
        self._recalling.load()
        self.surveying.scan(self._known)
        desired = self.reader.read(self._known, self._made, revision)
        results = self._planning(desired).plan(app)
        return PassResult(desired.revision, tuple(results), desired.problems, seconds=time.monotonic() - started)

    def reconcile(self, trigger: str, *, app: str | None = None) -> PassResult:
        """One pass to its end; ``trigger`` says who asked. Never raises for what one app did.

        Where a certificate is to be had by ACME, that is waited for, and a second pass serves with it.
        """
        first = self._reconcile(trigger, app)
        asked = [name for name in self.certificates_due() if app in (None, name)] if first.error is None else []
        if not asked:
            return first
        for name in asked:
            self.obtain_certificate(name)
        return followed_by(first, self._reconcile(Trigger.CERTIFICATE, app))

    def _reconcile(self, trigger: str, app: str | None) -> PassResult:
        look = self._look(trigger, app)
        if look.desired is not None and self._submit(look, look.desired, trigger):
            done = self.work.finish()
            results = tuple(done[result.app] if _has_work(result) else result for result in look.result.apps)
            look = replace(look, result=replace(look.result, apps=results), final=True)
        return self._end(look, trigger)

    def look(self, trigger: str) -> PassResult:
        """The part of a pass that decides; the work that it finds goes on beside the next looks.

        Apps that are worked on have the outcome ``changed``. Never raises for what one app did.
        """
        look = self._look(trigger, None)
        if look.desired is not None:
            self._submit(look, look.desired, trigger)
            look = replace(look, result=replace(look.result, apps=self.work.as_it_stands(look.result.apps)))
        return self._end(look, trigger)

    # looking

    def _look(self, trigger: str, app: str | None) -> _Look:
        started, began, marks = time.time(), time.monotonic(), self.work.marks()

        def busy() -> frozenset[str]:
            return self.work.touched_since(marks)

        self.reader.polls.begin(trigger)
        known = self._recalling
        known.load()
        stands = self._standing.begin(trigger)
        drift = self.surveying.begin(trigger, self._known, busy, self._standing.forget)
        ahead: Polled = {}
        quiet = not (self._housekeeping.due or known.suspensions or self.surveying.drifting.unsettled)
        quiet = quiet and not self.certifying.arrived(self._known)
        if app is None and self.reader.fresh and quiet:
            ahead, settled = self._settling.look(self._known, known.records, self.observer)
            if settled is not None:
                return _Look(started, began, marks, PassResult(*settled, drift=drift))
        try:
            desired = self.reader.read(self._known, self._made, ahead=ahead)
        except ReconcilerError as error:
            # nothing is known, so nothing is done
            if isinstance(error, HistoryRewritten):
                self.reader.repository.record_rewritten(error)
            last = self.journal.last_pass()
            revision = last.revision if last is not None else ""
            return _Look(started, began, marks, PassResult(revision, (), error=error, drift=drift))
        planning = self._planning(desired, marks)
        results = tuple(planning.plan(app, alone=True))
        looked_at = frozenset(planning.looked_at) if stands else None
        drift += self.surveying.note(results, desired, self._known, busy, looked_at)
        result = PassResult(desired.revision, results, desired.problems, drift=drift)
        return _Look(started, began, marks, result, desired, whole=app is None, looked_at=looked_at)

    def _submit(self, look: _Look, desired: Desired, trigger: str) -> bool:
        """Hand over what there is to do; returns whether there is anything."""
        working = any(_has_work(result) for result in look.result.apps)
        if working:
            # nothing begins that could not be recorded
            self.journal.prove_writable()
            self._settling.remember(None)
            self._remembered = None
        asked = {
            result.app: packages_of(desired.apps[result.app].facts)
            for result in look.result.apps
            if _has_work(result) and result.app in desired.apps
        }
        self.host.packages.announce(asked)
        self.work.submit(desired, look.result.apps, trigger, look.marks)
        return working

    def _end(self, look: _Look, trigger: str) -> PassResult:
        """Keep house, and write the one line of this pass; what was done is told even if it cannot be recorded."""
        try:
            return self._recorded(look, trigger)
        except JournalDamaged:
            raise
        except JournalError as error:
            seconds = time.monotonic() - look.began
            return replace(look.result, error=look.result.error or error, seconds=seconds)

    def _recorded(self, look: _Look, trigger: str) -> PassResult:
        result, desired = look.result, look.desired
        # what serves needs nothing from git, and goes on whatever is wrong there
        problems = self._keep_serving(look)
        if result.error is not None:
            return self._finish(look, trigger, replace(result, problems=(*result.problems, *problems)))
        if desired is not None:
            touched = self.work.touched_since(look.marks)
            busy = frozenset(self.work.running()) if look.final else touched
            looked_at = result.apps
            if look.looked_at is not None:
                looked_at = tuple(app for app in result.apps if app.app in look.looked_at)
            everywhere = look.looked_at is None
            problems += self._housekeeping.sweep(self._known, looked_at, desired, busy=busy, everywhere=everywhere)
            if look.whole:
                self._remember(look, desired)
            asked = Trigger.COLLECT in triggers_of(trigger)
            unfinished = self._settling.take_unfinished()
            collected = self._housekeeping.collect(
                desired, self.work, asked=asked, everywhere=everywhere, unfinished=unfinished
            )
            problems += collected.problems
            if look.whole:
                # last: a process that is killed before this leaves word that there is something to collect
                self._settle(look, desired, result.apps, final=look.final or not touched)
            result = replace(result, notes=collected.notes)
            self._housekeeping.remember_errors(looked_at, self._recalling.records, busy)
        problems = (*result.problems, *problems, *self._housekeeping.problems)
        return self._finish(look, trigger, replace(result, problems=problems))

    def _keep_serving(self, look: _Look) -> tuple[str, ...]:
        """Start what serves where it was ended, and take up renewed certificates; sentences where that fails."""
        if not self._known:
            return ()
        problems = self._housekeeping.keep_serving()
        return problems + self.certifying.look(self._known, self.work.touched_since(look.marks))

    def _remember(self, look: _Look, desired: Desired) -> None:
        if desired is self._remembered and look.looked_at == frozenset():
            return
        self.reader.repository.remember(desired.revision)
        known = self._recalling
        self._housekeeping.forget_unasked(desired, known.records, {*self._known, *known.suspensions})

    def _settle(self, look: _Look, desired: Desired, results: tuple[AppResult, ...], *, final: bool) -> None:
        if desired is self._remembered and look.looked_at == frozenset():
            return
        if final and self.work.at_rest:
            branch = self.reader.configuration.repository.branch
            self._settling.remember(settled_by(desired, results, branch))
            self._remembered = desired

    def _finish(self, look: _Look, trigger: str, result: PassResult) -> PassResult:
        sentences = str(result.error) if result.error is not None else "; ".join(result.problems) or None
        running = self.work.running()
        outcomes = Counter(UNDER_WAY if app.app in running else app.outcome.value for app in result.apps)
        record = PassRecord(look.started, time.time(), trigger, result.revision, dict(outcomes), sentences)
        self.journal.record_pass(record)
        # when each is asked again changes with every failure, and says so in `status`
        self.journal.record_setting(REPOSITORIES, written(self.reader.troubles))
        return replace(result, seconds=time.monotonic() - look.began)

    def watched(self) -> list[Place]:
        """The folders of the releases that serve now in which a change is worth a look at once."""
        self._recalling.load()
        certificates = sorted(set(self.certifying.sources(self._known)))
        places = self.surveying.places(self._known)
        # the same list as long as the same is to be watched
        return [*places, *map(Place, certificates)] if certificates else places

    def certificates_due(self) -> tuple[str, ...]:
        """The apps for which certbot is to be run now."""
        self._recalling.load()
        return self.certifying.due(self._known)

    def obtain_certificate(self, app: str) -> None:
        """Run certbot for an app, which may take minutes; what came of it shows in the next pass."""
        self.certifying.obtain(app, self._known)

    # loading and planning

    @property
    def _known(self) -> AppliedApps:
        return self._recalling.applied

    def _planning(self, desired: Desired, marks: Mapping[str, int] | None = None) -> Planning:
        """With ``marks``, those with which a look began, what was found of apps before may stand."""
        from reconciler.engine.planning import Planning  # noqa: PLC0415  a pass that finds all settled plans nothing

        known = self._recalling
        return Planning(
            desired,
            self._known,
            known.records,
            self.observer,
            self.reader.configuration.prune,
            self.journal,
            known.irreversible,
            known.suspensions,
            self.surveying.drifting,
            None if marks is None else self._standing,
            marks or {},
        )


def _has_work(result: AppResult) -> bool:
    return result.outcome is Outcome.CHANGED
