"""Housekeeping: what every pass sees to besides the apps' own work, so that nobody has to clean up."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from reconciler.engine.collecting import Collected, Collecting
from reconciler.engine.recording import as_reconciler_error
from reconciler.engine.results import AppResult
from reconciler.engine.rotating import Rotating
from reconciler.host.journal import AppRecord, EventRecord, Journal
from reconciler.host.observing import Observer
from reconciler.host.services import Host
from reconciler.model.configuration import Configuration
from reconciler.model.errors import ReconcilerError
from reconciler.model.plan import Outcome
from reconciler.model.stage import AppliedApps

if TYPE_CHECKING:
    from reconciler.engine.desired import Desired, DesiredApp
    from reconciler.engine.work import Work

AT_REST = frozenset({Outcome.UNCHANGED, Outcome.QUARANTINED, Outcome.SUSPENDED})
"""Apps that no attempt begins for."""

PASSES_KEPT = 50_000
"""How many lines the journal keeps of passes: a month of one a minute."""


@dataclass(slots=True)
class Housekeeping:
    """Keeps nginx and the Emperor running, logs small and the journal current, and removes what is left over."""

    host: Host
    journal: Journal
    configuration: Configuration
    observer: Observer
    _collecting: Collecting = field(init=False)
    _rotating: Rotating = field(init=False)
    _ended: list[tuple[str, DesiredApp | None]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._rotating = Rotating(self.host.layout.logs)
        self._collecting = Collecting(self.host.layout, self.journal, self.configuration.store)

    @property
    def due(self) -> bool:
        """Whether something has to be collected although nothing was done."""
        return self._collecting.due

    @property
    def problems(self) -> tuple[str, ...]:
        """What the last collection could not achieve, as sentences."""
        return self._collecting.problems

    def keep_serving(self) -> tuple[str, ...]:
        """Start what a reboot or a person ended, and take over a changed listen address; sentences where it fails."""
        problems = [*self._rotating.look()]
        for current, bring_back in (
            (self.host.emperor.running, self.host.emperor.ensure_running),
            (self.host.nginx.current, self.host.nginx.ensure_running),
        ):
            try:
                if not current():
                    bring_back()
            except (ReconcilerError, OSError) as error:
                problems.append(as_reconciler_error(error, self.host.layout.root).with_hint)
        return tuple(problems)

    def sweep(
        self,
        applied: AppliedApps,
        results: Iterable[AppResult],
        desired: Desired,
        *,
        busy: Collection[str],
        everywhere: bool = True,
    ) -> tuple[str, ...]:
        """End what an agent that was killed left running; apps that are ``busy`` are left alone.

        What belongs to no app of ``results`` is looked for ``everywhere``, or not at all.
        """
        from reconciler.engine.sweeping import sweep  # noqa: PLC0415  a pass that finds all settled sweeps nothing

        settled = [result.app for result in results if result.outcome in AT_REST and result.app not in busy]
        if not everywhere and not settled:
            return ()
        return sweep(self.host, applied, settled, desired, self.configuration.prune, busy=busy, everywhere=everywhere)

    def collect(
        self,
        desired: Desired,
        work: Work,
        *,
        asked: bool = False,
        everywhere: bool = True,
        unfinished: bool = False,
    ) -> Collected:
        """Remove what is not needed any more: after work, also work that an earlier process left ``unfinished``, when
        the limits changed, and when it is ``asked`` for.

        After work it is enough to look at what the work left behind, where not ``everywhere`` was looked anyway.
        """
        self._ended += work.take_ended()
        if asked:
            self.journal.forget_passes(PASSES_KEPT)
        elif not self._ended and not self._collecting.due and not unfinished:
            return Collected()
        under_way = [attempt.app for attempt in work.running().values() if attempt.app is not None]
        ended, self._ended = self._ended, []
        try:
            self.observer.contents.save()
            if asked or everywhere or unfinished or self._collecting.due:
                return self._collecting.collect(desired, under_way)
            return self._collecting.collect_after(ended, desired, under_way)
        except OSError as error:
            failure = as_reconciler_error(error, self.host.layout.root)
            return Collected(problems=(f"what is not needed any more could not be removed: {failure}",))

    def remember_errors(
        self, results: Iterable[AppResult], records: Mapping[str, AppRecord], busy: Collection[str]
    ) -> None:
        """Keep what `status` says of each app current; writes only what is another thing than before."""
        from reconciler.engine.planning import SUSPENDED_BY_MANIFEST  # noqa: PLC0415  and neither plans

        for result in results:
            if result.app in busy:
                continue
            record = records.get(result.app, AppRecord(result.app))
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

    def forget_unasked(self, desired: Desired, records: Mapping[str, AppRecord], known: Collection[str]) -> None:
        """Drop what is remembered of apps that no manifest asks for any more; ``known`` are applied or suspended."""
        if desired.unreadable:
            return
        for name in records.keys() - {*known} - desired.apps.keys() - desired.held.keys():
            message = "its manifest is gone, and no release of it was ever verified here"
            self.journal.record_removed(name, EventRecord(name, "removed", message, time.time()))
