"""What stays on this host: what serves, what git asks for, and the releases that are kept for going back."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from reconciler.engine.recording import quarantine_key
from reconciler.engine.retention import NEVER_SERVED, Output, Retained, outputs_of, retained_releases
from reconciler.host.journal import AppRecord, Journal, ReleaseState
from reconciler.model.stage import STORED, AppliedApp, StageName

if TYPE_CHECKING:
    from reconciler.engine.desired import Desired, DesiredApp

HISTORY_READ = 5_000
"""How many verified attempts for one app are looked at; a release may be verified many times."""


@dataclass(frozen=True, slots=True)
class KeptOf:
    """What stays of one app: ``needed`` outputs, that serve or are asked for, and ``retained`` releases, which could.

    ``releases`` are the ids of those that serve or are asked for.
    """

    needed: frozenset[Output] = frozenset()
    retained: tuple[Retained, ...] = ()
    releases: frozenset[str] = frozenset()

    @property
    def outputs(self) -> frozenset[Output]:
        """All outputs that stay."""
        return self.needed.union(*(release.outputs for release in self.retained))

    @property
    def static(self) -> frozenset[Output]:
        """The static outputs that stay."""
        return frozenset(output for output in self.outputs if output[0] is StageName.STATIC)


@dataclass(frozen=True, slots=True)
class Keeping:
    """Finds out what stays of each app when git asks for ``desired``.

    ``linked`` tells the release that an app's public link leads to. ``under_way`` are apps that are being deployed,
    perhaps as git asked for them before.
    """

    journal: Journal
    desired: Desired
    linked: Callable[[str], str | None]
    under_way: tuple[DesiredApp, ...] = ()

    def everything(self) -> dict[str, KeptOf]:
        """What stays of every app that anything is known of."""
        records, applied = self.journal.apps(), self.journal.applied()
        names = {*records, *applied, *self.desired.apps, *(app.name for app in self.under_way)}
        found = {name: self._of(name, records.get(name), applied.get(name)) for name in sorted(names)}
        return {name: kept for name, kept in found.items() if kept != KeptOf()}

    def of(self, name: str) -> KeptOf:
        """What stays of one app."""
        return self._of(name, self.journal.app(name), self.journal.applied_of(name) or None)

    def _of(self, name: str, record: AppRecord | None, applied: AppliedApp | None) -> KeptOf:
        needed: set[Output] = set()
        retained: list[Retained] = []
        releases = {record.release} if record is not None and record.release else set()
        app = self.desired.apps.get(name)
        if applied is not None:
            needed |= _outputs(applied)
            history = self.journal.releases(name, HISTORY_READ, state=ReleaseState.VERIFIED)
            # of an app whose manifest cannot be read nobody knows how many to keep: all that were kept so far
            retain = app.manifest.spec.retain if app is not None else len(history)
            retained += retained_releases(history, record.release if record is not None else None, retain)
        for busy in self.under_way:
            if busy.name == name:
                releases.add(busy.release)
                needed |= asked_by(busy)
        if app is not None:
            releases.add(app.release)
            # a quarantined release is kept like one that served before: a `retry` finds its outputs again, unless the
            # space is needed
            if record is not None and record.quarantined_key == quarantine_key(app):
                retained.append(Retained(name, app.release, app.commit, NEVER_SERVED, asked_by(app)))
            else:
                needed |= asked_by(app)
        if record is not None and (serving := self.linked(name)) not in (None, record.release):
            # one that failed behind an irreversible hook serves without ever having been verified
            attempts = self.journal.releases(name, HISTORY_READ)
            digests = next((attempt.digests for attempt in attempts if attempt.release == serving), {})
            needed |= outputs_of(digests)
        return KeptOf(frozenset(needed), tuple(retained), frozenset(releases))


def asked_by(app: DesiredApp) -> frozenset[Output]:
    """The outputs that an app needs as git asks for it."""
    return frozenset((stage, digest) for stage, digest in app.digests.items() if stage in STORED)


def _outputs(stages: AppliedApp) -> frozenset[Output]:
    return frozenset((stage, known.digest) for stage, known in stages.items() if stage in STORED)
