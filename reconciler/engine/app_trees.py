"""The git trees of the folders of apps: one process of git for a repository, however many apps it has."""

from __future__ import annotations

import posixpath
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from reconciler.engine.desired import DesiredApp
from reconciler.host.git import RepositoryFiles, masked
from reconciler.model.errors import ReconcilerError, RevisionNotFound
from reconciler.model.manifest import Manifest
from reconciler.model.object_ids import short


@dataclass(frozen=True, slots=True)
class Located:
    """An app at the commit of its repository that is wanted; ``known`` is what it was resolved to last."""

    manifest: Manifest
    address: str
    commit: str
    known: DesiredApp | None

    @property
    def name(self) -> str:
        """The app's name."""
        return self.manifest.name

    @property
    def place(self) -> tuple[str, str]:
        """The commit and the folder."""
        return self.commit, self.manifest.spec.source.directory

    @property
    def known_tree(self) -> str | None:
        """The tree of its folder, where it was resolved at this very commit, from an equal manifest."""
        known = self.known
        if known is None or known.commit != self.commit:
            return None
        same = known.manifest is self.manifest or known.manifest == self.manifest
        return known.facts.source.tree if same else None


def trees_of(
    files: RepositoryFiles, apps: Iterable[Located], config_address: str
) -> dict[str, str | ReconcilerError]:
    """The tree of every app's folder, by the app's name, or why there is none."""
    found: dict[str, str | ReconcilerError] = {}
    wanted: dict[str, list[Located]] = {}
    for app in apps:
        if (tree := app.known_tree) is not None:
            found[app.name] = tree
        else:
            wanted.setdefault(app.address, []).append(app)
    for address, group in wanted.items():
        try:
            found |= _trees_kept(files, address, group, alone=address != config_address)
            found |= _trees_read(files, address, [app for app in group if app.name not in found])
        except ReconcilerError as error:
            # such as a mirror that is damaged, while its server is away: the apps of others go on
            found |= {app.name: error for app in group if app.name not in found}
    return found


def _trees_read(files: RepositoryFiles, address: str, group: Sequence[Located]) -> dict[str, str | ReconcilerError]:
    if not group:
        return {}
    trees = files.trees(address, list({app.place for app in group}))
    return {app.name: trees[app.place] or _no_folder(app) for app in group}


def _no_folder(app: Located) -> RevisionNotFound:
    commit, directory = app.place
    return RevisionNotFound(
        f"{masked(app.address)} has no folder {directory} at {short(commit)}",
        hint="correct spec.source.directory, or commit the folder",
    )


def _trees_kept(files: RepositoryFiles, address: str, group: Sequence[Located], *, alone: bool) -> dict[str, str]:
    """The trees of apps whose commit moved, as far as what moved between the two commits says them.

    In a repository of many apps a commit touches one folder; to ask for the folders of all of them would cost more
    than everything else. What moved is read already where the manifests are (not ``alone``); for another step it is
    worth a process where it serves many.
    """
    steps: dict[tuple[str, str], list[tuple[Located, str]]] = {}
    for app in group:
        known, source = app.known, app.manifest.spec.source
        # git does not list the root among what moved
        folder = posixpath.normpath(source.directory) != "."
        if known is not None and folder and known.manifest.spec.source == source:
            steps.setdefault((known.commit, app.commit), []).append((app, known.facts.source.tree))
    (older, commit), apps = max(steps.items(), key=lambda item: len(item[1]), default=(("", ""), []))
    if not apps or (len(apps) == 1 and alone):
        return {}
    moved = files.moved(address, older, commit)
    if moved is None:
        return {}
    found: dict[str, str] = {}
    places: dict[tuple[str, str], str] = {}
    for app, tree in apps:
        path = posixpath.normpath(app.manifest.spec.source.directory)
        if path not in moved:
            found[app.name] = tree
        elif (entry := moved[path]) is not None and entry.kind == "tree":
            found[app.name] = places[app.place] = entry.object_id
    files.note_trees(address, places)
    return found
