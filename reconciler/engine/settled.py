"""The short way of a pass that begins a process: when no repository moved since all was verified, nothing is read.

A cold ``reconciler once`` would otherwise load the manifests and their schema only to find that nothing changed. What
desired state depends on is remembered after every pass in which all apps were as asked for: the commit of every app,
and everything else (this reconciler's version, the configuration) as one hash. Anything that differs, and any drift,
leads to the ordinary way.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from reconciler import __version__
from reconciler.engine.results import AppResult
from reconciler.host.journal import Journal
from reconciler.host.observing import Observer
from reconciler.model.plan import AppPlan, Change, Outcome
from reconciler.model.stage import Action, AppliedStage, StageName, release_of
from reconciler.stages import STAGES

if TYPE_CHECKING:
    from reconciler.engine.reading import Desired
    from reconciler.model.configuration import Configuration

FORMAT = 1
SETTING = "settled"
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


def basis_of(configuration: Configuration, address: str, labels: Mapping[str, str]) -> str:
    """A hash of what desired state depends on besides the repositories."""
    text = repr((FORMAT, __version__, configuration, address, sorted(labels.items())))
    return hashlib.sha256(text.encode()).hexdigest()


def remember(journal: Journal, basis: str, settled: Settled | None) -> None:
    """Remember that all is as asked for, or (``None``) that it is not; writes only what is news."""
    if settled is None:
        if journal.setting(SETTING):
            journal.record_setting(SETTING, "")
        return
    apps = [[app.name, app.address, app.wanted, app.commit] for app in settled.apps]
    journal.record_setting(SETTING, json.dumps({"basis": basis, "revision": settled.revision, "apps": apps}))


def recall(journal: Journal, basis: str) -> Settled | None:
    """What was remembered, if it was on the same basis."""
    text = journal.setting(SETTING)
    if not text:
        return None
    known = json.loads(text)
    if known["basis"] != basis:
        return None
    return Settled(known["revision"], tuple(SettledApp(*app) for app in known["apps"]))


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


def observe_settled(
    settled: Settled, applied: Mapping[str, Mapping[StageName, AppliedStage]], observer: Observer
) -> tuple[AppResult, ...] | None:
    """Look at every app on disk; ``None`` when one of them is not as it was applied, or more or fewer are there."""
    if applied.keys() != {app.name for app in settled.apps}:
        return None
    results = []
    for app in settled.apps:
        stages = applied[app.name]
        changes = []
        for stage in STAGES:
            before = stages.get(stage.name)
            if before is None:
                return None
            seen = stage.observe(app.name, before, before.digest, observer)
            if seen.differences or not seen.output_exists:
                return None
            changes.append(Change(stage.name, Action.NONE, digest=before.digest))
        release = release_of(stages[StageName.VASSAL].digest)
        plan = AppPlan(app.name, tuple(changes))
        results.append(AppResult(app.name, Outcome.UNCHANGED, plan, app.commit, release))
    return tuple(sorted(results, key=lambda result: result.app))
