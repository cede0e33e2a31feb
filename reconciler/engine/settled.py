"""The short way of a pass that begins a process: when no repository moved since all was verified, nothing is read.

A cold ``reconciler once`` would otherwise load the manifests and their schema only to find that nothing changed. What
desired state depends on is remembered after every pass in which all apps were as asked for: the commit of every app,
and everything else (this reconciler's version, the configuration) as one hash. Anything that differs, and any drift,
leads to the ordinary way.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from reconciler import __version__
from reconciler.engine.polling import Polled, refs_of
from reconciler.engine.results import AppResult
from reconciler.engine.trust import unchanged
from reconciler.host.daemons import boot_id
from reconciler.host.git import Revisions
from reconciler.host.journal import AppRecord, Journal
from reconciler.host.layout import Layout
from reconciler.host.observing import Observer
from reconciler.model.errors import ReconcilerError
from reconciler.model.plan import AppPlan, Change, Outcome
from reconciler.model.stage import OPTIONAL, Action, AppliedApps, StageName, release_of
from reconciler.stages import STAGES
from reconciler.stages.vassal import vassal_of

if TYPE_CHECKING:
    from reconciler.engine.desired import Desired
    from reconciler.engine.reading import Reader

FORMAT = 1
SETTING = "settled"
WORKING = ""
"""What is remembered from the beginning of some work until it is seen to its end."""
WITH_CONFIG = ""
"""In place of a revision: the app is deployed at the config repository's own commit."""


@dataclass(frozen=True, slots=True)
class SettledApp:
    """What one app was resolved to: ``wanted`` is the revision as its manifest writes it."""

    name: str
    address: str
    wanted: str
    commit: str


@dataclass(frozen=True, slots=True)
class Settled:
    """All apps of a pass after which nothing was left to do."""

    revision: str
    apps: tuple[SettledApp, ...]


@dataclass(slots=True)
class Settling:
    """Remembers a settled host, and finds out whether it still is one."""

    revisions: Revisions
    journal: Journal
    reader: Reader
    _remembered: Settled | None = None
    _unfinished: bool | None = None

    def take_unfinished(self) -> bool:
        """Whether an earlier process may have left something behind, because its work was not seen to its end, or
        because the host has started anew since: names that were removed may have come back. Says so once.
        """
        found, self._unfinished = self._found_unfinished(), False
        return found

    def _found_unfinished(self) -> bool:
        if self._unfinished is None:
            text = self.journal.setting(SETTING)
            self._unfinished = text is not None and (text == WORKING or json.loads(text).get("boot") != boot_id())
        return self._unfinished

    def look(
        self, applied: AppliedApps, records: Mapping[str, AppRecord], observer: Observer
    ) -> tuple[Polled, tuple[str, tuple[AppResult, ...]] | None]:
        """What was polled, and, when nothing moved and nothing drifted, the revision and every app as it is."""
        known = self._recall()
        if known is None or any(record.last_error for record in records.values()):
            return {}, None
        polled = self.reader.polls.poll({self.reader.config_address, *(app.address for app in known.apps)})
        try:
            if not self._unmoved(known, polled):
                return polled, None
        except ReconcilerError:
            # the ordinary way meets the same error, and says which apps it holds
            return polled, None
        results = observe_settled(known, applied, observer)
        return polled, None if results is None else (known.revision, results)

    def remember(self, settled: Settled | None) -> None:
        """Remember that all is as asked for, or (``None``) that it is not; writes only what is news."""
        if settled is not None and settled == self._remembered:
            return
        self._remembered = settled
        # what an earlier process left is read before it is written over
        self._found_unfinished()
        if settled is None:
            self.journal.record_setting(SETTING, WORKING)
            return
        apps = [[app.name, app.address, app.wanted, app.commit] for app in settled.apps]
        signers = dict(self.reader.trust.lists)
        known = {
            "basis": self._basis,
            "boot": boot_id(),
            "revision": settled.revision,
            "apps": apps,
            "signers": signers,
        }
        self.journal.record_setting(SETTING, json.dumps(known))

    def _recall(self) -> Settled | None:
        text = self.journal.setting(SETTING)
        if not text:
            return None
        known = json.loads(text)
        if known["basis"] != self._basis or known.get("boot") != boot_id() or not unchanged(known.get("signers", {})):
            return None
        return Settled(known["revision"], tuple(SettledApp(*app) for app in known["apps"]))

    @property
    def _basis(self) -> str:
        """A hash of what desired state depends on besides the repositories."""
        reader = self.reader
        labels = sorted(reader.labels.items())
        text = repr((FORMAT, __version__, reader.configuration, reader.config_address, labels))
        return hashlib.sha256(text.encode()).hexdigest()

    def _unmoved(self, known: Settled, polled: Polled) -> bool:
        address, branch = self.reader.config_address, self.reader.configuration.repository.branch
        if self._resolved(address, branch, polled) != known.revision:
            return False
        return all(
            (known.revision if app.wanted == WITH_CONFIG else self._resolved(app.address, app.wanted, polled))
            == app.commit
            for app in known.apps
        )

    def _resolved(self, address: str, revision: str, polled: Polled) -> str:
        return self.revisions.resolve(address, revision, refs_of(polled, address)).commit


def settled_by(desired: Desired, results: tuple[AppResult, ...], branch: str) -> Settled | None:
    """What a pass leaves settled; ``None`` when anything is held, failed, suspended or only noted."""
    good = {Outcome.UNCHANGED, Outcome.CHANGED}
    if desired.held or desired.problems or desired.unreadable:
        return None
    if any(result.outcome not in good or result.error is not None for result in results):
        return None
    apps = []
    for app in desired.apps.values():
        source = app.manifest.spec.source
        with_config = source.repository == "." and source.revision in (None, branch)
        wanted = WITH_CONFIG if with_config else source.revision or "main"
        apps.append(SettledApp(app.name, app.facts.address, wanted, app.commit))
    return Settled(desired.revision, tuple(apps))


def observe_settled(settled: Settled, applied: AppliedApps, observer: Observer) -> tuple[AppResult, ...] | None:
    """Look at every app on disk; ``None`` when one of them is not as it was applied, or more or fewer are there."""
    if applied.keys() != {app.name for app in settled.apps} or not _only_vassals_of(applied, observer.layout):
        return None
    results = []
    for app in settled.apps:
        stages = applied[app.name]
        changes = []
        for stage in STAGES:
            before = stages.get(stage.name)
            if before is None:
                if stage.name in OPTIONAL:
                    continue
                return None
            seen = stage.observe(app.name, before, before, observer)
            if seen.differences or not seen.output_exists:
                return None
            changes.append(Change(stage.name, Action.NONE, digest=before.digest))
        release = release_of(stages[StageName.VASSAL].digest)
        plan = AppPlan(app.name, tuple(changes))
        results.append(AppResult(app.name, Outcome.UNCHANGED, plan, app.commit, release))
    return tuple(sorted(results, key=lambda result: result.app))


def _only_vassals_of(applied: AppliedApps, layout: Layout) -> bool:
    """Whether no vassal is there that a killed agent left behind; a missing one is seen as drift."""
    serving = {
        vassal_of(app, stages[StageName.VASSAL]) for app, stages in applied.items() if StageName.VASSAL in stages
    }
    with os.scandir(layout.vassals) as entries:
        return all(entry.name.removesuffix(".ini") in serving for entry in entries if entry.name.endswith(".ini"))
