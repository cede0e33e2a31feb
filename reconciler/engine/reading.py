"""From git to desired state: poll, fetch what moved, read the manifests, resolve every app. Caches the rest."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from reconciler.engine.config_repository import Accepted, ConfigRepository, held_apps
from reconciler.engine.desired import Desired, MadeOutputs
from reconciler.engine.polling import Polled, Polls, refs_of
from reconciler.engine.resolving import Ground, Resolving
from reconciler.engine.secret_values import SecretValues
from reconciler.engine.trust import Trust
from reconciler.host.git import Resolved
from reconciler.host.journal import Journal
from reconciler.host.services import Host
from reconciler.model.configuration import Configuration
from reconciler.model.errors import ManifestError, ReconcilerError
from reconciler.model.repositories import Trouble
from reconciler.model.stage import AppliedApps

MANIFEST_HINT = "correct the manifest and commit; `reconciler validate DIR` checks it beforehand"


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
    trust: Trust = field(init=False)
    polls: Polls = field(init=False)
    resolving: Resolving = field(init=False)
    _addresses: frozenset[str] = frozenset()
    _last: tuple[_Basis, Desired] | None = None

    def __post_init__(self) -> None:
        self.repository = ConfigRepository(
            self.configuration, self.host.mirrors, self.journal, self.config_address, self.labels
        )
        self.trust = Trust(self.host.mirrors.revisions, self.host.layout)
        self.polls = Polls(self.host.mirrors, self.configuration.repository.interval.total_seconds())
        secrets = SecretValues(self.host.mirrors.files, self.config_address, self.places.age_key)
        self.resolving = Resolving(self.host, self.repository, secrets, self.trust)

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
        applied: AppliedApps,
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
        addresses = {self.resolving.address_of(manifest) for manifest in placed}
        polled |= self.polls.fetch(self.polls.poll(addresses - polled.keys()))
        self._addresses = frozenset(addresses - {self.config_address})
        basis = _Basis(commit, revision, {address: polled[address] for address in addresses}, manifests, applied)
        if self._last is not None and self._last[0].is_same(basis):
            return self._last[1]
        held: dict[str, ReconcilerError] = {
            app: ManifestError(tuple(problems), hint=MANIFEST_HINT)
            for app, problems in held_apps(manifests, applied).items()
        }
        apps, failed = self.resolving.resolve(placed, Ground(commit, revision, polled, applied, outputs))
        problems = tuple(str(problem) for problem in manifests.problems)
        desired = Desired(commit, apps, held | failed, problems, self.repository.unreadable)
        # an error may pass by itself, a list of signers change, and a certificate arrive
        lasts = not failed and not any(self.resolving.may_change(manifest) for manifest in placed)
        self._last = (basis, desired) if lasts else None
        return desired

    def accept(self, revision: str) -> Accepted:
        """Accept that the branch of the config repository was rewritten, and is at ``revision`` now."""
        polled = self.polls.fetch(self.polls.poll({self.config_address}))
        return self.repository.accept(refs_of(polled, self.config_address), revision)
