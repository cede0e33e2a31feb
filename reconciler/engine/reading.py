"""From git to desired apps: poll, fetch what moved, read the manifests, resolve every app. Caches the rest."""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

from reconciler.engine.config_repository import Accepted, ConfigRepository, held_apps
from reconciler.engine.desired import DesiredApp, MadeOutputs, resolve_stages
from reconciler.engine.git_source import GitSource
from reconciler.engine.polling import Polled, Polls, refs_of
from reconciler.engine.secret_values import SecretValues
from reconciler.engine.trust import Trust
from reconciler.host.certificates import certificate_there
from reconciler.host.git import Resolved, masked
from reconciler.host.journal import Journal
from reconciler.host.services import Host
from reconciler.model.configuration import Configuration
from reconciler.model.errors import ManifestError, ReconcilerError, RevisionNotFound
from reconciler.model.manifest import Manifest
from reconciler.model.object_ids import short
from reconciler.model.repositories import Trouble
from reconciler.model.stage import AppliedStage, StageName
from reconciler.stages import Facts

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


@dataclass(frozen=True, slots=True)
class _Basis:
    """What desired state was read from: the last two are objects that never change."""

    commit: str
    revision: str | None
    polled: Polled
    manifests: object
    applied: object

    def is_same(self, other: _Basis) -> bool:
        """Whether both lead to the same desired state."""
        same = self.manifests is other.manifests and self.applied is other.applied
        return same and (self.commit, self.revision, self.polled) == (other.commit, other.revision, other.polled)


@dataclass(frozen=True, slots=True)
class Places:
    """Files of the host that agent.yaml names."""

    age_key: Path = Path("age.key")
    allowed_signers: Path | None = None


