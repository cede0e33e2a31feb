"""The store: immutable outputs, one folder per stage and digest."""

from __future__ import annotations

from pathlib import Path

from reconciler.host.layout import Layout
from reconciler.model.stage import AppliedStage, Difference, DifferenceKind, Observation, StageName

WHOLE = {StageName.BUILD: "environment/bin/python"}
"""A path in an output that proves more than its folder does: an environment dies with its interpreter."""


def output_is_whole(layout: Layout, stage: StageName, digest: str) -> bool:
    """Whether the output of these inputs is there and usable. Costs one ``stat``."""
    folder = layout.output(stage, digest)
    return (folder / WHOLE[stage] if stage in WHOLE else folder).exists()


def observe_output(
    stage: StageName, applied: AppliedStage | None, desired_digest: str, layout: Layout
) -> Observation:
    """What is there of a stored output; an applied one that is gone is drift."""
    exists = output_is_whole(layout, stage, desired_digest)
    if applied is None or (exists and applied.digest == desired_digest):
        return Observation(exists)
    if output_is_whole(layout, stage, applied.digest):
        return Observation(exists)
    return Observation(exists, (missing(layout.output(stage, applied.digest)),))


def missing(path: Path) -> Difference:
    """The difference of something that is not there any more."""
    return Difference(str(path), DifferenceKind.MISSING, f"--- {path}\n+++ /dev/null\n(it is gone)")
