"""File systems: which one a path is on, what is left of it, and whether that is why something failed.

A full disk says so in many ways: an errno, a line in the output of git or uv, or only a program that cannot start.
None of them is the fault of what is in git, so that none of them may quarantine a release.
"""

from __future__ import annotations

import errno
import os
import re
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from reconciler.model.errors import Aborted, CommandFailed, DiskError, Lack, OutOfTime, ReconcilerError, StageFailed
from reconciler.model.sizes import readable

MOUNTS = Path("/proc/self/mountinfo")
EXHAUSTED_BYTES = 64 * 1024
"""Of which free space on a program that failed without a reason is taken to have failed for the lack of it."""
EXHAUSTED_INODES = 4
ONE_WRITE_BYTES = 16 * 1024 * 1024
"""The same for one that could not write a file: a file system may refuse a write as a whole that does not fit."""
BLOCK_BYTES = 512
"""The unit of ``st_blocks``."""
TAIL_CHARACTERS = 2_000

STOPPED = "emergency_ro"
"""How newer kernels say that they write to a file system no more, after an error; older ones say ``ro``."""

_LACKS = {
    errno.ENOSPC: Lack.SPACE,
    errno.EDQUOT: Lack.QUOTA,
    errno.EROFS: Lack.WRITABLE,
    errno.EIO: Lack.HEALTH,
}
# as the C library says it, and as programs in Rust number it; what a server says of its own disk is no news of ours
_SAID = (
    (re.compile(r"^(?!remote:).*(No space left on device|os error 28\b|disk is full)", re.MULTILINE), Lack.SPACE),
    (re.compile(r"^(?!remote:).*(Disk quota exceeded|os error 122\b)", re.MULTILINE), Lack.QUOTA),
    (
        re.compile(r"^(?!remote:).*(Read-only file system|os error 30\b|readonly database)", re.MULTILINE),
        Lack.WRITABLE,
    ),
)
# git says no more when the kernel refuses what it writes; the name is of the app's choosing
_UNWRITTEN = re.compile(r"^error: unable to write file ", re.MULTILINE)
_PATH = re.compile(r"(?<![\w/.:-])/[^\s'\"`:,;()]+")


@dataclass(frozen=True, slots=True)
class FileSystem:
    """What a file system has left for this account; ``inodes`` is 0 where files are not counted."""

    mount: Path
    free: int
    size: int
    free_inodes: int
    inodes: int
    read_only: bool

    @property
    def lacks_inodes(self) -> bool:
        """Whether files are what it has no more room for."""
        return bool(self.inodes) and self.free_inodes < EXHAUSTED_INODES

    @property
    def lack(self) -> Lack | None:
        """What it is out of; ``None`` when it has something left of everything."""
        if self.read_only:
            return Lack.WRITABLE
        if self.lacks_inodes:
            return Lack.INODES
        return Lack.SPACE if self.free < EXHAUSTED_BYTES else None


def file_system_of(path: Path) -> FileSystem:
    """The file system that holds ``path``, or would: of a path that is not there, the nearest folder that is."""
    place = _nearest(path)
    status = os.statvfs(place)
    mount, options = _mount_of(place)
    return FileSystem(
        mount,
        status.f_bavail * status.f_frsize,
        status.f_blocks * status.f_frsize,
        status.f_favail,
        status.f_files,
        bool(status.f_flag & os.ST_RDONLY) or STOPPED in options,
    )


def disk_error(error: BaseException, *places: Path) -> DiskError | None:
    """What ``error`` says when a file system is to blame for it; ``None`` when none is.

    ``places`` are where was written, the likeliest first; what the error names itself comes before them.
    """
    if isinstance(error, DiskError):
        return error
    said = _said(error)
    # uv does not always say where it wrote
    packages = [Path(cache)] if (cache := os.environ.get("UV_CACHE_DIR")) else []
    candidates = [*_named(error, said), *places, *packages, Path(tempfile.gettempdir())]
    lack = _LACKS.get(error.errno or 0) if isinstance(error, OSError) else None
    if lack is None:
        lack = next((lack for pattern, lack in _SAID if pattern.search(said)), None)
    if lack is not None:
        return _error(lack, _culprit(lack, candidates), said)
    if not isinstance(error, (StageFailed, CommandFailed)) or isinstance(error, (OutOfTime, Aborted)):
        return None
    for found in map(file_system_of, candidates):
        if found.lack is not None:
            return _error(found.lack, found, said)
    return _unwritten(said, places)


def _unwritten(said: str, places: Iterable[Path]) -> DiskError | None:
    """The error of a program that could not write, and does not say why."""
    if not _UNWRITTEN.search(said):
        return None
    for place in places:
        found = file_system_of(place)
        return _error(Lack.SPACE if found.free < ONE_WRITE_BYTES else Lack.HEALTH, found, said)
    return None


