"""Files that become visible only whole: a temporary sibling, a flush, a rename, a flush of the folder."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import itertools
import os
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path

from reconciler.model.errors import ReconcilerError

TEMPORARY_PREFIX = ".tmp-"
AT_FDCWD = -100
RENAME_EXCHANGE = 2


def temporary_sibling(path: Path) -> Path:
    """A name beside ``path`` that nothing else uses and that a later pass recognizes as left over."""
    return path.with_name(f"{TEMPORARY_PREFIX}{os.urandom(6).hex()}")


def flush_folder(folder: Path) -> None:
    """Make the names in ``folder`` survive a loss of power."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def make_folder(folder: Path) -> None:
    """Make a folder, and those above it that are missing, so that they survive a loss of power."""
    missing = []
    while not folder.is_dir():
        missing.append(folder)
        folder = folder.parent
    for made in reversed(missing):
        made.mkdir(exist_ok=True)
        flush_folder(made.parent)


def write_whole(path: Path, content: bytes | str, *, mode: int = 0o644, owner: tuple[int, int] | None = None) -> bool:
    """Put ``content`` at ``path`` in one step; return whether anything had to change.

    ``owner`` are the numbers of a user and a group; ``None``: this process's own. Nothing is written when the file
    already has these bytes, this mode and this owner.
    """
    data = content.encode() if isinstance(content, str) else content
    if _has(path, data, mode, owner):
        return False
    temporary = temporary_sibling(path)
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            if owner is not None:
                os.fchown(file.fileno(), *owner)
            os.fchmod(file.fileno(), mode)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException as error:
        if isinstance(error, OSError):
            # a write that fails names no file, and a temporary name tells nobody anything
            error.filename, error.filename2 = str(path), None
        temporary.unlink(missing_ok=True)
        raise
    flush_folder(path.parent)
    return True


def write_once(path: Path, content: str, *, mode: int) -> bool:
    """Put ``content`` at ``path`` in one step unless something is there already; return whether it was put there."""
    temporary = temporary_sibling(path)
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(content)
            os.fchmod(file.fileno(), mode)
            file.flush()
            os.fsync(file.fileno())
        # unlike a rename, a link never replaces what another process made in the same moment
        os.link(temporary, path)
    except FileExistsError:
        return False
    finally:
        temporary.unlink(missing_ok=True)
    flush_folder(path.parent)
    return True


def _has(path: Path, data: bytes, mode: int, owner: tuple[int, int] | None) -> bool:
    try:
        status = path.lstat()
        return (
            stat.S_ISREG(status.st_mode)
            and stat.S_IMODE(status.st_mode) == mode
            and (status.st_uid, status.st_gid)[: 2 if owner else 1] == (owner or (os.geteuid(),))
            and status.st_size == len(data)
            and path.read_bytes() == data
        )
    except OSError:
        return False


def replace_link(link: Path, target: str) -> bool:
    """Make ``link`` a symbolic link to ``target`` by renaming a new one over it; return whether it changed."""
    with contextlib.suppress(OSError):
        if str(link.readlink()) == target:
            return False
    temporary = temporary_sibling(link)
    temporary.symlink_to(target)
    try:
        temporary.replace(link)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    flush_folder(link.parent)
    return True


def publish_folder(built: Path, final: Path, *, replace: bool = False) -> None:
    """Flush everything in ``built`` and rename it to ``final``; an equal output that is already there wins.

    With ``replace`` the new one wins: the two change places in one instant, and the old one is removed.
    """
    flush_tree(built)
    if replace and final.is_dir():
        exchange(built, final)
        flush_folder(final.parent)
        remove_tree(built)
        return
    try:
        built.rename(final)
    except OSError:
        if not final.is_dir():
            raise
        remove_tree(built)
        return
    flush_folder(final.parent)


