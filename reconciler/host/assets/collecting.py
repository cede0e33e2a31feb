"""Copies a folder without ever being led out of it."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from reconciler.model.errors import StageFailed

FILES_LIMIT = 200_000
TOTAL_BYTES = 4 * 1024 * 1024 * 1024
FOLDER_DEPTH = 100
CHUNK_BYTES = 1024 * 1024

NEVER_SERVED = frozenset({".git", ".hg", ".svn"})
"""A repository below a public URL gives away its history; it is left out wherever it lies."""

_OPENED = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY
_KINDS = {
    stat.S_IFIFO: "a named pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


def collect(source: Path, destination: Path, inside: Path, *, label: str) -> dict[str, int]:
    """Copy all files of ``source`` into ``destination``; return their sizes in bytes by name relative to it.

    A link that stays in ``source`` becomes a plain file or folder. ``source`` itself must lie in ``inside`` once its
    links are followed. ``label`` names the folder in errors.

    Raises :class:`StageFailed` for a missing folder, a link that leads out or nowhere or round in a circle, a device,
    socket or pipe, and for a folder beyond the limits.
    """
    boundary, root = os.path.realpath(inside), os.path.realpath(source)
    if not _within(root, boundary):
        raise StageFailed(
            f"the static folder {label} is a link that leads out of the app, to {_shown(root)}",
            hint="keep the files in the app's repository",
        )
    try:
        with _descriptor(os.open(boundary, _OPENED | os.O_DIRECTORY)) as outer:
            descriptor = _open_beneath(outer, os.path.relpath(root, boundary))
    except FileNotFoundError as error:
        raise StageFailed(
            f"the static folder {label} is not there",
            hint="correct static.source, or set static.command to the command that makes the folder",
        ) from error
    with _descriptor(descriptor):
        if not stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise StageFailed(f"static.source {label} is not a folder", hint="name the folder that has the files")
        copier = _Copier(root, descriptor, destination, label)
        copier.folder(descriptor, "", "", ())
    return copier.sizes


class _Copier:
    """One walk: ``real`` is where an entry lies below the source, ``name`` where it goes below the destination."""

    def __init__(self, root: str, descriptor: int, destination: Path, label: str) -> None:
        self.sizes: dict[str, int] = {}
        self._root = root
        self._descriptor = descriptor
        self._destination = os.fspath(destination)
        self._label = label
        self._entries = 0
        self._bytes = 0

    def folder(self, descriptor: int, real: str, name: str, trail: tuple[tuple[int, int], ...]) -> None:
        status = os.fstat(descriptor)
        identity = (status.st_dev, status.st_ino)
        if identity in trail:
            raise self._failed(name, "is a link to a folder that it lies in", "remove the link")
        if len(trail) >= FOLDER_DEPTH:
            raise self._failed(name, f"lies deeper than {FOLDER_DEPTH} folders", "make the tree flatter")
        for entry in sorted(os.listdir(descriptor)):
            if entry in NEVER_SERVED:
                continue
            self._count()
            child = f"{name}/{entry}" if name else entry
            child_real = f"{real}/{entry}" if real else entry
            kind = stat.S_IFMT(os.stat(entry, dir_fd=descriptor, follow_symlinks=False).st_mode)
            if kind == stat.S_IFLNK:
                opened, child_real = self._follow(child, child_real)
            else:
                self._check_kind(kind, child)
                opened = self._open(descriptor, entry, child)
            with _descriptor(opened):
                self._take(opened, child_real, child, (*trail, identity))

    def _take(self, descriptor: int, real: str, name: str, trail: tuple[tuple[int, int], ...]) -> None:
        # what was opened counts, not what its name meant a moment ago
        kind = stat.S_IFMT(os.fstat(descriptor).st_mode)
        self._check_kind(kind, name)
        if kind == stat.S_IFDIR:
            os.mkdir(f"{self._destination}/{name}")  # noqa: PTH102
            self.folder(descriptor, real, name, trail)
        else:
            self.sizes[name] = self._copy(descriptor, f"{self._destination}/{name}")

    def _follow(self, name: str, real: str) -> tuple[int, str]:
        """Open what a link leads to, one component after the other, and say where in the source that is."""
        target = os.path.realpath(f"{self._root}/{real}")
        if not _within(target, self._root):
            raise self._failed(
                name, f"is a link that leads out of the folder, to {_shown(target)}", "put the file itself there"
            )
        inner = os.path.relpath(target, self._root)
        if NEVER_SERVED.intersection(inner.split("/")):
            raise self._failed(
                name, f"is a link that leads to {_shown(inner)}, which is never served", "remove the link"
            )
        try:
            kind = stat.S_IFMT(os.stat(inner, dir_fd=self._descriptor, follow_symlinks=False).st_mode)
            if kind != stat.S_IFLNK:
                self._check_kind(kind, name)
            return _open_beneath(self._descriptor, inner), "" if inner == "." else inner
        except FileNotFoundError as error:
            raise self._failed(
                name, f"is a link that leads to {_shown(inner)}, which is not there", "correct or remove the link"
            ) from error
        except OSError as error:
            raise self._changed(name, error) from error

    def _open(self, folder: int, entry: str, name: str) -> int:
        try:
            return os.open(entry, _OPENED, dir_fd=folder)
        except OSError as error:
            raise self._changed(name, error) from error

    def _changed(self, name: str, error: OSError) -> StageFailed:
        if error.errno in (errno.ELOOP, errno.ENOTDIR, errno.ENOENT):
            return self._failed(name, "changed while it was read", "keep the folder still during a pass")
        return self._failed(name, f"cannot be read: {error.strerror}", "make it readable for the agent")

    def _copy(self, descriptor: int, target: str) -> int:
        size = 0
        written = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
        with os.fdopen(written, "wb", buffering=0) as file:
            while chunk := os.read(descriptor, CHUNK_BYTES):
                size += len(chunk)
                self._bytes += len(chunk)
                if self._bytes > TOTAL_BYTES:
                    raise StageFailed(
                        f"the static folder {self._label} has more than {TOTAL_BYTES // 1024**3} GiB",
                        hint="serve large files from elsewhere",
                    )
                view = memoryview(chunk)
                while view:
                    view = view[file.write(view) :]
        return size

    def _count(self) -> None:
        self._entries += 1
        if self._entries > FILES_LIMIT:
            raise StageFailed(
                f"the static folder {self._label} has more than {FILES_LIMIT:,} files",
                hint="name a smaller folder in static.source, such as the build's output",
            )

    def _check_kind(self, kind: int, name: str) -> None:
        if kind not in (stat.S_IFREG, stat.S_IFDIR):
            raise self._failed(name, f"is {_KINDS.get(kind, 'not a file')}", "keep only files and folders there")

    def _failed(self, name: str, what: str, hint: str) -> StageFailed:
        return StageFailed(f"{self._label}/{_shown(name)} {what}", hint=hint)


@contextmanager
def _descriptor(number: int) -> Iterator[int]:
    try:
        yield number
    finally:
        os.close(number)


def _open_beneath(folder: int, relative: str) -> int:
    """Open a path below ``folder`` that has no links, refusing to follow one that has appeared since."""
    current = os.dup(folder)
    for part in relative.split("/"):
        try:
            following = os.open(part, _OPENED, dir_fd=current)
        finally:
            os.close(current)
        current = following
    return current


def _within(path: str, folder: str) -> bool:
    return path == folder or path.startswith(folder.rstrip("/") + "/")


def _shown(name: str) -> str:
    """A name that cannot break out of its line or its encoding."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape", "surrogatepass").decode() for c in name)
