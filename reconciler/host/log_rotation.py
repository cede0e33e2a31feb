"""Logs of apps and servers are bounded: what has grown large is copied aside, and emptied.

Copied and not renamed, because uWSGI and nginx, workers of releases that end included, keep their logs open and would
go on in a renamed one. They all append, so that an emptied log goes on at its beginning. A line that is printed
between the last byte that was copied and the emptying is lost.
"""

from __future__ import annotations

import os
from pathlib import Path

from reconciler.host.files import temporary_sibling

LOG_BYTES = 32 * 1024 * 1024
KEPT_TIMES = 4
"""Of a log that grew faster than it is looked at, as many times its size are put aside: the end of it."""
"""From which size on a log is put aside; with the one before it, it takes twice as much, and what comes meanwhile."""
COPIED_BYTES = 1024 * 1024
"""How much of a log is held in memory."""
ROTATION_SECONDS = 60.0
"""How often a process that stays looks at the sizes."""
LOG_SUFFIX = ".log"


def put_aside(log: Path) -> Path:
    """Where the content of a log goes before it begins anew: ``blog.log.1``."""
    return log.with_name(f"{log.name}.1")


def rotate(folder: Path, size: int = LOG_BYTES) -> list[Path]:
    """Put every log of the folder that has ``size`` bytes aside; returns which. Raises :class:`OSError`.

    An older one that was put aside is replaced.
    """
    rotated = []
    with os.scandir(folder) as entries:
        large = [
            Path(entry.path)
            for entry in entries
            if entry.name.endswith(LOG_SUFFIX)
            and entry.is_file(follow_symlinks=False)
            and entry.stat(follow_symlinks=False).st_size >= size
        ]
    for log in sorted(large):
        _copy_and_empty(log, size)
        rotated.append(log)
    return rotated


def _copy_and_empty(log: Path, size: int) -> None:
    copy = temporary_sibling(log)
    descriptor = os.open(log, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        with os.fdopen(descriptor, "rb+", buffering=0) as file, copy.open("xb") as target:
            copy.chmod(os.fstat(descriptor).st_mode & 0o777)
            # an app may have made its log as long as it likes, with nothing in it
            file.seek(max(0, os.fstat(descriptor).st_size - KEPT_TIMES * size))
            left = KEPT_TIMES * size
            while chunk := file.read(min(left, COPIED_BYTES)):
                target.write(chunk)
                left -= len(chunk)
            target.flush()
            copy.replace(put_aside(log))
            file.truncate(0)
    finally:
        copy.unlink(missing_ok=True)