def exchange(one: Path, other: Path) -> None:
    """Let two files or folders of one file system change places; in one step where the file system can."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.renameat2(AT_FDCWD, os.fsencode(one), AT_FDCWD, os.fsencode(other), RENAME_EXCHANGE) == 0:
        return
    number = ctypes.get_errno()
    if number not in (errno.EINVAL, errno.ENOSYS):
        raise OSError(number, os.strerror(number), str(other))
    between = temporary_sibling(other)
    other.rename(between)
    one.rename(other)
    between.rename(one)


def flush_tree(root: Path) -> None:
    """Make all of a tree survive a loss of power, with one call for its file system."""
    descriptor = os.open(root, os.O_RDONLY | os.O_DIRECTORY)
    try:
        _syncfs(descriptor)
    finally:
        os.close(descriptor)


def _syncfs(descriptor: int) -> None:
    """Flush one file system: Python has no syncfs, and an fsync for each of an environment's files takes seconds."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.syncfs(descriptor) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


@contextlib.contextmanager
def building(final: Path, *, replace: bool = False) -> Iterator[Path]:
    """A temporary folder that is renamed to ``final`` when the block ends well, and removed when it does not.

    What is at ``final`` already stays, unless ``replace`` says that it is damaged. Raises
    :class:`~reconciler.model.errors.DiskError` where the block failed for the lack of space.
    """
    make_folder(final.parent)
    temporary = temporary_sibling(final)
    temporary.mkdir(mode=0o755)
    try:
        yield temporary
        publish_folder(temporary, final, replace=replace)
    except (OSError, ReconcilerError) as error:
        from reconciler.host.file_systems import disk_error, usage_of  # noqa: PLC0415  only where something failed

        # looked at before what was built goes, which makes room again
        failure = disk_error(error, final.parent)
        if failure is None:
            raise
        failure.written = usage_of(temporary)
        raise failure from error
    finally:
        if temporary.exists():
            remove_tree(temporary)


def remove_tree(path: Path) -> None:
    """Remove a tree, read-only folders included, without following any link out of it."""

    def make_writable(function: object, name: str, _error: BaseException) -> None:
        parent = Path(name).parent
        with contextlib.suppress(OSError):
            # nothing is closed to root, and an app whose tree this is may exchange names for links meanwhile
            if os.geteuid() == 0:
                return
            parent.chmod(0o700)
            if not Path(name).is_symlink():
                Path(name).chmod(0o700)
            if callable(function):
                function(name)

    if path.is_symlink() or not path.is_dir():
        path.unlink(missing_ok=True)
        return
    if shutil.rmtree.avoids_symlink_attacks:
        try:
            shutil.rmtree(path, onerror=lambda function, name, info: make_writable(function, name, info[1]))
        except RecursionError:
            _remove_deep(path)


def _remove_deep(path: Path) -> None:
    """Remove a tree whose folders lie so deep in each other that Python cannot, by making it flat bit by bit."""
    parent = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        for number in itertools.count():
            folders = [entry.name for entry in os.scandir(parent) if entry.is_dir(follow_symlinks=False)]
            moved = 0
            for name in folders:
                inner = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=parent)
                try:
                    for entry in list(os.scandir(inner)):
                        if entry.is_dir(follow_symlinks=False):
                            flat = f"{TEMPORARY_PREFIX}{number}-{moved}"
                            os.rename(entry.name, flat, src_dir_fd=inner, dst_dir_fd=parent)
                            moved += 1
                finally:
                    os.close(inner)
                shutil.rmtree(name, dir_fd=parent)
            if not moved:
                break
    finally:
        os.close(parent)
    shutil.rmtree(path)


def remove_visible(path: Path) -> None:
    """Remove a tree whose name says that it is whole: the name goes first, so that nobody ever meets half of it."""
    temporary = temporary_sibling(path)
    path.rename(temporary)
    remove_tree(temporary)


def tail_of(path: Path, size: int = 4096, *, since: int = 0) -> str:
    """The last ``size`` bytes of a text file from offset ``since`` on; empty when there is no file."""
    try:
        with path.open("rb") as file:
            end = file.seek(0, os.SEEK_END)
            file.seek(max(since if since <= end else 0, end - size))
            return file.read().decode("utf-8", "replace")
    except OSError:
        return ""


def size_of(path: Path) -> int:
    """The size of a file in bytes; 0 when there is none."""
    try:
        return path.stat().st_size
    except OSError:
        return 0
