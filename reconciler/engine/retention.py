"""Which releases and outputs stay. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from reconciler.host.journal.records import ReleaseRecord, ReleaseState
from reconciler.model.stage import STORED, StageName


def kept_releases(history: Iterable[ReleaseRecord], serving: str | None, retain: int) -> list[ReleaseRecord]:
    """The serving release and the ``retain`` newest other verified ones, each once; ``history`` is newest first."""
    kept: dict[str, ReleaseRecord] = {}
    for record in history:
        if record.state is not ReleaseState.VERIFIED or record.release in kept:
            continue
        others = sum(1 for release in kept if release != serving)
        if record.release == serving or others < retain:
            kept[record.release] = record
    return list(kept.values())


def kept_outputs(releases: Iterable[Mapping[str, str]]) -> set[tuple[StageName, str]]:
    """The outputs of the store that releases with these digests need."""
    return {
        (StageName(stage), digest) for digests in releases for stage, digest in digests.items() if stage in STORED
    }
