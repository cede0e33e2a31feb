"""A model of a disk that keeps only what was flushed, kept beside an agent at work, and disks made from it.

The model follows the rules that file systems promise and no more: the content of a file is there after an ``fsync``
of that file, the names in a folder after an ``fsync`` of that folder, everything after a ``syncfs``. SQLite flushes
by itself: a transaction of the journal is there once it is committed. What git, uv and the app's own programs write
is gone unless something of the above came after it.

A disk can lose more or less than that. Two extremes are made of each image: :data:`LEAST`, nothing but what was
flushed; :data:`NAMES`, all names as they were, and empty files where the content was not flushed, which is what a
journaling file system leaves.
"""

from __future__ import annotations

import json
import os
import resource
import shutil
import sqlite3
import stat
import sys
import threading
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

LEAST = "only what was flushed"
NAMES = "all names, and empty files"
JOURNAL = ("journal.sqlite3", "journal.sqlite3-wal", "journal.sqlite3-shm")
NOT_WATCHED = ("logs", "run", "cache")
"""Folders whose files nobody relies on after a loss of power."""


class Disk:
    """The model; ``images`` is a folder for what it keeps, outside of ``root``."""

    def __init__(self, root: Path, images: Path) -> None:
        self.root, self.images = root, images
        self._lock = threading.RLock()
        self._pins: dict[int, int] = {}
        self._folders: dict[int, dict[str, list[Any]]] = {}
        self._files: dict[int, list[Any]] = {}
        self._number = 0
        self.violations: list[str] = []
        images.mkdir()
        (images / "objects").mkdir()
        most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
        self.flush_all()

    # what flushes

    def flush_all(self) -> None:
        """``syncfs``: everything is there."""
        for place, _, files in os.walk(self.root):
            self.flush_folder(Path(place))
            for name in files:
                self.flush_file(Path(place, name))

    def flush_file(self, path: Path) -> None:
        """``fsync`` of a file: its content is there."""
        try:
            status = path.lstat()
            if not stat.S_ISREG(status.st_mode):
                return
            self._pin(path, status.st_ino)
            known = self._files.get(status.st_ino)
            state = [status.st_mtime_ns, status.st_size]
            if known is not None and known[1] == state:
                known[2] = status.st_mode
                return
            self._number += 1
            kept = self.images / "objects" / str(self._number)
            # only outputs of the store are never written to again
            if path.is_relative_to(self.root / "store"):
                os.link(path, kept)
            else:
                shutil.copyfile(path, kept)
            self._files[status.st_ino] = [kept.name, state, status.st_mode]
        except FileNotFoundError:
            pass

    def flush_folder(self, path: Path) -> None:
        """``fsync`` of a folder: its names are there."""
        try:
            self._pin(path, path.stat().st_ino)
            self._folders[path.stat().st_ino] = self._entries(path)
        except FileNotFoundError:
            pass

    def committed(self) -> None:
        """The journal wrote a transaction, and flushed it."""
        root = self._folders.setdefault(self.root.stat().st_ino, {})
        for name, entry in self._entries(self.root).items():
            if name in JOURNAL:
                root[name] = entry
                self.flush_file(self.root / name)

    # what is kept

    def save(self, event: str) -> None:
        """Keep an image of what is there now."""
        image = {
            "event": event,
            "root": self.root.stat().st_ino,
            "folders": self._folders,
            "files": self._files,
            "names": self._names(),
        }
        number = len(list(self.images.glob("image-*")))
        (self.images / f"image-{number:04d}.json").write_text(json.dumps(image))

    def not_flushed(self, path: Path) -> list[str]:
        """What of a file, link or folder would not be there after a loss of power, its own name left aside."""
        try:
            status = path.lstat()
        except FileNotFoundError:
            return []
        if stat.S_ISDIR(status.st_mode):
            real, kept = self._entries(path), self._folders.get(status.st_ino, {})
            lacking = [f"{path}/{name}" for name in real if real[name] != kept.get(name) and not _temporary(name)]
            return lacking + [line for name in real if not _temporary(name) for line in self.not_flushed(path / name)]
        if stat.S_ISREG(status.st_mode):
            known = self._files.get(status.st_ino)
            if known is None or known[1] != [status.st_mtime_ns, status.st_size]:
                return [str(path)]
        return []

    def relied_on(self) -> list[str]:
        """What the applied state relies on and would not be there."""
        found = []
        for name in ("public", "releases", "vassals", "nginx", "store"):
            path = self.root / name
            kept = self._folders.get(self.root.stat().st_ino, {})
            if path.is_dir() and name not in kept:
                found.append(str(path))
            found += self.not_flushed(path)
        # made anew where it is missing
        return [path for path in found if "/store/index" not in path]

    def _names(self) -> dict[str, list[Any]]:
        found = {}
        for place, folders, files in os.walk(self.root):
            for name in (*folders, *files):
                path = Path(place, name)
                try:
                    status = path.lstat()
                    target = os.readlink(path) if path.is_symlink() else None
                except FileNotFoundError:
                    continue
                state = [status.st_mtime_ns, status.st_size]
                found[os.path.relpath(path, self.root)] = [status.st_mode, status.st_ino, target, state]
        return found

    def _entries(self, folder: Path) -> dict[str, list[Any]]:
        found = {}
        for name in os.listdir(folder):
            path = folder / name
            try:
                status = path.lstat()
                target = os.readlink(path) if path.is_symlink() else None
            except FileNotFoundError:
                continue
            if stat.S_ISSOCK(status.st_mode):
                continue
            self._pin(path, status.st_ino)
            found[name] = [status.st_ino, stat.S_IFMT(status.st_mode) | _mode(status), target]
        return found

    def _pin(self, path: Path, inode: int) -> None:
        """Keep the number from being given to another file."""
        if inode not in self._pins:
            with suppress(FileNotFoundError):
                self._pins[inode] = os.open(path, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)


