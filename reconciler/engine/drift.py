"""Drift: what on this host is not as it was applied. Reads the journal and the disk, not git or the network."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from reconciler.host.contents import Output, output_of
from reconciler.host.files import TEMPORARY_PREFIX
from reconciler.host.journal import Journal
from reconciler.host.layout import Layout
from reconciler.host.observing import Observer
from reconciler.host.owners import account_name, changed_at
from reconciler.model.diffs import unified
from reconciler.model.stage import (
    STORED,
    AppliedApp,
    AppliedApps,
    Difference,
    DifferenceKind,
    StageName,
)
from reconciler.model.times import iso_time
from reconciler.stages import STAGES

READ_LIMIT_BYTES = 64 * 1024
"""How much of a file that nobody applied is shown."""


@dataclass(frozen=True, slots=True)
class Drift:
    """One difference, with the app and the stage that it belongs to; ``app`` is empty for an output of nobody's."""

    app: str
    stage: StageName
    difference: Difference

    @property
    def path(self) -> str:
        """Where it is."""
        return self.difference.path

    def as_json(self) -> dict[str, object]:
        """The object that ``drift --json`` prints."""
        return {
            "app": self.app,
            "stage": self.stage.value,
            "path": self.difference.path,
            "kind": self.difference.kind.value,
            "diff": self.difference.diff,
            "owner": self.difference.owner,
            "changed_at": iso_time(self.difference.changed_at),
        }


def find_drift(layout: Layout, journal: Journal) -> tuple[Drift, ...]:
    """Everything on this host that is not as it was applied, by app and stage; looks at every file."""
    observer = Observer(layout)
    applied = journal.applied()
    observer.contents.scan(served_outputs(applied))
    found = [drift for app, stages in applied.items() for drift in drift_of(app, stages, observer)]
    found += [*extra_files(layout, known=applied), *stray_outputs(layout, journal)]
    return tuple(sorted(found, key=lambda drift: (drift.app, _order(drift.stage), drift.path)))


def served_outputs(applied: AppliedApps) -> dict[Output, str]:
    """The outputs of all releases that serve, each with the git tree that it was checked out from, or ``""``."""
    return {
        output_of(name, stage.digest): stage.declared.get("source.tree", "")
        for stages in applied.values()
        for name, stage in stages.items()
        if name in STORED
    }


def drift_of(app: str, applied: AppliedApp, observer: Observer) -> Iterator[Drift]:
    """What differs for one app; costs a few calls of ``stat`` while nothing has changed."""
    for stage in STAGES:
        before = applied.get(stage.name)
        if before is None:
            continue
        for difference in stage.observe(app, before, before, observer).differences:
            yield Drift(app, stage.name, difference)


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
                yield Drift(app, stage, _extra(path, diff))


def stray_outputs(layout: Layout, journal: Journal) -> Iterator[Drift]:
    """Folders and files of the store that no stage made; the next collection that walks takes them away."""
    made = {output_of(stage, digest) for stage, digest in journal.made_outputs()}
    for stage in STORED:
        for name in _names(layout.store / stage):
            if (stage, name) not in made and not name.startswith(TEMPORARY_PREFIX):
                path = layout.store / stage / name
                yield Drift("", stage, _extra(path, f"--- /dev/null\n+++ {path}\n(no stage made it)"))


def _extra(path: Path, diff: str) -> Difference:
    try:
        status = path.lstat()
    except OSError:
        return Difference(str(path), DifferenceKind.EXTRA, diff)
    owner = account_name(status.st_uid)
    return Difference(str(path), DifferenceKind.EXTRA, diff, owner=owner, changed_at=changed_at(status))


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
