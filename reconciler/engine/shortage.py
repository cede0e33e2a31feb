"""Shortage: a stage that a full disk ended is told with the file system, what it has left and what is missing."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from reconciler.engine.desired import DesiredApp
from reconciler.host.file_systems import FileSystem, file_system_of, hint_of, sentence_of, usage_of
from reconciler.host.services import Host
from reconciler.model.errors import DiskError, Lack, ReconcilerError
from reconciler.model.sizes import readable
from reconciler.model.stage import STORED, AppliedApp, StageName

BLOCK_BYTES = 4096
"""What a file takes at least, on most file systems."""
LINKS_AND_SOCKETS = 8
"""What a release needs besides its files, each an inode."""


def stage_shortage(error: DiskError, stage: StageName, app: DesiredApp, applied: AppliedApp, host: Host) -> DiskError:
    """The error of a stage, whose half-made output is gone again: so much is free now, and was not enough."""
    found = file_system_of(Path(error.mount))
    parts = [f"the {stage} stage could not write: {sentence_of(found, error.lack)}"]
    if error.lack not in (Lack.WRITABLE, Lack.HEALTH):
        parts += _missing(error, found, stage, app, applied, host)
    return DiskError(
        ", ".join(parts), hint=hint_of(found.mount, error.lack), mount=found.mount, lack=error.lack, tail=error.tail
    )


def _missing(
    error: DiskError,
    found: FileSystem,
    stage: StageName,
    app: DesiredApp,
    applied: AppliedApp,
    host: Host,
) -> list[str]:
    """What more is needed, where that is known; else how far it came."""
    known = _needed(stage, app, applied, host)
    written, files = error.written
    if known is not None:
        (size, count), source = known
        if error.lack is Lack.INODES:
            missing = max(count - found.free_inodes, 1)
            return [f"and about {missing:,} more inodes are needed ({source} has {count:,} files)"]
        missing = max(size - found.free, BLOCK_BYTES)
        return [f"and about {readable(missing)} more are needed ({source} takes {readable(size)})"]
    if not files:
        return []
    came = f"{files:,} files" if error.lack is Lack.INODES else readable(written)
    return [f"and {came} of it had been written when it was used up; how much is missing in all is not known"]


def _needed(stage: StageName, app: DesiredApp, applied: AppliedApp, host: Host) -> tuple[tuple[int, int], str] | None:
    """Bytes and files that an output takes, and by what that is known."""
    if stage is StageName.SOURCE:
        with suppress(ReconcilerError, OSError):
            return _checkout(app, host), "the checkout"
    before = applied.get(stage)
    if stage not in STORED:
        texts = app.stage(stage).files.values()
        blocks = sum(-(-len(text.encode()) // BLOCK_BYTES) for text in texts)
        return (blocks * BLOCK_BYTES, len(texts) + LINKS_AND_SOCKETS), "what it writes"
    if before is not None:
        folder = host.layout.output(stage, before.digest)
        if folder.is_dir():
            return usage_of(folder), "the one before"
    return None


def _checkout(app: DesiredApp, host: Host) -> tuple[int, int]:
    address, directory = app.facts.address, app.manifest.spec.source.directory
    entries = host.mirrors.files.entries(address, app.commit, directory)
    sizes = host.mirrors.files.sizes(address, [entry.object_id for entry in entries if entry.kind == "blob"])
    blocks = sum(-(-sizes.get(entry.object_id, 0) // BLOCK_BYTES) for entry in entries)
    folders = {entry.path.rpartition("/")[0] for entry in entries}
    return blocks * BLOCK_BYTES, len(entries) + len(folders)
