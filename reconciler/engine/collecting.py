"""Collect what no retained release needs any more: outputs of the store, release folders, old assets."""

from __future__ import annotations

import json
import os
import time
from collections import Counter
from collections.abc import Collection, Container, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from reconciler.engine.keeping import Keeping, KeptOf, asked_by
from reconciler.engine.retention import Budget, Footprint, Output, Retained, within_budget
from reconciler.host.contents import forget_index, forget_indexes
from reconciler.host.files import TEMPORARY_PREFIX, remove_tree, remove_visible
from reconciler.host.journal import EventRecord, Journal
from reconciler.host.layout import Layout
from reconciler.host.old_assets import prune_assets
from reconciler.host.releases import public_release, vassals_by_app, vassals_of
from reconciler.host.store import disk_usage
from reconciler.model.configuration import Store
from reconciler.model.object_ids import short
from reconciler.model.sizes import readable
from reconciler.model.stage import STORED

if TYPE_CHECKING:
    from reconciler.engine.desired import Desired, DesiredApp

SETTING = "store"


@dataclass(frozen=True, slots=True)
class Collected:
    """What was removed: ``outputs`` of the store, and a sentence for every release that the limit cost."""

    outputs: int = 0
    notes: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()


@dataclass(slots=True)
class Collecting:
    """Collects after work; remembers who needs which output, and the size of outputs, which never change."""

    layout: Layout
    journal: Journal
    store: Store
    _footprints: dict[Output, Footprint] = field(default_factory=dict)
    _assets: dict[str, frozenset[Output]] = field(default_factory=dict)
    _known: tuple[str | None, str | None] | None = None
    _kept: dict[str, KeptOf] = field(default_factory=dict)
    _users: Counter[Output] = field(default_factory=Counter)
    _asked: Mapping[str, DesiredApp] | None = None

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
        self._asked = None
        kept = self._kept = Keeping(self.journal, desired, self._linked, tuple(under_way)).everything()
        self._users = Counter(output for one in kept.values() for output in one.outputs)
        removed = self._remove_outputs(self._users.keys())
        notes: tuple[str, ...] = ()
        outputs, problem = frozenset(self._users), None
        limit = self.store.limit_bytes
        if limit is not None:
            budget = self._budget(kept, limit)
            outputs -= budget.outputs
            removed += self._remove_outputs(outputs) if budget.outputs else 0
            notes = tuple(self._tell(release, budget) for release in budget.dropped)
            problem = self._over(budget.after, limit)
        self.journal.forget_outputs(outputs)
        vassals = vassals_by_app(self.layout)
        for home in _entries(self.layout.releases):
            self._prune_releases(home.name, vassals.get(home.name, ()))
        for home in _entries(self.layout.assets):
            self._prune_assets(home.name, outputs)
        self._remember(problem)
        # with a limit, what goes depends on the size of everything
        self._asked = desired.apps if limit is None else None
        return Collected(removed, notes)

    def collect_after(
        self, ended: Iterable[tuple[str, DesiredApp | None]], desired: Desired, under_way: Iterable[DesiredApp] = ()
    ) -> Collected:
        """The same after attempts that ``ended``, each an app's name and as what it was deployed, if it was.

        Looks only at apps of which something else is to be kept than at the last collection. What nobody made, and
        what was left behind by an agent that was killed, is found by :meth:`collect`.
        """
        if self._asked is None:
            return self.collect(desired, under_way)
        before, self._asked = self._asked, None
        ended, under_way = tuple(ended), tuple(under_way)
        moved = {name for name, _ in ended} | {app.name for app in under_way} | _moved(before, desired.apps)
        keeping = Keeping(self.journal, desired, self._linked, under_way)
        # one that failed, or was given up, made outputs that were never kept for the app
        let_go = {output for _, app in ended if app is not None for output in asked_by(app)}
        for name in moved:
            old, new = self._kept.pop(name, KeptOf()), keeping.of(name)
            let_go |= old.outputs
            self._users.subtract(old.outputs)
            self._users.update(new.outputs)
            if new != KeptOf():
                self._kept[name] = new
        gone = {output for output in let_go if self._users[output] <= 0}
        removed = sum(self._remove_output(output) for output in gone)
        for output in gone:
            del self._users[output]
        if gone:
            self.journal.forget_these_outputs(gone)
        for name in moved:
            self._prune_releases(name, vassals_of(self.layout, name))
            self._prune_assets(name, self._users)
        self._asked = desired.apps
        return Collected(removed)

    def _linked(self, app: str) -> str | None:
        return public_release(self.layout, app)

    # the limit

    def _budget(self, kept: Mapping[str, KeptOf], limit: int) -> Budget:
        present = {output: self._footprint(output) for output in self._users}
        there = {output: footprint for output, footprint in present.items() if footprint is not None}
        self._footprints = there
        needed = frozenset[Output]().union(*(one.needed for one in kept.values()))
        return within_budget(there, needed, [release for one in kept.values() for release in one.retained], limit)

    def _footprint(self, output: Output) -> Footprint | None:
        known = self._footprints.get(output)
        path = self.layout.output(*output)
        if not path.exists():
            return None
        return known if known is not None else Footprint(*disk_usage(path))

    def _tell(self, release: Retained, budget: Budget) -> str:
        sentence = (
            f"{release.app}: release {release.release} of commit {short(release.revision)} is no longer kept, "
            f"because the store had {readable(budget.before)}, and store.limit is {self.store.limit}"
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
                    remove_visible(entry)
                    removed += 1
        forget_indexes(self.layout)
        return removed

    def _remove_output(self, output: Output) -> int:
        path = self.layout.output(*output)
        forget_index(self.layout, output)
        if not path.exists():
            return 0
        remove_visible(path)
        return 1

    def _prune_releases(self, app: str, vassals: Iterable[str]) -> None:
        """Remove folders of links that neither serve nor belong to a vassal nor are asked for."""
        home = self.layout.releases / app
        using = {public_release(self.layout, app), *(name.partition(".")[2] for name in vassals)}
        using |= self._kept.get(app, KeptOf()).releases
        for folder in _entries(home):
            if folder.name not in using:
                remove_tree(folder)
        # not empty: a release stays
        with suppress(OSError):
            home.rmdir()

    def _prune_assets(self, app: str, outputs: Container[Output]) -> None:
        """Old assets stay as long as the static output that they are from."""
        using = frozenset(output for output in self._kept.get(app, KeptOf()).static if output in outputs)
        if app not in self._kept:
            self._assets.pop(app, None)
            remove_tree(self.layout.old_assets(app))
        elif self._assets.get(app) != using:
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


def _moved(before: Mapping[str, DesiredApp], after: Mapping[str, DesiredApp]) -> set[str]:
    """The apps that git asks for otherwise than before; a commit that leaves an app alone is the same wish."""
    gone = before.keys() - after.keys()
    return gone | {
        name
        for name, app in after.items()
        if (old := before.get(name)) is None or old.stages is not app.stages or old.manifest is not app.manifest
    }


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
