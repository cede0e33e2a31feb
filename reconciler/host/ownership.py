"""Trees that change hands between the agent and an app's account, without a link or a name leading anywhere else.

While a command of an app runs, its account owns the tree, and may still hold it open afterwards, or exchange names in
it. So every step goes through a descriptor of the folder before it, follows no link, and touches only what belongs to
whom the tree was given.
"""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from pathlib import Path

from reconciler.host.processes import Account
from reconciler.model.errors import StageFailed

OUTPUT_MODE = 0o750
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_ENTRY = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC
SEIZED_MODES = 0o755
"""What is left of a mode: nobody but the agent writes, and nothing runs as its owner."""
MAX_DEPTH = 200


def protect(folder: Path, account: Account | None) -> None:
    """Let only ``account``, through its group, enter a folder of the agent's; ``None``: there are no accounts."""
    if account is not None:
        os.chown(folder, 0, account.gid)
        folder.chmod(OUTPUT_MODE)


def give(folder: Path, account: Account | None) -> None:
    """Make a tree that only the agent has written to so far belong to ``account``."""
    if account is None:
        return
    for parent, folders, files, descriptor in os.fwalk(folder, topdown=False, follow_symlinks=False):
        del parent
        for name in (*folders, *files):
            os.chown(name, account.uid, account.gid, dir_fd=descriptor, follow_symlinks=False)
    os.chown(folder, account.uid, account.gid, follow_symlinks=False)


def seize(folder: Path, account: Account | None) -> None:
    """Take back a tree that belonged to ``account``: it can read all of it afterwards, and change nothing.

    What is neither file, folder nor link is removed, and no file keeps the right to run as somebody else.
    """
    if account is None:
        return
    descriptor = os.open(folder, _FOLDER)
    try:
        _seize_folder(descriptor, account, depth=0)
    finally:
        os.close(descriptor)


def _seize_folder(descriptor: int, account: Account, depth: int) -> None:
    if depth > MAX_DEPTH:
        raise _too_deep()
    # first, so that nobody adds a name that is not seen below
    _take(descriptor, os.fstat(descriptor), account)
    with os.scandir(descriptor) as entries:
        names = [entry.name for entry in entries]
    for name in names:
        with suppress(FileNotFoundError):
            _seize_entry(descriptor, name, account, depth)


def _seize_entry(parent: int, name: str, account: Account, depth: int) -> None:
    entry = os.open(name, _ENTRY, dir_fd=parent)
    try:
        status = os.fstat(entry)
        if stat.S_ISDIR(status.st_mode):
            folder = os.open(name, _FOLDER, dir_fd=parent)
            try:
                _seize_folder(folder, account, depth + 1)
            finally:
                os.close(folder)
        elif stat.S_ISREG(status.st_mode) or stat.S_ISLNK(status.st_mode):
            _take(entry, status, account)
        else:
            os.unlink(name, dir_fd=parent)
    finally:
        os.close(entry)


def _take(descriptor: int, status: os.stat_result, account: Account) -> None:
    """Make one file or folder the agent's; what is not the account's own is left alone, whatever name it has here."""
    if status.st_uid != account.uid or stat.S_ISLNK(status.st_mode):
        return
    # a descriptor that was opened without a right to read takes no fchown
    place = Path(f"/proc/self/fd/{descriptor}")
    os.chown(place, 0, account.gid)
    mode = stat.S_IMODE(status.st_mode)
    place.chmod((mode | (mode & stat.S_IRWXU) >> 3) & SEIZED_MODES)


def drop_special(folder: Path) -> None:
    """Remove what is neither file, folder nor link from a tree that nobody else writes to any more.

    Raises :class:`StageFailed` for folders that lie too deep in each other.
    """
    waiting = [(folder, 0)]
    while waiting:
        parent, depth = waiting.pop()
        if depth > MAX_DEPTH:
            raise _too_deep()
        with os.scandir(parent) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    waiting.append((Path(entry.path), depth + 1))
                elif not entry.is_file(follow_symlinks=False) and not entry.is_symlink():
                    os.unlink(entry.path)  # noqa: PTH108 - a path of scandir


def _too_deep() -> StageFailed:
    return StageFailed(f"a command left files deeper than {MAX_DEPTH} folders", hint="let it make fewer")


def change_owner(folder: Path, before: int, owner: int, group: int) -> None:
    """Hand what one account has in a folder to another one; what belongs to anybody else in it stays as it is."""
    for _, folders, files, descriptor in os.fwalk(folder, topdown=False, follow_symlinks=False):
        for name in (*folders, *files):
            with suppress(FileNotFoundError):
                _hand_over(descriptor, name, before, owner, group)
    os.chown(folder, owner, group, follow_symlinks=False)


def _hand_over(parent: int, name: str, before: int, owner: int, group: int) -> None:
    entry = os.open(name, _ENTRY, dir_fd=parent)
    try:
        status = os.fstat(entry)
        if status.st_uid == before and not stat.S_ISLNK(status.st_mode):
            os.chown(f"/proc/self/fd/{entry}", owner, group)
    finally:
        os.close(entry)
