"""What moved between two commits: one git process, however many files and folders both have."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from reconciler.host.git_commands import local
from reconciler.host.git_objects import TreeEntry, kind_of
from reconciler.model.errors import CommandFailed

MOST_MOVED = 20_000
"""More paths than these are not read: whoever asks looks at the newer commit as a whole."""

Moved = Mapping[str, TreeEntry | None]
"""What is at each path now, files and folders alike; ``None`` where nothing is any more. The root has no path."""


def moved(mirror: Path, older: str, newer: str) -> Moved | None:
    """The paths at which two commits differ; ``None`` where that cannot be told, such as when one is missing."""
    options = ("-r", "-t", "-z", "--raw", "--no-renames", "--no-abbrev", "--ignore-submodules=none")
    try:
        listing = local(mirror, ("diff-tree", *options, older, newer))
    except CommandFailed:
        # that a mirror is broken is found by whoever reads from it next
        return None
    # a line and a path, in turn
    parts = listing.split(b"\0")[:-1]
    if len(parts) > 2 * MOST_MOVED:
        return None
    return {
        os.fsdecode(path): _entry(line, os.fsdecode(path)) for line, path in zip(parts[::2], parts[1::2], strict=True)
    }


def _entry(line: bytes, path: str) -> TreeEntry | None:
    """``:<old mode> <new mode> <old id> <new id> <status>``; what is gone has the mode 000000."""
    _, mode, _, object_id, _ = line.split(b" ")
    if mode == b"000000":
        return None
    return TreeEntry(path, mode.decode(), kind_of(mode), object_id.decode())