def usage_of(folder: Path) -> tuple[int, int]:
    """How many bytes and how many files a folder takes; what goes meanwhile does not count."""
    size = files = 0
    for parent, folders, names in os.walk(folder):
        for name in (*folders, *names):
            try:
                size += os.lstat(os.path.join(parent, name)).st_blocks * BLOCK_BYTES  # noqa: PTH118 - thousands
            except OSError:
                continue
            files += 1
    return size, files


def sentence_of(found: FileSystem, lack: Lack) -> str:
    """What is wrong with a file system, as a part of a sentence."""
    free = f"{readable(found.free)} of {readable(found.size)} are free"
    match lack:
        case Lack.WRITABLE:
            return f"the file system {found.mount} is read-only"
        case Lack.INODES:
            return (
                f"the file system {found.mount} takes no more files: {found.free_inodes:,} of its {found.inodes:,} "
                f"inodes are free, although {free}"
            )
        case Lack.QUOTA:
            return f"this account's quota of the file system {found.mount} is used up: {free}"
        case Lack.SPACE:
            return f"the file system {found.mount} is full: {free}"
        case Lack.HEALTH:
            return f"the file system {found.mount} does not take what is written to it, although {free}"


def hint_of(mount: Path, lack: Lack) -> str:
    """What to do about it."""
    match lack:
        case Lack.WRITABLE:
            return (
                f"`dmesg` may say why; when the cause is gone, `mount -o remount,rw {mount}` makes it writable, or "
                "after an error of the disk `fsck` while it is not mounted; then it is tried again by itself"
            )
        case Lack.INODES:
            return (
                f"remove files (`du --inodes -xd1 {mount} | sort -n` counts them) or make a file system with more "
                "inodes; it is tried again by itself"
            )
        case Lack.QUOTA:
            return "remove files of this account there, or raise its quota; it is tried again by itself"
        case Lack.SPACE:
            return (
                f"make room there (`du -xhd1 {mount} | sort -h` shows what takes it) or enlarge it; "
                "it is tried again by itself"
            )
        case Lack.HEALTH:
            return "`dmesg` may say why, or `quota`; it is tried again by itself"


def _error(lack: Lack, found: FileSystem, said: str) -> DiskError:
    if lack is Lack.SPACE and found.lacks_inodes:
        # the same errno means both
        lack = Lack.INODES
    return DiskError(
        sentence_of(found, lack), hint=hint_of(found.mount, lack), mount=found.mount, lack=lack,
        tail=said[-TAIL_CHARACTERS:],
    )  # fmt: skip


def _culprit(lack: Lack, places: Iterable[Path]) -> FileSystem:
    """Which of the file systems is the one that is meant: the one that lacks it, else the one with the least left."""
    known = list({found.mount: found for found in map(file_system_of, places)}.values())
    if lack is Lack.WRITABLE:
        return next((found for found in known if found.read_only), known[0])
    if lack is Lack.HEALTH:
        return known[0]
    lacking = [found for found in known if found.lack is not None and not found.read_only]
    return lacking[0] if lacking else min(known, key=lambda found: found.free)


def _said(error: BaseException) -> str:
    if isinstance(error, ReconcilerError):
        tail = str(getattr(error, "tail", ""))
        return tail if str(error) in tail else f"{tail}\n{error}"
    return str(error)


def _named(error: BaseException, said: str) -> list[Path]:
    """The paths that an error names: an errno's own, and those in the lines of a program that tell of it."""
    if isinstance(error, OSError):
        return [Path(name) for name in (error.filename,) if isinstance(name, str)]
    lines = [line for line in said.splitlines() if any(pattern.search(line) for pattern, _ in _SAID)]
    return [Path(match[0]) for line in lines for match in _PATH.finditer(line)]


def _nearest(path: Path) -> Path:
    return next(folder for folder in (path.absolute(), *path.absolute().parents) if folder.exists())


def _mount_of(place: Path) -> tuple[Path, frozenset[str]]:
    """Where the file system is mounted that holds a folder, and its options.

    Bind mounts count, which device numbers do not show.
    """
    real = os.path.realpath(place)
    best, options = "/", ""
    try:
        lines = MOUNTS.read_text("utf-8", "surrogateescape").splitlines()
    except OSError:
        lines = []
    for line in lines:
        fields = line.split(" ")
        mount = re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), fields[4])
        if (real == mount or real.startswith(mount.rstrip("/") + "/")) and len(mount) >= len(best):
            best, options = mount, fields[-1]
    return Path(best), frozenset(options.split(","))
