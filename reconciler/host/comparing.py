"""Comparing a tree with its index: folders in which no stat moved are passed over, the others are looked through."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Collection
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

from reconciler.host.folder_stats import FolderStats, columns_of, row_of, rows_of
from reconciler.host.indexes import Facts, Index, IndexedFolder, clock_ns, facts_of, is_settled, split
from reconciler.model.stage import DifferenceKind

PERMISSIONS = 0o7777


@dataclass(frozen=True, slots=True)
class Deviation:
    """One file that is not as indexed: ``path`` from the top, what it was, and the stat of what is there now."""

    path: bytes
    kind: DifferenceKind
    was: Facts | None = None
    status: os.stat_result | None = None


Tolerated = Callable[[bytes], bool]
"""Whether an extra file, by its path from the top, is no deviation."""


@dataclass(slots=True)
class Comparison:
    """What a comparison found; ``index`` is another object when stats that moved for nothing were taken up."""

    index: Index
    deviations: list[Deviation] = field(default_factory=list)


def compare(
    root: Path, index: Index, tolerated: Tolerated | None = None, folders: Collection[bytes] | None = None
) -> Comparison:
    """Compare a tree, or only some of its folders (paths from the top), with its index.

    Nothing is read whose stat is as it was.
    """
    top, stats = os.fsencode(root), FolderStats()
    deviations = _compare_top(top, index.top)
    if deviations and deviations[0].kind is DifferenceKind.MISSING:
        return Comparison(index, deviations)
    renewed: dict[int, IndexedFolder] = {}
    gone: set[bytes] = set()
    for number, folder in enumerate(index.folders):
        if folders is not None and folder.path not in folders:
            continue
        if gone and os.path.dirname(folder.path) in gone:  # noqa: PTH120 - bytes
            gone.add(folder.path)
            continue
        path = top + b"/" + folder.path if folder.path else top
        # the folder that holds it tells when it is gone; the closer look tells of anything else
        with suppress(OSError):
            if stats.look(path) == folder.seen:
                continue
        found, after = _look_through(path, folder, tolerated)
        deviations += found
        gone.update(deviation.path for deviation in found if deviation.was and stat.S_ISDIR(deviation.was.mode)
                    and deviation.kind is not DifferenceKind.MODE)  # fmt: skip
        if after is not None:
            renewed[number] = after
    if not renewed:
        return Comparison(index, deviations)
    newer = tuple(renewed.get(number, folder) for number, folder in enumerate(index.folders))
    return Comparison(replace(index, folders=newer), deviations)


def _compare_top(top: bytes, was: Facts) -> list[Deviation]:
    try:
        status = os.lstat(top)
    except FileNotFoundError:
        return [Deviation(b"", DifferenceKind.MISSING, was)]
    if not stat.S_ISDIR(status.st_mode):
        return [Deviation(b"", DifferenceKind.MODIFIED, was, status)]
    return [Deviation(b"", DifferenceKind.MODE, was, status)] if _rights(status) != _rights_of(was) else []


def _look_through(
    path: bytes, folder: IndexedFolder, tolerated: Tolerated | None
) -> tuple[list[Deviation], IndexedFolder | None]:
    """The deviations of one folder; the folder with new stats when it has none, and they can be trusted."""
    began = clock_ns()
    try:
        is_folder = stat.S_ISDIR(os.lstat(path).st_mode)
        there = os.listdir(path) if is_folder else None  # noqa: PTH208 - names of any bytes
    except OSError:
        there = None
    if there is None:
        return [], None
    known = dict(zip(split(folder.seen[0]), rows_of(folder.seen[1], folder.seen[0].count(b"\0") + 1), strict=False))
    expected = folder.expected()
    names = _names_in(folder.path)
    found: list[Deviation] = []
    rows: list[bytes] = []
    for name in there:
        try:
            status = os.lstat(path + b"/" + name)
        except FileNotFoundError:
            continue
        row = row_of(status)
        was = expected.pop(name, None)
        if was is None:
            if tolerated is None or not tolerated(names(name)):
                found.append(Deviation(names(name), DifferenceKind.EXTRA, None, status))
        elif row != known.get(name):
            found += _deviation(names(name), path + b"/" + name, was, status)
        rows.append(row if is_settled(status, began) else b"")
    found += [Deviation(names(name), DifferenceKind.MISSING, was) for name, was in expected.items()]
    if found or not all(rows):
        return found, None
    return found, replace(folder, seen=(b"\0".join(there), columns_of(rows)))


def _deviation(path: bytes, full: bytes, was: Facts, status: os.stat_result) -> list[Deviation]:
    """How one file deviates whose stat is another one; reads it where mode and size do not tell."""
    if stat.S_IFMT(status.st_mode) != stat.S_IFMT(was.mode):
        return [Deviation(path, DifferenceKind.MODIFIED, was, status)]
    found = []
    if not stat.S_ISDIR(status.st_mode):
        try:
            same = status.st_size == was.size and facts_of(full, status).content == was.content
        except OSError:
            same = False
        if not same:
            kind = DifferenceKind.LINK if stat.S_ISLNK(status.st_mode) else DifferenceKind.MODIFIED
            found.append(Deviation(path, kind, was, status))
    if _rights(status) != _rights_of(was):
        found.append(Deviation(path, DifferenceKind.MODE, was, status))
    return found


def _rights(status: os.stat_result) -> tuple[int, int, int]:
    return status.st_mode & PERMISSIONS, status.st_uid, status.st_gid


def _rights_of(was: Facts) -> tuple[int, int, int]:
    return was.mode & PERMISSIONS, was.owner, was.group


def _names_in(folder: bytes) -> Callable[[bytes], bytes]:
    return (lambda name: folder + b"/" + name) if folder else (lambda name: name)
