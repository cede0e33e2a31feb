"""The config repository: the commit to deploy, its manifests and its templates, read from the mirror."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from reconciler.host.git import Mirrors, RemoteRefs
from reconciler.host.journal import EventRecord, Journal
from reconciler.model.configuration import Configuration
from reconciler.model.errors import HistoryRewritten, ManifestError, Problem, RevisionNotFound, UsageError
from reconciler.model.object_ids import short
from reconciler.model.printable import one_line

if TYPE_CHECKING:
    from reconciler.model.manifest_reading import FileReading, ManifestSet

MANIFEST_LIMIT_BYTES = 1024 * 1024
MANIFEST_FILES = 10_000
MANIFESTS_BYTES = 64 * 1024 * 1024
"""All manifests together."""
MANIFEST_ENDINGS = (".yaml", ".yml")
TEMPLATES_FOLDER = "templates"


NO_APP = ""
"""The app of events that are about the config repository."""


@dataclass(frozen=True, slots=True)
class Accepted:
    """A rewritten history that a person accepted; ``vanished`` are the commits that ``commit`` lacks."""

    before: str
    commit: str
    vanished: tuple[str, ...]


@dataclass(slots=True)
class ConfigRepository:
    """Reads one config repository; a file that has not changed is not read again."""

    configuration: Configuration
    mirrors: Mirrors
    journal: Journal
    address: str
    labels: Mapping[str, str]
    _files: dict[tuple[str, str], FileReading] = field(default_factory=dict)
    _manifests: tuple[str, ManifestSet] | None = None
    _present: frozenset[tuple[str, str]] = frozenset()

    def commit(self, refs: RemoteRefs, revision: str | None) -> str:
        """The commit to deploy, or the one that ``revision`` names.

        Raises :class:`HistoryRewritten` when the branch no longer contains what was deployed before.
        """
        if revision is not None:
            return self.mirrors.revisions.resolve(self.address, revision, refs).commit
        repository = self.configuration.repository
        commit = self.mirrors.revisions.resolve(self.address, repository.branch, refs).commit
        before = self.journal.setting(_head_setting(self.address, repository.branch))
        if before in (None, commit) or not repository.fast_forward_only:
            return commit
        if not self.mirrors.revisions.is_ancestor(self.address, before or "", commit):
            gone = self.mirrors.revisions.vanished(self.address, before or "", commit)
            raise HistoryRewritten(
                f"branch {repository.branch} of the config repository was rewritten: {short(commit)} does not "
                f"contain {short(before or '')}, which was deployed"
                + (f"; vanished: {'; '.join(gone)}" if gone else ""),
                vanished=gone,
                hint=f"push the old history again, or accept the new one with `reconciler accept {commit[:12]}`",
            )
        return commit

    def accept(self, refs: RemoteRefs, revision: str) -> Accepted:
        """Take the branch, which must be at ``revision`` now, for the history that was deployed.

        Raises :class:`UsageError` when it is elsewhere, and when nothing was rewritten.
        """
        branch = self.configuration.repository.branch
        commit = self.mirrors.revisions.resolve(self.address, branch, refs).commit
        if self.mirrors.revisions.resolve(self.address, revision, refs).commit != commit:
            raise UsageError(
                f"branch {branch} of the config repository is at {commit[:12]}, and not at {revision}",
                hint=f"look at it with `reconciler plan --revision {commit[:12]}`, then accept that",
            )
        before = self.journal.setting(_head_setting(self.address, branch))
        if before is None or before == commit or self.mirrors.revisions.is_ancestor(self.address, before, commit):
            raise UsageError(f"branch {branch} was not rewritten, so that there is nothing to accept")
        vanished = self.mirrors.revisions.vanished(self.address, before, commit)
        self.remember(commit)
        message = f"a person accepted the rewritten branch {branch} at {short(commit)}, in place of {short(before)}"
        event = EventRecord(NO_APP, "history_accepted", message, time.time(), {"vanished": list(vanished)})
        self.journal.record_event(event)
        return Accepted(before, commit, vanished)

    def record_rewritten(self, error: HistoryRewritten) -> None:
        """Remember as an event, once, which commits vanished."""
        setting = f"rewritten {self.address} {self.configuration.repository.branch}"
        if self.journal.setting(setting) != str(error):
            detail = {"vanished": list(error.vanished)}
            self.journal.record_event(EventRecord(NO_APP, "history_rewritten", str(error), time.time(), detail))
            self.journal.record_setting(setting, str(error))

    def remember(self, commit: str) -> None:
        """Remember the commit that was deployed, so that a rewritten branch is noticed."""
        branch = self.configuration.repository.branch
        self.journal.record_setting(_head_setting(self.address, branch), commit)

    def manifests(self, commit: str) -> ManifestSet:
        """What all manifests at a commit say."""
        if self._manifests is not None and self._manifests[0] == commit:
            return self._manifests[1]
        present = self._present_after(commit)
        if present is None:
            present = self._present_at(commit)
        elif present == self._present and self._manifests is not None:
            self._manifests = commit, self._manifests[1]
            return self._manifests[1]
        if len(present) > MANIFEST_FILES:
            raise self._too_much(f"{len(present):,} manifests, and {MANIFEST_FILES:,} are the limit")
        from reconciler.model.manifest_reading import combine  # noqa: PLC0415  60 ms: a settled pass reads none

        known = {name: reading for name, reading in self._files.items() if name in present}
        self._files = known | self._read_files(sorted(present - known.keys()))
        port, tls_port = self._one_port
        readings = [self._files[name] for name in sorted(present)]
        manifests = combine(readings, port=port, tls_port=tls_port, labels=self.labels)
        self._manifests, self._present = (commit, manifests), present
        return manifests

    def _present_after(self, commit: str) -> frozenset[tuple[str, str]] | None:
        """The manifest files, as path and object id, by what moved since they were read; ``None``: look at all."""
        folder = PurePosixPath(self.configuration.repository.path)
        if self._manifests is None:
            return None
        moved = self.mirrors.files.moved(self.address, self._manifests[0], commit)
        above = {str(place) for place in (folder, *folder.parents)}
        if moved is None or any(
            (entry := moved[path]) is None or entry.kind != "tree" for path in above & moved.keys()
        ):
            return None
        inside = {path: entry for path, entry in moved.items() if folder in PurePosixPath(path).parents}
        kept = {known for known in self._present if known[0] not in inside}
        news = {
            (path, entry.object_id)
            for path, entry in inside.items()
            if entry is not None and entry.kind == "blob" and path.endswith(MANIFEST_ENDINGS)
        }
        return frozenset(kept | news)

    def _present_at(self, commit: str) -> frozenset[tuple[str, str]]:
        folder = self.configuration.repository.path
        if self.mirrors.files.trees(self.address, [(commit, folder)])[commit, folder] is None:
            # git keeps no empty folder, but one that is gone is more often a mistake than the wish for no app
            raise RevisionNotFound(
                f"the config repository has no folder {folder} at {short(commit)}, so its manifests are not known",
                hint="commit the folder (an empty file in it will do), or correct repository.path in agent.yaml",
            )
        entries = self.mirrors.files.entries(self.address, commit, folder)
        return frozenset(
            (str(PurePosixPath(folder) / entry.path), entry.object_id)
            for entry in entries
            if entry.kind == "blob" and entry.path.endswith(MANIFEST_ENDINGS)
        )

    def _read_files(self, files: list[tuple[str, str]]) -> dict[tuple[str, str], FileReading]:
        """What files, given as path and object id, say; one that is too large is not even fetched from the mirror."""
        from reconciler.model.manifest_reading import read_manifest_file  # noqa: PLC0415  as above

        sizes = self.mirrors.files.sizes(self.address, [object_id for _, object_id in files])
        total = sum(sizes[object_id] for _, object_id in files if sizes[object_id] <= MANIFEST_LIMIT_BYTES)
        if total > MANIFESTS_BYTES:
            raise self._too_much(f"{total:,} bytes of manifests, and {MANIFESTS_BYTES:,} are the limit")
        small = [object_id for object_id, size in sizes.items() if size <= MANIFEST_LIMIT_BYTES]
        allowed = self.configuration.allow.uwsgi_options
        contents = self.mirrors.files.blobs(self.address, small, limit_bytes=MANIFEST_LIMIT_BYTES)
        return {
            (path, object_id): read_manifest_file(one_line(path), contents[object_id], allowed)
            if object_id in contents
            else _too_large(one_line(path), sizes[object_id])
            for path, object_id in files
        }

    def _too_much(self, what: str) -> ManifestError:
        folder = self.configuration.repository.path
        return ManifestError(
            (Problem(folder, 0, "", f"the folder holds {what}"),), hint="spread them over several config repositories"
        )

    @property
    def _one_port(self) -> tuple[int | None, int | None]:
        """The ports that serve all apps, for HTTP and for HTTPS, where the profile has one for all."""
        http = self.configuration.http
        return (http.port, http.tls_port) if self.configuration.profile == "embedded" else (None, None)

    @property
    def fresh(self) -> bool:
        """Whether no manifest has been read yet."""
        return self._manifests is None

    @property
    def unreadable(self) -> tuple[str, ...]:
        """The files of the last reading that may describe any app."""
        return tuple(one_line(path) for (path, _), reading in self._files.items() if reading.unnamed)

    def template(self, commit: str, name: str) -> str | None:
        """A file of the folder ``templates/``; ``None`` when there is none of that name."""
        folder, _, file = f"{TEMPLATES_FOLDER}/{name}".rpartition("/")
        try:
            entries = self.mirrors.files.entries(self.address, commit, folder, recursive=False)
        except RevisionNotFound:
            return None
        for entry in entries:
            if entry.path.rpartition("/")[2] == file and entry.kind == "blob" and entry.mode != "120000":
                blobs = self.mirrors.files.blobs(self.address, [entry.object_id], limit_bytes=MANIFEST_LIMIT_BYTES)
                return blobs[entry.object_id].decode("utf-8", "replace")
        return None


def held_apps(manifests: ManifestSet, applied: Iterable[str]) -> dict[str, list[Problem]]:
    """The problems of every app that a mistake is about. A file that is beyond reading is about the app that has
    its name, where there is one on this host that no other file describes.
    """
    held = {app: list(problems) for app, problems in manifests.held.items()}
    missing = set(applied) - held.keys() - {entry.manifest.name for entry in manifests.manifests}
    for problem in manifests.problems:
        app = PurePosixPath(problem.file).stem
        if problem.app is None and app in missing:
            held.setdefault(app, []).append(problem)
    return held


def _too_large(path: str, size: int) -> FileReading:
    from reconciler.model.manifest_reading import FileReading  # noqa: PLC0415  as above

    message = f"the file has {size:,} bytes, and {MANIFEST_LIMIT_BYTES:,} are the limit"
    return FileReading(path, problems=(Problem(path, 0, "", message),), unnamed=True)


def _head_setting(address: str, branch: str) -> str:
    return f"head {address} {branch}"
