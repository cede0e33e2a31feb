"""Collect what no retained release needs any more: release folders and outputs of the store."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from reconciler.engine.retention import kept_outputs, kept_releases
from reconciler.host.files import TEMPORARY_PREFIX, remove_tree
from reconciler.host.journal import Journal
from reconciler.host.layout import Layout
from reconciler.model.stage import STORED, StageName

HISTORY_READ = 500


def collect(layout: Layout, journal: Journal, retain: dict[str, int], needed: set[tuple[StageName, str]]) -> int:
    """Remove outputs that neither ``needed`` nor a retained release uses; returns how many were removed.

    ``retain`` has the number of earlier releases to keep for every app of this host.
    """
    serving = {record.app: record.release for record in journal.apps().values()}
    kept = set(needed)
    for app, stages in journal.applied().items():
        kept |= kept_outputs([{stage.value: applied.digest for stage, applied in stages.items()}])
        records = kept_releases(journal.releases(app, HISTORY_READ), serving.get(app), retain.get(app, 1))
        kept |= kept_outputs([record.digests for record in records])
    names = {(stage, layout.output(stage, digest).name) for stage, digest in kept}
    removed = 0
    for stage in STORED:
        for entry in _entries(layout.store / stage):
            if (stage, entry.name) not in names and not entry.name.startswith(TEMPORARY_PREFIX):
                remove_tree(entry)
                removed += 1
    return removed


def remove_left_over(layout: Layout) -> int:
    """Remove what a killed pass left half made. Only the holder of the lock may call this."""
    removed = 0
    folders = [layout.cache, layout.public, layout.vassals, layout.nginx, layout.sites, layout.run]
    folders += [layout.store / stage for stage in STORED]
    folders += [release for app in _entries(layout.root / "releases") for release in _entries(app)]
    for folder in folders:
        for entry in _entries(folder):
            if entry.name.startswith(TEMPORARY_PREFIX):
                remove_tree(entry)
                removed += 1
    return removed


def _entries(folder: Path) -> Iterable[Path]:
    try:
        with os.scandir(folder) as entries:
            return [Path(entry.path) for entry in entries]
    except FileNotFoundError:
        return []
