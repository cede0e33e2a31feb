"""Collect what no retained release needs any more: outputs of the store, release folders, old assets."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Collection, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from reconciler.engine.keeping import Kept, kept_for
from reconciler.engine.retention import Budget, Footprint, Output, Retained, within_budget
from reconciler.host.contents import forget_indexes
from reconciler.host.files import TEMPORARY_PREFIX, remove_tree
from reconciler.host.journal import EventRecord, Journal
from reconciler.host.layout import Layout
from reconciler.host.old_assets import prune_assets
from reconciler.host.releases import public_release, vassals_by_app
from reconciler.host.store import disk_usage
from reconciler.model.configuration import Store
from reconciler.model.stage import STORED

if TYPE_CHECKING:
    from reconciler.engine.desired import DesiredApp
    from reconciler.engine.reading import Desired

SETTING = "store"


@dataclass(frozen=True, slots=True)
class Collected:
    """What was removed: ``outputs`` of the store, and a sentence for every release that the limit cost."""

    outputs: int = 0
    notes: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()


@dataclass(slots=True)
class Collecting:
    """Collects after passes with work; remembers the size of outputs, which never change."""

    layout: Layout
    journal: Journal
    store: Store
    _footprints: dict[Output, Footprint] = field(default_factory=dict)
    _assets: dict[str, frozenset[Output]] = field(default_factory=dict)
    _known: tuple[str | None, str | None] | None = None

    @property
    def due(self) -> bool:
        """Whether the limit in agent.yaml is another one than at the last collection."""
        return self._recall()[0] != self.store.limit

    @property
    def problems(self) -> tuple[str, ...]:
        """What the last collection could not achieve, as a sentence."""
        sentence = self._recall()[1]
        return () if sentence is None else (sentence,)

    def collect(self, desired: Desired, under_way: Iterable[DesiredApp] = ()) -> Collected:
        """Remove what neither serves, nor is asked for, nor is retained; then what the limit does not allow.

        ``under_way`` are apps that are being deployed, perhaps as git asked for them before.

        An output that is being built has a temporary name, and is left alone.
        """
        kept = kept_for(self.journal, desired, self._linked(), under_way)
        removed = self._remove_outputs(kept.outputs)
        notes: tuple[str, ...] = ()
        outputs, problem = kept.outputs, None
        limit = self.store.limit_bytes
        if limit is not None:
            budget = self._budget(kept, limit)
            outputs = kept.outputs - budget.outputs
            removed += self._remove_outputs(outputs) if budget.outputs else 0
            notes = tuple(self._tell(release, budget) for release in budget.dropped)
            problem = self._over(budget.after, limit)
        self.journal.forget_outputs(outputs)
        self._prune_releases(kept.releases)
        self._prune_assets(kept, outputs)
        self._remember(problem)
        return Collected(removed, notes)

    def _linked(self) -> dict[str, str]:
        found = {app: public_release(self.layout, app) for app in self.journal.apps()}
        return {app: release for app, release in found.items() if release is not None}

    # the limit

    def _budget(self, kept: Kept, limit: int) -> Budget:
        present = {output: self._footprint(output) for output in kept.outputs}
        there = {output: footprint for output, footprint in present.items() if footprint is not None}
        self._footprints = there
        return within_budget(there, kept.needed, kept.retained, limit)

    def _footprint(self, output: Output) -> Footprint | None:
        known = self._footprints.get(output)
        path = self.layout.output(*output)
        if not path.exists():
            return None
        return known if known is not None else Footprint(*disk_usage(path))

    def _tell(self, release: Retained, budget: Budget) -> str:
        sentence = (
            f"{release.app}: release {release.release} of commit {release.revision[:7]} is no longer kept, because "
            f"the store had {readable(budget.before)}, and store.limit is {self.store.limit}"
        )
        detail = {"release": release.release, "before": budget.before, "after": budget.after}
        self.journal.record_event(EventRecord(release.app, "collected", sentence, time.time(), detail))
        return sentence

    def _over(self, size: int, limit: int) -> str | None:
        if size <= limit:
            return None
        return (
            f"the outputs of the releases that serve take {readable(size)}, more than store.limit {self.store.limit} "
            "in agent.yaml allows; raise it, or run fewer apps on this host"
        )

    # removing

    def _remove_outputs(self, kept: Collection[Output]) -> int:
        names = {(stage, self.layout.output(stage, digest).name) for stage, digest in kept}
        removed = 0
        for stage in STORED:
            for entry in _entries(self.layout.store / stage):
                if (stage, entry.name) not in names and not entry.name.startswith(TEMPORARY_PREFIX):
                    remove_tree(entry)
                    removed += 1
        forget_indexes(self.layout)
        return removed

    def _prune_releases(self, kept: Collection[tuple[str, str]]) -> None:
        """Remove folders of links that neither serve nor belong to a vassal nor are asked for."""
        vassals = vassals_by_app(self.layout)
        for home in _entries(self.layout.releases):
            app = home.name
            using = {
                public_release(self.layout, app),
                *(name.partition(".")[2] for name in vassals.get(app, ())),
            }
            for folder in _entries(home):
                if folder.name not in using and (app, folder.name) not in kept:
                    remove_tree(folder)
            # not empty: a release stays
            with suppress(OSError):
                home.rmdir()

    def _prune_assets(self, kept: Kept, outputs: Collection[Output]) -> None:
        """Old assets stay as long as the static output that they are from."""
        for home in _entries(self.layout.assets):
            app = home.name
            if app not in kept.static:
                remove_tree(home)
                continue
            using = kept.static[app].intersection(outputs)
            if self._assets.get(app) != using:
                prune_assets(self.layout, app, [self.layout.output(*output) for output in using])
                self._assets[app] = using

    # remembering

    def _recall(self) -> tuple[str | None, str | None]:
        if self._known is None:
            limit, problem = json.loads(self.journal.setting(SETTING) or "[null, null]")
            self._known = (limit, problem)
        return self._known

    def _remember(self, problem: str | None) -> None:
        known = (self.store.limit, problem)
        if known != self._recall():
            self.journal.record_setting(SETTING, json.dumps(known))
            self._known = known


def readable(size: int) -> str:
    """Bytes as people read them: ``12.3 MiB``."""
    value = float(size)
    for unit in ("bytes", "KiB", "MiB"):
        if value < 1024:
            return f"{value:.0f} {unit}" if unit == "bytes" else f"{value:.1f} {unit}"
        value /= 1024
    return f"{value:.1f} GiB"


def remove_left_over(layout: Layout) -> int:
    """Remove what a killed pass left half made. Only the holder of the lock may call this."""
    removed = 0
    folders = [*layout.working_folders]
    folders += [layout.store / stage for stage in STORED]
    folders += [release for app in _entries(layout.releases) for release in _entries(app)]
    for folder in folders:
        for entry in _entries(folder):
            if entry.name.startswith(TEMPORARY_PREFIX):
                remove_tree(entry)
                removed += 1
    return removed


def _entries(folder: Path) -> list[Path]:
    try:
        with os.scandir(folder) as entries:
            return [Path(entry.path) for entry in entries]
    except FileNotFoundError:
        return []
