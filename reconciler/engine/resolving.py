"""Resolving: from manifests to apps with commits, trees and digests; what nothing moved for stays as it was."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

from reconciler.engine.app_trees import Located, trees_of
from reconciler.engine.config_repository import ConfigRepository
from reconciler.engine.desired import DesiredApp, MadeOutputs, resolve_stages
from reconciler.engine.git_source import GitSource
from reconciler.engine.polling import Polled, refs_of
from reconciler.engine.secret_values import SecretValues
from reconciler.engine.trust import Trust
from reconciler.host.certificates import certificate_there
from reconciler.host.git import Resolved
from reconciler.host.services import Host
from reconciler.model.errors import ReconcilerError
from reconciler.model.manifest import Manifest
from reconciler.model.stage import AppliedApps
from reconciler.stages import Facts


@dataclass(frozen=True, slots=True)
class Ground:
    """What apps are resolved on: the config repository's ``commit``, and the ``revision`` of it that was asked for.

    ``polled`` is what every repository answered, ``applied`` what serves of every app, and ``outputs`` what was ever
    made.
    """

    commit: str
    revision: str | None
    polled: Polled
    applied: AppliedApps
    outputs: MadeOutputs


@dataclass(slots=True)
class _Known:
    """The last answer for one app, and what it was computed from."""

    basis: tuple[object, ...]
    app: DesiredApp


@dataclass(slots=True)
class Resolving:
    """Resolves the apps of one host, and keeps its answers as long as what they were computed from stays the same."""

    host: Host
    repository: ConfigRepository
    secrets: SecretValues
    trust: Trust
    _known: dict[str, _Known] = field(default_factory=dict)

    def resolve(
        self, manifests: Iterable[Manifest], ground: Ground
    ) -> tuple[dict[str, DesiredApp], dict[str, ReconcilerError]]:
        """The apps of these manifests, and why there is none of the others, both by name."""
        failed: dict[str, ReconcilerError] = {}
        located: list[Located] = []
        for manifest in manifests:
            try:
                located.append(self._located(manifest, ground))
            except ReconcilerError as error:
                failed[manifest.name] = error
        trees = trees_of(self.host.mirrors.files, located, self.repository.address)
        apps: dict[str, DesiredApp] = {}
        for place in located:
            tree = trees[place.name]
            if isinstance(tree, ReconcilerError):
                failed[place.name] = tree
                continue
            try:
                apps[place.name] = self._resolved(place, tree, ground)
            except ReconcilerError as error:
                failed[place.name] = error
        names = {place.name for place in located}
        self._known = {name: known for name, known in self._known.items() if name in names}
        self.secrets.forget_others()
        return apps, failed

    def address_of(self, manifest: Manifest) -> str:
        """The address of an app's repository."""
        repository = manifest.spec.source.repository
        return self.repository.address if repository == "." else repository

    def may_change(self, manifest: Manifest) -> bool:
        """Whether an app may be another one although nothing moves in git: by its certificate, or a list of keys."""
        tls = manifest.spec.nginx.tls
        awaits = tls is not None and tls.acme and not certificate_there(self.host.layout, manifest)
        return awaits or manifest.spec.source.allowed_signers is not None

    def _located(self, manifest: Manifest, ground: Ground) -> Located:
        address, known = self.address_of(manifest), self._known.get(manifest.name)
        found = self._commit(manifest, address, known, ground)
        signers = manifest.spec.source.allowed_signers
        self.trust.check(address, found, None if signers is None else Path(signers))
        return Located(manifest, address, found.commit, None if known is None else known.app)

    def _commit(self, manifest: Manifest, address: str, known: _Known | None, ground: Ground) -> Resolved:
        source, branch = manifest.spec.source, self.repository.configuration.repository.branch
        if source.repository == "." and source.revision in (None, ground.revision, branch):
            return Resolved(ground.commit, None)
        refs = refs_of(ground.polled, address)
        wanted = source.revision or "main"
        # an exact commit that was resolved before cannot mean anything else now
        if known is not None and known.app.commit == wanted:
            return Resolved(wanted, None)
        return self.host.mirrors.revisions.resolve(address, wanted, refs)

    def _resolved(self, place: Located, tree: str, ground: Ground) -> DesiredApp:
        manifest, applied = place.manifest, ground.applied.get(place.name, {})
        # a site template lives in the config repository, so that its commit counts for apps that have one
        template_commit = ground.commit if manifest.spec.nginx.template else ""
        digests = tuple(stage.digest for stage in applied.values())
        secret_files = self.secrets.object_ids(ground.commit, manifest)
        # a certificate that ACME has given since is served
        served = certificate_there(self.host.layout, manifest)
        basis = (manifest, tree, template_commit, digests, secret_files, served)
        known = self._known.get(place.name)
        if known is not None and known.basis == basis:
            if known.app.commit != place.commit:
                known.app = replace(known.app, commit=place.commit)
            return known.app
        facts, stages = resolve_stages(self._facts(place, tree, ground.commit), applied, ground.outputs)
        app = DesiredApp(manifest, place.commit, facts, stages)
        self._known[place.name] = _Known(basis, app)
        return app

    def _facts(self, place: Located, tree: str, config_commit: str) -> Facts:
        """What the stages of an app may look at."""
        files, spec = self.host.mirrors.files, place.manifest.spec.source
        submodules = files.submodules(place.address, place.commit, spec.directory) if spec.submodules else {}
        source = GitSource(files, place.address, place.commit, tree, submodules)
        template: Callable[[str], str | None] = partial(self.repository.template, config_commit)
        secrets = self.secrets.values(config_commit, place.manifest)
        return Facts(place.manifest, source, place.address, self.host, template, secrets)
