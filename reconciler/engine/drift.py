"""Drift: what on this host is not as it was applied. Reads the journal and the disk, not git or the network."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from reconciler.host.journal import Journal
from reconciler.host.layout import Layout
from reconciler.host.observing import Observer
from reconciler.model.diffs import unified
from reconciler.model.stage import AppliedStage, Difference, DifferenceKind, StageName
from reconciler.stages import STAGES

READ_LIMIT_BYTES = 64 * 1024
"""How much of a file that nobody applied is shown."""


@dataclass(frozen=True, slots=True)
class Drift:
    """One difference, with the app and the stage that it belongs to."""

    app: str
    stage: StageName
    path: str
    kind: DifferenceKind
    diff: str

    def as_json(self) -> dict[str, str]:
        """The object that ``drift --json`` prints."""
        return {
            "app": self.app,
            "stage": self.stage.value,
            "path": self.path,
            "kind": self.kind.value,
            "diff": self.diff,
        }


def find_drift(layout: Layout, journal: Journal) -> tuple[Drift, ...]:
    """Everything on this host that is not as it was applied, by app and stage."""
    observer = Observer(layout)
    applied = journal.applied()
    found = [drift for app, stages in applied.items() for drift in drift_of(app, stages, observer)]
    found += extra_files(layout, known=applied)
    return tuple(sorted(found, key=lambda drift: (drift.app, _order(drift.stage), drift.path)))


def drift_of(app: str, applied: Mapping[StageName, AppliedStage], observer: Observer) -> Iterator[Drift]:
    """What differs for one app; costs a few calls of ``stat`` while nothing has changed."""
    for stage in STAGES:
        before = applied.get(stage.name)
        if before is None:
            continue
        for difference in stage.observe(app, before, before.digest, observer).differences:
            yield _drift(app, stage.name, difference)


def extra_files(layout: Layout, known: Iterable[str]) -> Iterator[Drift]:
    """Sites and vassals of apps that this agent never applied: nginx and the Emperor run whatever lies there."""
    apps = set(known)
    places = ((StageName.NGINX, layout.sites, ".conf"), (StageName.VASSAL, layout.vassals, ".ini"))
    for stage, folder, ending in places:
        for name in _names(folder):
            # a vassal is named after its app, or after its app and its release
            app = name.removesuffix(ending).partition(".")[0]
            if name.endswith(ending) and not name.startswith(".") and app not in apps:
                path = folder / name
                diff = unified("", _text(path), name) or f"--- /dev/null\n+++ {path}\n(an empty file)"
                yield _drift(app, stage, Difference(str(path), DifferenceKind.EXTRA, diff))


def _drift(app: str, stage: StageName, difference: Difference) -> Drift:
    return Drift(app, stage, difference.path, difference.kind, difference.diff)


def _order(stage: StageName) -> int:
    return list(StageName).index(stage)


def _names(folder: Path) -> list[str]:
    try:
        return sorted(path.name for path in folder.iterdir())
    except FileNotFoundError:
        return []


def _text(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return file.read(READ_LIMIT_BYTES).decode("utf-8", "replace")
    except OSError as error:
        return f"(it cannot be read: {error.strerror})"