@dataclass(slots=True)
class Reader:
    """Reads desired state; keeps what it has read as long as nothing moved."""

    configuration: Configuration
    host: Host
    journal: Journal
    config_address: str
    labels: Mapping[str, str]
    places: Places = Places()
    repository: ConfigRepository = field(init=False)
    secrets: SecretValues = field(init=False)
    trust: Trust = field(init=False)
    polls: Polls = field(init=False)
    _resolved: dict[str, _Resolved] = field(default_factory=dict)
    _addresses: frozenset[str] = frozenset()
    _last: tuple[_Basis, Desired] | None = None

    def __post_init__(self) -> None:
        self.repository = ConfigRepository(
            self.configuration, self.host.mirrors, self.journal, self.config_address, self.labels
        )
        self.trust = Trust(self.host.mirrors.revisions, self.host.layout)
        self.polls = Polls(self.host.mirrors, self.configuration.repository.interval.total_seconds())
        self.secrets = SecretValues(self.host.mirrors.files, self.config_address, self.places.age_key)

    @property
    def fresh(self) -> bool:
        """Whether nothing has been read yet."""
        return self.repository.fresh

    @property
    def troubles(self) -> tuple[Trouble, ...]:
        """The repositories that do not answer, of those that this host needs."""
        return self.polls.troubles({self.config_address, *self._addresses})

    def read(
        self,
        applied: Mapping[str, Mapping[StageName, AppliedStage]],
        outputs: MadeOutputs,
        revision: str | None = None,
        *,
        ahead: Polled | None = None,
    ) -> Desired:
        """Poll every repository once, and return what git asks for; ``ahead`` has what was polled already.

        ``revision`` is a commit, branch or tag of the config repository to look at in place of the configured branch.
        Raises a :class:`ReconcilerError` when the config repository itself cannot be read: then nothing is known, and
        nothing may be done.
        """
        polled = dict(ahead or {})
        # what the last pass needed is polled at once, side by side with the config repository
        polled |= self.polls.poll({self.config_address, *self._addresses} - polled.keys())
        polled = self.polls.fetch(polled)
        commit = self.repository.commit(refs_of(polled, self.config_address), revision)
        if revision is None:
            # a person may plan what is not signed yet; it is deployed only when it is
            self.trust.check(self.config_address, Resolved(commit, None), self.places.allowed_signers)
        manifests = self.repository.manifests(commit)
        placed = [entry.manifest for entry in manifests.manifests if entry.manifest.placed_on(self.labels)]
        addresses = {self._address(manifest) for manifest in placed}
        polled |= self.polls.fetch(self.polls.poll(addresses - polled.keys()))
        self._addresses = frozenset(addresses - {self.config_address})
        basis = _Basis(commit, revision, {address: polled[address] for address in addresses}, manifests, applied)
        if self._last is not None and self._last[0].is_same(basis):
            return self._last[1]
        held: dict[str, ReconcilerError] = {
            app: ManifestError(tuple(problems), hint=MANIFEST_HINT)
            for app, problems in held_apps(manifests, applied).items()
        }
        apps, failed = self._resolve_all(placed, polled, commit, revision, applied, outputs)
        problems = tuple(str(problem) for problem in manifests.problems)
        desired = Desired(commit, apps, held | failed, problems, self.repository.unreadable)
        # an error may pass by itself, a list of signers change, and a certificate arrive
        lasts = not failed and not any(self._may_change(manifest) for manifest in placed)
        self._last = (basis, desired) if lasts else None
        return desired

    def accept(self, revision: str) -> Accepted:
        """Accept that the branch of the config repository was rewritten, and is at ``revision`` now."""
        polled = self.polls.fetch(self.polls.poll({self.config_address}))
        return self.repository.accept(refs_of(polled, self.config_address), revision)

    def _may_change(self, manifest: Manifest) -> bool:
        tls = manifest.spec.nginx.tls
        awaits = tls is not None and tls.acme and not certificate_there(self.host.layout, manifest)
        return awaits or manifest.spec.source.allowed_signers is not None

    def _address(self, manifest: Manifest) -> str:
        repository = manifest.spec.source.repository
        return self.config_address if repository == "." else repository

    def _resolve_all(
        self,
        manifests: list[Manifest],
        polled: Polled,
        config_commit: str,
        revision: str | None,
        applied: Mapping[str, Mapping[StageName, AppliedStage]],
        outputs: MadeOutputs,
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
        self.secrets.forget_others()
        return apps, failed

    def _commit(
        self,
        manifest: Manifest,
        polled: Polled,
        config_commit: str,
        revision: str | None,
    ) -> str:
        found = self._resolved_commit(manifest, polled, config_commit, revision)
        signers = manifest.spec.source.allowed_signers
        self.trust.check(self._address(manifest), found, None if signers is None else Path(signers))
        return found.commit

    def _resolved_commit(
        self, manifest: Manifest, polled: Polled, config_commit: str, revision: str | None
    ) -> Resolved:
        source = manifest.spec.source
        address = self._address(manifest)
        if source.repository == "." and source.revision in (None, revision, self.configuration.repository.branch):
            return Resolved(config_commit, None)
        known = self._resolved.get(manifest.name)
        refs = refs_of(polled, address)
        wanted = source.revision or "main"
        # an exact commit that was resolved before cannot mean anything else now
        if known is not None and known.app.commit == wanted:
            return Resolved(wanted, None)
        return self.host.mirrors.revisions.resolve(address, wanted, refs)

    def _trees(
        self, manifests: list[Manifest], commits: Mapping[str, str], failed: dict[str, ReconcilerError]
    ) -> dict[str, str]:
        """The tree of every app's folder, with one git process per repository."""
        found: dict[str, str] = {}
        wanted: dict[str, list[Manifest]] = {}
        for manifest in manifests:
            known = self._resolved.get(manifest.name)
            same = known is not None and (known.app.manifest is manifest or known.app.manifest == manifest)
            if known is not None and same and known.app.commit == commits[manifest.name]:
                found[manifest.name] = known.app.facts.source.tree
            else:
                wanted.setdefault(self._address(manifest), []).append(manifest)
        for address, group in wanted.items():
            kept = self._trees_kept(address, group, commits)
            found |= kept
            wanted[address] = [manifest for manifest in group if manifest.name not in kept]
        for address, group in wanted.items():
            if not group:
                continue
            places = {m.name: (commits[m.name], m.spec.source.directory) for m in group}
            trees = self.host.mirrors.files.trees(address, list(set(places.values())))
            for name, place in places.items():
                tree = trees[place]
                if tree is None:
                    failed[name] = RevisionNotFound(
                        f"{masked(address)} has no folder {place[1]} at {short(place[0])}",
                        hint="correct spec.source.directory, or commit the folder",
                    )
                else:
                    found[name] = tree
        return found

    def _trees_kept(self, address: str, group: list[Manifest], commits: Mapping[str, str]) -> dict[str, str]:
        """The trees of apps whose commit moved, as far as what moved between the two commits says them.

        In a repository of many apps a commit touches one folder; to ask for the folders of all of them would cost
        more than everything else.
        """
        steps: dict[tuple[str, str], list[tuple[Manifest, str]]] = {}
        for manifest in group:
            known, source = self._resolved.get(manifest.name), manifest.spec.source
            # git does not list the root among what moved
            folder = posixpath.normpath(source.directory) != "."
            if known is not None and folder and known.app.manifest.spec.source == source:
                step = known.app.commit, commits[manifest.name]
                steps.setdefault(step, []).append((manifest, known.app.facts.source.tree))
        # what moved for the manifests is read already; another step is worth a process where it serves many
        (older, commit), apps = max(steps.items(), key=lambda item: len(item[1]), default=(("", ""), []))
        if not apps or (len(apps) == 1 and address != self.config_address):
            return {}
        moved = self.host.mirrors.files.moved(address, older, commit)
        if moved is None:
            return {}
        found: dict[str, str] = {}
        places: dict[tuple[str, str], str] = {}
        for manifest, tree in apps:
            directory = manifest.spec.source.directory
            path = posixpath.normpath(directory)
            if path not in moved:
                found[manifest.name] = tree
            elif (entry := moved[path]) is not None and entry.kind == "tree":
                found[manifest.name] = places[commit, directory] = entry.object_id
        self.host.mirrors.files.note_trees(address, places)
        return found

    def _resolve(
        self,
        manifest: Manifest,
        commit: str,
        tree: str,
        config_commit: str,
        applied: Mapping[StageName, AppliedStage],
        outputs: MadeOutputs,
    ) -> DesiredApp:
        # a site template lives in the config repository, so that its commit counts for apps that have one
        template_commit = config_commit if manifest.spec.nginx.template else ""
        digests = tuple(stage.digest for stage in applied.values())
        known = self._resolved.get(manifest.name)
        secret_files = self.secrets.object_ids(config_commit, manifest)
        # a certificate that ACME has given since is served
        served = certificate_there(self.host.layout, manifest)
        basis = (manifest, tree, template_commit, digests, secret_files, served)
        if known is not None and known.basis == basis:
            if known.app.commit != commit:
                known.app = replace(known.app, commit=commit)
            return known.app
        address = self._address(manifest)
        spec = manifest.spec.source
        submodules = self.host.mirrors.files.submodules(address, commit, spec.directory) if spec.submodules else {}
        source = GitSource(self.host.mirrors.files, address, commit, tree, submodules)
        template: Callable[[str], str | None] = partial(self.repository.template, config_commit)
        secrets = self.secrets.values(config_commit, manifest)
        facts = Facts(manifest, source, address, self.host, template, secrets)
        facts, stages = resolve_stages(facts, applied, outputs)
        app = DesiredApp(manifest, commit, facts, stages)
        self._resolved[manifest.name] = _Resolved(basis, app)
        return app
