"""Which releases and outputs stay, and which go first when the store is too large. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from reconciler.host.journal.records import ReleaseRecord, ReleaseState
from reconciler.model.stage import STORED, StageName

Output = tuple[StageName, str]
"""An output of the store: the stage and the digest."""

NEVER_SERVED = 0.0
"""When a release last served that never did: before all others."""


@dataclass(frozen=True, slots=True)
class Retained:
    """A release that does not serve and could; ``last_served`` is the number of the attempt that took its place.

    Not the time of it: a clock that was wrong once must not choose what is dropped.
    """

    app: str
    release: str
    revision: str
    last_served: float
    outputs: frozenset[Output]


@dataclass(frozen=True, slots=True)
class Footprint:
    """What an output takes on disk: ``own`` bytes, and those of files that other outputs may have too.

    Such a file is an inode with its bytes at the same place of ``sizes``; each is in a footprint once.
    """

    own: int
    inodes: Sequence[int] = ()
    sizes: Sequence[int] = ()

    @property
    def linked(self) -> Iterator[tuple[int, int]]:
        """Every inode with its bytes."""
        return zip(self.inodes, self.sizes, strict=True)


@dataclass(frozen=True, slots=True)
class Budget:
    """What must go so that the store fits: the releases in order, their outputs, the size before and after."""

    dropped: tuple[Retained, ...]
    outputs: frozenset[Output]
    before: int
    after: int


def retained_releases(history: Iterable[ReleaseRecord], serving: str | None, retain: int) -> list[Retained]:
    """The ``retain`` newest verified releases besides the serving one, each once; ``history`` is newest first.

    A release served until the next one was verified.
    """
    found: dict[str, Retained] = {}
    seen: set[str] = set()
    newer: ReleaseRecord | None = None
    for record in history:
        if record.state is not ReleaseState.VERIFIED:
            continue
        last_served = float(newer.number if newer is not None else record.number)
        newer = record
        if record.release == serving or record.release in seen:
            continue
        if len(found) >= retain:
            break
        seen.add(record.release)
        outputs = outputs_of(record.digests)
        found[record.release] = Retained(record.app, record.release, record.revision, last_served, outputs)
    return list(found.values())


def outputs_of(digests: Mapping[str, str]) -> frozenset[Output]:
    """The outputs of the store that a release with these digests needs."""
    return frozenset((StageName(stage), digest) for stage, digest in digests.items() if stage in STORED)


def within_budget(
    footprints: Mapping[Output, Footprint],
    needed: Collection[Output],
    retained: Iterable[Retained],
    limit: int,
) -> Budget:
    """Drop retained releases, those first that last served longest ago, until all outputs fit into ``limit`` bytes.

    ``footprints`` has the outputs that are there; those in ``needed`` stay. A release without an output of its own
    frees nothing, and is left.
    """
    linked = Counter(inode for footprint in footprints.values() for inode, _ in footprint.linked)
    sizes = {inode: size for footprint in footprints.values() for inode, size in footprint.linked}
    before = after = sum(footprint.own for footprint in footprints.values()) + sum(sizes.values())
    waiting = sorted(retained, key=lambda release: (release.last_served, release.app, release.release))
    users = Counter(output for release in waiting for output in release.outputs)
    dropped, gone = [], set[Output]()
    for release in waiting:
        if after <= limit:
            break
        users.subtract(release.outputs)
        leaving = {
            output
            for output in release.outputs
            if output in footprints and output not in needed and output not in gone and not users[output]
        }
        if not leaving:
            continue
        dropped.append(release)
        gone |= leaving
        for output in leaving:
            after -= footprints[output].own
            for inode, size in footprints[output].linked:
                linked[inode] -= 1
                if not linked[inode]:
                    after -= size
    return Budget(tuple(dropped), frozenset(gone), before, after)
