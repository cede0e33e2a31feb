"""The store: immutable outputs, one folder per stage and digest."""

from __future__ import annotations

import os
from array import array
from pathlib import Path

from reconciler.host.contents import Contents
from reconciler.host.layout import Layout
from reconciler.host.owners import folder_changed_at
from reconciler.model.stage import AppliedStage, Difference, DifferenceKind, Observation, StageName

WHOLE = {StageName.BUILD: "environment/bin/python", StageName.INTERPRETER: "interpreter.json"}
"""A path in an output that proves more than its folder does: an environment dies with its interpreter."""

BLOCK_BYTES = 512
"""The unit of ``st_blocks``."""


def output_is_whole(layout: Layout, stage: StageName, digest: str) -> bool:
    """Whether the output of these inputs is there and usable. Costs one ``stat``."""
    folder = layout.output(stage, digest)
    return (folder / WHOLE[stage] if stage in WHOLE else folder).exists()


def observe_output(
    stage: StageName, applied: AppliedStage | None, desired_digest: str, layout: Layout, contents: Contents
) -> Observation:
    """What is there of a stored output; that an applied one is gone is drift, and what the last scan found in it.

    One that git asks for again after a while counts as missing when it is not as it was made.
    """
    exists = output_is_whole(layout, stage, desired_digest)
    if applied is not None and applied.digest == desired_digest:
        if not exists:
            return Observation(exists, (missing(layout.output(stage, applied.digest)),))
        return Observation(exists, contents.differences(stage, desired_digest))
    exists = exists and contents.is_sound(stage, desired_digest)
    if applied is None or output_is_whole(layout, stage, applied.digest):
        return Observation(exists)
    return Observation(exists, (missing(layout.output(stage, applied.digest)),))


def disk_usage(folder: Path) -> tuple[int, array[int], array[int]]:
    """What a folder takes on disk: bytes that are its own; inodes of files with several names, and their bytes.

    An environment's files are hard links into uv's cache and into other environments: whoever adds outputs up counts
    each inode once.
    """
    own = os.lstat(folder).st_blocks * BLOCK_BYTES
    inodes, sizes = array("Q"), array("Q")
    seen: set[int] = set()
    waiting = [os.fspath(folder)]
    while waiting:
        with os.scandir(waiting.pop()) as entries:
            for entry in entries:
                status = entry.stat(follow_symlinks=False)
                size = status.st_blocks * BLOCK_BYTES
                if entry.is_dir(follow_symlinks=False):
                    own += size
                    waiting.append(entry.path)
                elif status.st_nlink == 1:
                    own += size
                elif status.st_ino not in seen:
                    seen.add(status.st_ino)
                    inodes.append(status.st_ino)
                    sizes.append(size)
    return own, inodes, sizes


def missing(path: Path) -> Difference:
    """The difference of something that is not there any more."""
    return Difference(str(path), DifferenceKind.MISSING, f"--- {path}\n+++ /dev/null\n(it is gone)",
                      changed_at=folder_changed_at(str(path)))  # fmt: skip
