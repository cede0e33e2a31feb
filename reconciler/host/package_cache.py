"""uv's cache of unpacked packages, as far as files of environments are the same files."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from reconciler.host.files import remove_tree

ARCHIVES = "archive-v*"
"""Where uv keeps unpacked wheels, a folder for each; one that is missing is unpacked again."""


def drop_damaged(cache: Path, damaged: Iterable[Path]) -> int:
    """Remove the unpacked packages that share a file with ``damaged``; returns how many went."""
    files = {identity for path in damaged if (identity := _shared(path)) is not None}
    if not files:
        return 0
    dropped = 0
    for versions in cache.glob(ARCHIVES):
        for archive in list(versions.iterdir()):
            if archive.is_dir() and _has_one(archive, files):
                remove_tree(archive)
                dropped += 1
    return dropped


def _shared(path: Path) -> tuple[int, int] | None:
    try:
        status = path.lstat()
    except OSError:
        return None
    return (status.st_dev, status.st_ino) if status.st_nlink > 1 else None


def _has_one(archive: Path, files: set[tuple[int, int]]) -> bool:
    for folder, _, names in os.walk(archive):
        for name in names:
            status = os.lstat(os.path.join(folder, name))  # noqa: PTH118 - a Path for each of many files costs seconds
            if (status.st_dev, status.st_ino) in files:
                return True
    return False
