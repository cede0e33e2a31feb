"""File systems of a test's own, in a mount namespace that nobody else sees: small, read-only and failing ones."""

from __future__ import annotations

import ctypes
import errno
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from preloaded import preloaded

CLONE_NEWNS = 0x20000
MOUNT_SECONDS = 10
BUSY_SECONDS = 10.0
"""How long processes that were killed may keep a file system busy."""
MEBIBYTE = 1024 * 1024
FILLING = "filling"
"""What takes the room; it lies beside the reconciler's own folders, which take no notice of it."""
BLOCK = 4096


def mounts_of_our_own() -> None:
    """See mounts from now on that no other process does but those that are started here; skips without the right."""
    if os.geteuid() != 0:
        pytest.skip("file systems of a test's own need root, who may mount them")
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(CLONE_NEWNS) != 0:
        pytest.skip(f"file systems of a test's own need a mount namespace: {os.strerror(ctypes.get_errno())}")
    mount("--make-rprivate", "/")
    # the process that commands are forked from sees what was mounted when it began
    preloaded.cache_clear()


def mount(*arguments: str) -> None:
    """Run mount; skips where this root may not."""
    done = subprocess.run(["mount", *arguments], check=False, capture_output=True, text=True, timeout=MOUNT_SECONDS)
    if done.returncode != 0:
        pytest.skip(f"file systems of a test's own need the right to mount: {done.stderr.strip()}")


def unmount(place: Path) -> None:
    """Take away what was mounted last, whoever still uses it."""
    subprocess.run(["umount", "--lazy", str(place)], check=True, capture_output=True, timeout=MOUNT_SECONDS)


@contextmanager
def small(place: Path, *, mebibytes: int, inodes: int = 0) -> Iterator[Path]:
    """A file system in memory with so much room; ``inodes`` are how many files it takes, 0 for any number."""
    place.mkdir(exist_ok=True)
    mount("-t", "tmpfs", "-o", f"size={mebibytes}m,nr_inodes={inodes}", "small", str(place))
    try:
        yield place
    finally:
        unmount(place)


@dataclass(frozen=True)
class Ext4:
    """A real file system in a file of its own, as large as the file, in which an error can be had."""

    image: Path
    place: Path

    def make(self, mebibytes: int) -> None:
        """Make it; skips where that is not possible."""
        if shutil.which("mkfs.ext4") is None:
            pytest.skip("mkfs.ext4 is not installed")
        with self.image.open("wb") as file:
            file.truncate(mebibytes * MEBIBYTE)
        command = ["mkfs.ext4", "-q", "-F", "-m", "0", str(self.image)]
        subprocess.run(command, check=True, capture_output=True, timeout=MOUNT_SECONDS)
        self.place.mkdir(exist_ok=True)
        self.mount()

    def mount(self) -> None:
        """Have it there."""
        mount("-o", "loop,errors=remount-ro", str(self.image), str(self.place))

    def fail(self) -> None:
        """Let the kernel come upon an error in it: it writes to it no more, whoever has what open."""
        shown = subprocess.run(["findmnt", "-no", "SOURCE", self.place], check=True, capture_output=True, text=True)
        Path("/sys/fs/ext4", Path(shown.stdout.strip()).name, "trigger_fs_error").write_text("1")

    def take_away(self) -> None:
        """Unmount it, once nobody uses it any more."""
        deadline = time.monotonic() + BUSY_SECONDS
        while subprocess.run(["umount", self.place], check=False, capture_output=True).returncode != 0:
            assert time.monotonic() < deadline, "somebody uses the file system"
            time.sleep(0.02)

    def check(self) -> None:
        """What a host does at its start."""
        done = subprocess.run(["e2fsck", "-p", "-f", self.image], check=False, capture_output=True, text=True)
        assert done.returncode in (0, 1), done.stdout + done.stderr


@contextmanager
def read_only(place: Path) -> Iterator[None]:
    """Let a folder be read-only for all who name it from now on; files that are open stay as they are."""
    mount("--bind", str(place), str(place))
    mount("-o", "remount,bind,ro", str(place))
    try:
        yield
    finally:
        unmount(place)


def fill(place: Path, *, left: int = 0) -> None:
    """Take all room but ``left`` bytes."""
    status = os.statvfs(place)
    wanted = status.f_bavail * status.f_frsize - left
    with (place / FILLING).open("ab", buffering=0) as file:
        try:
            while wanted > 0:
                wanted -= file.write(b"\0" * min(MEBIBYTE, wanted))
        except OSError as error:
            assert error.errno == errno.ENOSPC
    if not left:
        with (place / f"{FILLING}.rest").open("ab", buffering=0) as file:
            try:
                while True:
                    file.write(b"\0" * BLOCK)
            except OSError as error:
                assert error.errno == errno.ENOSPC


def take_inodes(place: Path, *, left: int = 0) -> None:
    """Take all inodes but some."""
    folder = place / f"{FILLING}.d"
    folder.mkdir(exist_ok=True)
    number = len(list(folder.iterdir()))
    while os.statvfs(place).f_favail > left:
        (folder / str(number)).touch()
        number += 1


def make_room(place: Path) -> None:
    """Give back what was taken."""
    for path in place.glob(f"{FILLING}*"):
        if path.is_dir():
            for file in path.iterdir():
                file.unlink()
            path.rmdir()
        else:
            path.unlink()