def _mode(status: os.stat_result) -> int:
    return stat.S_IMODE(status.st_mode) if stat.S_ISDIR(status.st_mode) else 0


def _temporary(name: str) -> bool:
    return name.startswith(".tmp-")


def prepare(plan: dict[str, Any]) -> None:
    """Keep the model beside the agent that this process is about to become."""
    from reconciler.host import files

    disk = Disk(Path(plan["root"]), Path(plan["images"]))
    violations = open(disk.images / "violations", "w", encoding="utf-8", buffering=1)
    fsync, syncfs, connect = os.fsync, files._syncfs, sqlite3.connect
    disk.save("before")

    def watched_fsync(descriptor: int) -> None:
        fsync(descriptor)
        path = Path(os.readlink(f"/proc/self/fd/{descriptor}"))
        with disk._lock:
            if path.is_relative_to(disk.root):
                (disk.flush_folder if path.is_dir() else disk.flush_file)(path)
                disk.save(f"fsync {path.relative_to(disk.root)}")

    def watched_syncfs(descriptor: int) -> None:
        syncfs(descriptor)
        with disk._lock:
            disk.flush_all()
            disk.save("syncfs")

    class Connection(sqlite3.Connection):
        def execute(self, statement: str, *arguments: Any) -> sqlite3.Cursor:
            commits = statement == "COMMIT"
            asked = _asked() if commits else ""
            with disk._lock:
                if asked == "record_verified":
                    violations.writelines(
                        f"recorded as applied before it was flushed: {p}\n" for p in disk.relied_on()
                    )
                cursor = super().execute(statement, *arguments)
                if commits:
                    disk.committed()
                    disk.save(f"commit of {asked}")
            return cursor

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if event == "os.rename":
            source, target = Path(arguments[0]), Path(arguments[1])
            inside = target.is_relative_to(disk.root) and target.relative_to(disk.root).parts[0] not in NOT_WATCHED
            if inside and not _temporary(target.name) and "mirrors" not in target.parts:
                with disk._lock:
                    violations.writelines(f"visible before it was flushed: {p}\n" for p in disk.not_flushed(source))

    def watched_connect(*arguments: Any, **options: Any) -> sqlite3.Connection:
        return connect(*arguments, **options, factory=Connection)

    os.fsync, files._syncfs = watched_fsync, watched_syncfs
    sqlite3.connect = watched_connect  # type: ignore[assignment]
    sys.addaudithook(hook)


def _asked() -> str:
    """The method of the journal that writes."""
    frame = sys._getframe(2)
    while frame is not None and "/journal/" in frame.f_code.co_filename and frame.f_back is not None:
        name = frame.f_code.co_name
        frame = frame.f_back
        if "/journal/" not in frame.f_code.co_filename and "contextlib" not in frame.f_code.co_filename:
            return name
        if "contextlib" in frame.f_code.co_filename and frame.f_back is not None:
            frame = frame.f_back
    return ""


# disks from images


def images_of(folder: Path) -> list[dict[str, Any]]:
    """All images, in order; those that say the same as the one before are left out."""
    found: list[dict[str, Any]] = []
    for file in sorted(folder.glob("image-*.json")):
        image = json.loads(file.read_text())
        if not found or any(image[part] != found[-1][part] for part in ("folders", "files")):
            found.append(image)
    return found


def restore(image: Mapping[str, Any], objects: Path, root: Path, extreme: str) -> None:
    """Make ``root``, which is not there, the disk that an image describes."""
    root.mkdir()
    if extreme == LEAST:
        _restore_folder(image, str(image["root"]), objects, root)
        return
    for name, (mode, inode, target, state) in image["names"].items():
        path = root / name
        if stat.S_ISDIR(mode):
            path.mkdir(stat.S_IMODE(mode))
        elif stat.S_ISLNK(mode):
            path.symlink_to(target)
        elif stat.S_ISREG(mode):
            known = image["files"].get(str(inode))
            is_there = known is not None and (known[1] == state or name in JOURNAL)
            _restore_file(path, known if is_there else None, objects, mode)


def _restore_folder(image: Mapping[str, Any], inode: str, objects: Path, folder: Path) -> None:
    for name, (number, mode, target) in image["folders"].get(inode, {}).items():
        path = folder / name
        if stat.S_ISDIR(mode):
            path.mkdir(stat.S_IMODE(mode))
            _restore_folder(image, str(number), objects, path)
        elif stat.S_ISLNK(mode):
            path.symlink_to(target)
        else:
            _restore_file(path, image["files"].get(str(number)), objects, 0o644)


def _restore_file(path: Path, known: list[Any] | None, objects: Path, mode: int) -> None:
    if known is None:
        path.touch()
        path.chmod(stat.S_IMODE(mode))
        return
    shutil.copyfile(objects / known[0], path)
    path.chmod(stat.S_IMODE(known[2]))
    os.utime(path, ns=(known[1][0], known[1][0]))
