"""From git to desired apps: poll, fetch what moved, read the manifests, resolve every app. Caches the rest."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import PurePosixPath

from reconciler.engine.desired import DesiredApp, resolve_stages
from reconciler.engine.git_source import GitSource
from reconciler.host.git import Mirrors, RemoteRefs, masked
from reconciler.host.journal import Journal
from reconciler.host.services import Host
from reconciler.model.configuration import Configuration
from reconciler.model.errors import (
    ConfigurationError,
    HistoryRewritten,
    ManifestError,
    Problem,
    ReconcilerError,
    RevisionNotFound,
)
from reconciler.model.manifest import Manifest
from reconciler.model.manifest_reading import FileReading, ManifestSet, combine, read_manifest_file
from reconciler.model.stage import AppliedStage, StageName
from reconciler.stages import Facts

MANIFEST_LIMIT_BYTES = 1024 * 1024
POLLS_AT_ONCE = 8
MANIFEST_ENDINGS = (".yaml", ".yml")
TEMPLATES_FOLDER = "templates"
MANIFEST_HINT = "correct the manifest and commit; `reconciler validate DIR` checks it beforehand"


@dataclass(frozen=True, slots=True)
class Desired:
    """What git asks of this host. ``held`` are apps that must be left as they are, each with the reason.

    ``unreadable`` are files that may describe any app: while there are some, nothing may be removed.
    """

    revision: str
    apps: Mapping[str, DesiredApp]
    held: Mapping[str, ReconcilerError]
    problems: tuple[str, ...] = ()
    unreadable: tuple[str, ...] = ()


@dataclass(slots=True)
class _Resolved:
    """The last answer for one app, and what it was computed from."""

    basis: tuple[object, ...]
    app: DesiredApp


@dataclass(slots=True)
class Reader:
    """Reads desired state; keeps what it has read as long as nothing moved."""

    configuration: Configuration
    host: Host
    journal: Journal
    config_address: str
    labels: Mapping[str, str]
    _files: dict[tuple[str, str], FileReading] = field(default_factory=dict)
    _manifests: tuple[str, ManifestSet] | None = None
    _resolved: dict[str, _Resolved] = field(default_factory=dict)
    _addresses: frozenset[str] = frozenset()

    def read(
        self,
        applied: Mapping[str, Mapping[StageName, AppliedStage]],
        outputs: Mapping[str, str],
        revision: str | None = None,
    ) -> Desired:
        """Poll every repository once, and return what git asks for.

        ``revision`` is a commit, branch or tag of the config repository to look at in place of the configured branch.
        Raises a :class:`ReconcilerError` when the config repository itself cannot be read: then nothing is known, and
        nothing may be done.
        """
        # what the last pass needed is polled at once, side by side with the config repository
        polled = self._poll({self.config_address, *self._addresses})
        commit = self._config_commit(self._refs(polled, self.config_address), revision)
        manifests = self._read_manifests(commit)
        placed = [entry.manifest for entry in manifests.manifests if entry.manifest.placed_on(self.labels)]
        addresses = {self._address(manifest) for manifest in placed}
        polled |= self._poll(addresses - polled.keys())
        self._addresses = frozenset(addresses - {self.config_address})
        held: dict[str, ReconcilerError] = {
            app: ManifestError(tuple(problems), hint=MANIFEST_HINT)
            for app, problems in self._held(manifests, applied).items()
        }
        apps, failed = self._resolve_all(placed, polled, commit, revision, applied, outputs)
        return Desired(
            commit,
            apps,
            held | failed,
            tuple(str(problem) for problem in manifests.problems),
            tuple(file for (file, _), reading in self._files.items() if reading.unnamed),
        )

    # polling

    def _poll(self, addresses: Iterable[str]) -> dict[str, RemoteRefs | ReconcilerError]:
        wanted = sorted(addresses)
        if len(wanted) == 1:
            return {wanted[0]: self._poll_one(wanted[0])}
        with ThreadPoolExecutor(POLLS_AT_ONCE) as pool:
            return dict(zip(wanted, pool.map(self._poll_one, wanted), strict=True))

    def _poll_one(self, address: str) -> RemoteRefs | ReconcilerError:
        try:
            refs = self._mirrors.poll(address)
            self._mirrors.update(address, refs)
        except ReconcilerError as error:
            return error
        return refs

    @staticmethod
    def _refs(polled: Mapping[str, RemoteRefs | ReconcilerError], address: str) -> RemoteRefs:
        answer = polled[address]
        if isinstance(answer, ReconcilerError):
            raise answer
        return answer

    @property
    def _mirrors(self) -> Mirrors:
        return self.host.mirrors

    # the config repository

    def _config_commit(self, refs: RemoteRefs, revision: str | None) -> str:
        if revision is not None:
            return self._mirrors.resolve(self.config_address, revision, refs).commit
        repository = self.configuration.repository
        commit = self._mirrors.resolve(self.config_address, repository.branch, refs).commit
        before = self.journal.setting(_head_setting(self.config_address, repository.branch))
        if before in (None, commit) or not repository.fast_forward_only:
            return commit
        if not self._mirrors.is_ancestor(self.config_address, before or "", commit):
            gone = self._mirrors.vanished(self.config_address, before or "", commit)
            raise HistoryRewritten(
                f"branch {repository.branch} of the config repository was rewritten: {commit[:7]} does not contain "
                f"{(before or '')[:7]}, which was deployed" + (f"; vanished: {'; '.join(gone)}" if gone else ""),
                hint="push the old history again, or accept the new one with repository.fastForwardOnly: false",
            )
        return commit

    def remember(self, desired: Desired) -> None:
        """Remember the commit that was deployed, so that a rewritten branch is noticed."""
        branch = self.configuration.repository.branch
        self.journal.record_setting(_head_setting(self.config_address, branch), desired.revision)

    def _read_manifests(self, commit: str) -> ManifestSet:
        if self._manifests is not None and self._manifests[0] == commit:
            return self._manifests[1]
        folder = self.configuration.repository.path
        if self._mirrors.trees(self.config_address, [(commit, folder)])[commit, folder] is None:
            # git keeps no empty folder, but one that is gone is more often a mistake than the wish for no app
            raise RevisionNotFound(
                f"the config repository has no folder {folder} at {commit[:7]}, so its manifests are not known",
                hint="commit the folder (an empty file in it will do), or correct repository.path in agent.yaml",
            )
        entries = self._mirrors.entries(self.config_address, commit, folder)
        present = {
            (str(PurePosixPath(folder) / entry.path), entry.object_id)
            for entry in entries
            if entry.kind == "blob" and entry.path.endswith(MANIFEST_ENDINGS)
        }
        known = {name: reading for name, reading in self._files.items() if name in present}
        self._files = known | self._read_files(sorted(present - known.keys()))
        manifests = combine([self._files[name] for name in sorted(present)], port=self._one_port)
        self._manifests = (commit, manifests)
        return manifests

    def _read_files(self, files: list[tuple[str, str]]) -> dict[tuple[str, str], FileReading]:
        """What files, given as path and object id, say; one that is too large is not even fetched from the mirror."""
        sizes = self._mirrors.sizes(self.config_address, [object_id for _, object_id in files])
        small = [object_id for object_id, size in sizes.items() if size <= MANIFEST_LIMIT_BYTES]
        contents = self._mirrors.blobs(self.config_address, small, limit_bytes=MANIFEST_LIMIT_BYTES)
        return {
            (path, object_id): read_manifest_file(path, contents[object_id])
            if object_id in contents
            else _too_large(path, sizes[object_id])
            for path, object_id in files
        }

    @property
    def _one_port(self) -> int | None:
        embedded = self.configuration.profile == "embedded"
        return self.configuration.http.port if embedded else None

    @staticmethod
    def _held(manifests: ManifestSet, applied: Iterable[str]) -> dict[str, list[Problem]]:
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

    def _template(self, commit: str, name: str) -> str | None:
        folder, _, file = f"{TEMPLATES_FOLDER}/{name}".rpartition("/")
        try:
            entries = self._mirrors.entries(self.config_address, commit, folder, recursive=False)
        except RevisionNotFound:
            return None
        for entry in entries:
            if entry.path.rpartition("/")[2] == file and entry.kind == "blob" and entry.mode != "120000":
                blobs = self._mirrors.blobs(self.config_address, [entry.object_id], limit_bytes=MANIFEST_LIMIT_BYTES)
                return blobs[entry.object_id].decode("utf-8", "replace")
        return None

    # the apps

    def _address(self, manifest: Manifest) -> str:
        repository = manifest.spec.source.repository
        return self.config_address if repository == "." else repository

    def _resolve_all(
        self,
        manifests: list[Manifest],
        polled: Mapping[str, RemoteRefs | ReconcilerError],
        config_commit: str,
        revision: str | None,
        applied: Mapping[str, Mapping[StageName, AppliedStage]],
        outputs: Mapping[str, str],
    ) -> tuple[dict[str, DesiredApp], dict[str, ReconcilerError]]:
        failed: dict[str, ReconcilerError] = {}
        commits: dict[str, str] = {}
        for manifest in manifests:
            try:
                commits[manifest.name] = self._commit(manifest, polled, config_commit, revision)
            except ReconcilerError as error:
                failed[manifest.name] = error
        located = [manifest for manifest in manifests if manifest.name in commits]
        trees = self._trees(located, commits, failed)
        apps: dict[str, DesiredApp] = {}
        for manifest in located:
            if manifest.name in failed:
                continue
            try:
                apps[manifest.name] = self._resolve(
                    manifest, commits[manifest.name], trees[manifest.name], config_commit,
                    applied.get(manifest.name, {}), outputs,
                )  # fmt: skip
            except ReconcilerError as error:
                failed[manifest.name] = error
        self._resolved = {name: known for name, known in self._resolved.items() if name in commits}
        return apps, failed

    def _commit(
        self,
        manifest: Manifest,
        polled: Mapping[str, RemoteRefs | ReconcilerError],
        config_commit: str,
        revision: str | None,
    ) -> str:
        source = manifest.spec.source
        address = self._address(manifest)
        if source.repository == "." and source.revision in (None, revision, self.configuration.repository.branch):
            return config_commit
        known = self._resolved.get(manifest.name)
        refs = self._refs(polled, address)
        wanted = source.revision or "main"
        # an exact commit that was resolved before cannot mean anything else now
        if known is not None and known.app.commit == wanted:
            return wanted
        return self._mirrors.resolve(address, wanted, refs).commit

    def _trees(
        self, manifests: list[Manifest], commits: Mapping[str, str], failed: dict[str, ReconcilerError]
    ) -> dict[str, str]:
        """The tree of every app's folder, with one git process per repository."""
        found: dict[str, str] = {}
        wanted: dict[str, list[Manifest]] = {}
        for manifest in manifests:
            known = self._resolved.get(manifest.name)
            if known is not None and known.app.manifest == manifest and known.app.commit == commits[manifest.name]:
                found[manifest.name] = known.app.facts.source.tree
            else:
                wanted.setdefault(self._address(manifest), []).append(manifest)
        for address, group in wanted.items():
            places = {m.name: (commits[m.name], m.spec.source.directory) for m in group}
            trees = self._mirrors.trees(address, list(set(places.values())))
            for name, place in places.items():
                tree = trees[place]
                if tree is None:
                    failed[name] = RevisionNotFound(
                        f"{masked(address)} has no folder {place[1]} at {place[0][:7]}",
                        hint="correct spec.source.directory, or commit the folder",
                    )
                else:
                    found[name] = tree
        return found

    def _resolve(
        self,
        manifest: Manifest,
        commit: str,
        tree: str,
        config_commit: str,
        applied: Mapping[StageName, AppliedStage],
        outputs: Mapping[str, str],
    ) -> DesiredApp:
        # a site template lives in the config repository, so that its commit counts for apps that have one
        template_commit = config_commit if manifest.spec.nginx.template else ""
        digests = tuple(stage.digest for stage in applied.values())
        known = self._resolved.get(manifest.name)
        basis = (manifest, tree, template_commit, digests)
        if known is not None and known.basis == basis:
            if known.app.commit != commit:
                known.app = replace(known.app, commit=commit)
            return known.app
        address = self._address(manifest)
        spec = manifest.spec.source
        submodules = self._mirrors.submodules(address, commit, spec.directory) if spec.submodules else {}
        source = GitSource(self._mirrors, address, commit, spec.directory, tree, submodules)
        template: Callable[[str], str | None] = partial(self._template, config_commit)
        facts, stages = resolve_stages(Facts(manifest, source, address, self.host, template), applied, outputs)
        app = DesiredApp(manifest, commit, facts, stages)
        self._resolved[manifest.name] = _Resolved(basis, app)
        return app


def _too_large(path: str, size: int) -> FileReading:
    message = f"the file has {size:,} bytes, and {MANIFEST_LIMIT_BYTES:,} are the limit"
    return FileReading(path, problems=(Problem(path, 0, "", message),), unnamed=True)


def _head_setting(address: str, branch: str) -> str:
    return f"head {address} {branch}"


def require_repository(configuration: Configuration) -> str:
    """The address of the config repository; an error when the configuration has none."""
    if not configuration.repository.url:
        raise ConfigurationError(
            "agent.yaml has no repository.url", hint="set it to the address of the config repository"
        )
    return configuration.repository.url
