"""What stays on this host: what serves, what git asks for, and the releases that are kept for going back."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from reconciler.engine.recording import quarantine_key
from reconciler.engine.retention import NEVER_SERVED, Output, Retained, outputs_of, retained_releases
from reconciler.host.journal import Journal, ReleaseState
from reconciler.model.stage import STORED, AppliedStage, StageName

if TYPE_CHECKING:
    from reconciler.engine.desired import DesiredApp
    from reconciler.engine.reading import Desired

HISTORY_READ = 5_000
"""How many verified attempts for one app are looked at; a release may be verified many times."""


@dataclass(frozen=True, slots=True)
class Kept:
    """What stays: ``needed`` outputs, that serve or are asked for, and ``retained`` releases, which could.

    ``static`` has the static outputs of every app that stays; ``releases`` are the pairs of app and release that
    serve or are asked for.
    """

    needed: frozenset[Output]
    retained: tuple[Retained, ...]
    static: Mapping[str, frozenset[Output]]
    releases: frozenset[tuple[str, str]]

    @property
    def outputs(self) -> frozenset[Output]:
        """All outputs that stay."""
        return self.needed.union(*(release.outputs for release in self.retained))


def kept_for(
    journal: Journal, desired: Desired, linked: Mapping[str, str], under_way: Iterable[DesiredApp] = ()
) -> Kept:
    """What stays when git asks for ``desired``; ``linked`` has the release that each app's public link leads to.

    ``under_way`` are apps that are being deployed, perhaps as git asked for them before.

    A quarantined release is kept like one that served before: a ``retry`` finds its outputs again, unless the space
    is needed.
    """
    records, applied = journal.apps(), journal.applied()
    releases = {(name, record.release) for name, record in records.items() if record.release}
    needed: dict[str, frozenset[Output]] = {name: _outputs(applied[name]) for name in applied}
    retained: list[Retained] = []
    for name in applied:
        history = journal.releases(name, HISTORY_READ, state=ReleaseState.VERIFIED)
        # of an app whose manifest cannot be read nobody knows how many to keep: all that were kept so far
        retain = desired.apps[name].manifest.spec.retain if name in desired.apps else len(history)
        retained += retained_releases(history, records[name].release if name in records else None, retain)
    for app in under_way:
        releases.add((app.name, app.release))
        needed[app.name] = needed.get(app.name, frozenset()) | _asked(app)
    for name, app in desired.apps.items():
        releases.add((name, app.release))
        outputs = _asked(app)
        record = records.get(name)
        if record is not None and record.quarantined_key == quarantine_key(app):
            retained.append(Retained(name, app.release, app.commit, NEVER_SERVED, outputs))
        else:
            needed[name] = needed.get(name, frozenset()) | outputs
    for name, serving in linked.items():
        # one that failed behind an irreversible hook serves without ever having been verified
        if name not in records or records[name].release != serving:
            attempts = journal.releases(name, HISTORY_READ)
            digests = next((attempt.digests for attempt in attempts if attempt.release == serving), {})
            needed[name] = needed.get(name, frozenset()) | outputs_of(digests)
    static = {name: _static(outputs) for name, outputs in needed.items()}
    for release in retained:
        static[release.app] = static.get(release.app, frozenset()) | _static(release.outputs)
    return Kept(frozenset().union(*needed.values()), tuple(retained), static, frozenset(releases))


def _asked(app: DesiredApp) -> frozenset[Output]:
    return frozenset((stage, digest) for stage, digest in app.digests.items() if stage in STORED)


def _outputs(stages: Mapping[StageName, AppliedStage]) -> frozenset[Output]:
    return frozenset((stage, known.digest) for stage, known in stages.items() if stage in STORED)


def _static(outputs: frozenset[Output]) -> frozenset[Output]:
    return frozenset(output for output in outputs if output[0] is StageName.STATIC)
