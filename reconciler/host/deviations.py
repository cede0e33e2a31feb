"""How a deviation of the store's content is told: its difference in print, whose file it is and when it changed."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from reconciler.host.comparing import PERMISSIONS, Deviation
from reconciler.host.indexes import Facts
from reconciler.host.owners import account_name, changed_at, folder_changed_at
from reconciler.model.diffs import unified
from reconciler.model.secret import masked
from reconciler.model.stage import Difference, DifferenceKind

TEXT_BYTES = 64 * 1024
"""The longest text of which a difference is shown line by line."""
SHOWN_DIGITS = 16


def difference_of(root: Path, deviation: Deviation, mirrors: Path, tree: str, *, byproduct: bool) -> Difference:
    """A deviation as a printable difference.

    ``tree`` is the git tree that the files of ``root`` were checked out from, looked for in all ``mirrors``; where
    it is empty, or does not have the file, the difference of a file is told by size and SHA-256.
    """
    path = root / os.fsdecode(deviation.path) if deviation.path else root
    status = deviation.status
    diff, undo = _texts(path, deviation, mirrors, tree)
    return Difference(
        str(path),
        deviation.kind,
        diff,
        undo,
        owner=account_name(status.st_uid) if status is not None else None,
        changed_at=changed_at(status) if status is not None else folder_changed_at(str(path)),
        byproduct=byproduct,
    )


def _texts(path: Path, deviation: Deviation, mirrors: Path, tree: str) -> tuple[str, str]:
    was, status = deviation.was, deviation.status
    if deviation.kind is DifferenceKind.MODE and was is not None and status is not None:
        return _both(str(path), [_rights(was.mode, was.owner, was.group)],
                     [_rights(status.st_mode, status.st_uid, status.st_gid)])  # fmt: skip
    old = _applied_text(was, deviation.path, mirrors, tree)
    new = _found_text(path, status)
    # an empty text is one too, and one that nobody has differs from it
    if (was is None or old is not None) and (status is None or new is not None):
        old, new = masked(old or ""), masked(new or "")
        diff = unified(old, new, path.name)
        if diff:
            return diff, unified(new, old, path.name)
    return _both(str(path), _described(was), _described_found(path, status))


def _both(name: str, old: list[str], new: list[str]) -> tuple[str, str]:
    def told(before: list[str], after: list[str]) -> str:
        head = [f"--- {name if before else '/dev/null'}", f"+++ {name if after else '/dev/null'}"]
        return "\n".join([*head, *(f"-{line}" for line in before), *(f"+{line}" for line in after)])

    return told(old, new), told(new, old)


def _rights(mode: int, owner: int, group: int) -> str:
    # the group by its number: its name is nowhere else in what the reconciler says
    return f"mode {mode & PERMISSIONS:o}, owner {account_name(owner)}, group {group}"


def _described(was: Facts | None) -> list[str]:
    if was is None:
        return []
    if stat.S_ISREG(was.mode):
        return [f"{was.size} bytes, sha256 {was.content.hex()[:SHOWN_DIGITS]}"]
    return [_kind(was.mode)]


def _described_found(path: Path, status: os.stat_result | None) -> list[str]:
    if status is None:
        return []
    if stat.S_ISLNK(status.st_mode):
        try:
            return [f"link to {path.readlink()}"]
        except OSError:
            return ["a link"]
    return [f"{status.st_size} bytes" if stat.S_ISREG(status.st_mode) else _kind(status.st_mode)]


def _kind(mode: int) -> str:
    if stat.S_ISDIR(mode):
        return "a folder"
    return "a link" if stat.S_ISLNK(mode) else "no regular file"


def _applied_text(was: Facts | None, path: bytes, mirrors: Path, tree: str) -> str | None:
    if was is None or not stat.S_ISREG(was.mode) or not tree or was.size > TEXT_BYTES:
        return None
    # git takes long to import, and nothing has drifted as a rule
    from reconciler.host.git_objects import blob_of_tree  # noqa: PLC0415

    blob = blob_of_tree(mirrors, tree, os.fsdecode(path))
    return None if blob is None or len(blob) != was.size else _text(blob)


def _found_text(path: Path, status: os.stat_result | None) -> str | None:
    if status is None or not stat.S_ISREG(status.st_mode) or status.st_size > TEXT_BYTES:
        return None
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        with os.fdopen(descriptor, "rb") as file:
            return _text(file.read(TEXT_BYTES))
    except OSError:
        return None


def _text(content: bytes) -> str | None:
    if b"\0" in content:
        return None
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError:
        return None
