"""Reading the end of a log, and going on as it grows."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from reconciler.engine.known_apps import require_known
from reconciler.host.log_rotation import put_aside
from reconciler.model.errors import HostError

if TYPE_CHECKING:
    from reconciler.cli.wiring import Installation

BLOCK_BYTES = 64 * 1024
FOLLOW_SECONDS = 0.2


def app_logs(installation: Installation, app: str, *, nginx: bool = False, hooks: bool = False) -> list[Path]:
    """The logs of an app that exist: its own, or those of its hooks, or nginx's error and access log for it.

    Raises :class:`UsageError` for an app that this host does not know, :class:`HostError` when nothing was logged.
    """
    # the name becomes part of a path: only one that the journal knows can be asked for
    with installation.journal() as journal:
        require_known(journal, app)
    layout = installation.layout
    wanted, who = [], []
    if hooks:
        wanted.append(layout.hooks_log(app))
        who.append(f"no hook of {app} has run")
    if nginx:
        wanted += [layout.error_log(app), layout.access_log(app)]
        who.append(f"nginx has logged nothing for {app}")
    if not wanted:
        wanted.append(layout.app_log(app))
        who.append(f"{app} has not printed anything yet")
    found = [file for file in wanted if file.exists()]
    if not found:
        raise HostError(
            f"{' and '.join(who)}: there is no {wanted[0]}",
            hint=f"`reconciler explain {app}` says what happened to it",
        )
    return found


@dataclass(frozen=True, slots=True)
class Place:
    """How far a log has been read: the inode of the file that was there, and an offset in bytes."""

    inode: int = 0
    offset: int = 0


def last_lines(file: Path, count: int) -> tuple[str, Place]:
    """The last ``count`` lines of a file of any size, read from its end, and the place after them.

    A log that has just been put aside begins with the end of the one before.
    """
    content = b""
    with file.open("rb") as log:
        place = Place(os.fstat(log.fileno()).st_ino, log.seek(0, os.SEEK_END))
        position = place.offset if count else 0
        while position > 0 and content.count(b"\n") <= count:
            size = min(BLOCK_BYTES, position)
            position -= size
            log.seek(position)
            content = log.read(size) + content
    lines = content.splitlines(keepends=True)[-count:] if count else []
    before, missing = put_aside(file), count - len(lines)
    older = last_lines(before, missing)[0] if missing > 0 and before.exists() else ""
    return older + b"".join(lines).decode("utf-8", "replace"), place


def follow_files(places: dict[Path, Place], write: Callable[[str], None]) -> None:
    """Write what is added behind the places, rotated files included, until the reader goes or presses Ctrl-C."""
    shown = list(places)[-1]
    while True:
        for file in list(places):
            added, places[file] = _added(file, places[file])
            if added:
                if file != shown:
                    write(f"\n==> {file} <==\n")
                    shown = file
                write(added.decode("utf-8", "replace"))
        time.sleep(FOLLOW_SECONDS)


def _added(file: Path, before: Place) -> tuple[bytes, Place]:
    """What the file has behind a place; a file that was rotated or cut begins anew."""
    try:
        with file.open("rb") as log:
            status = os.fstat(log.fileno())
            same = status.st_ino == before.inode and status.st_size >= before.offset
            start = log.seek(before.offset if same else 0)
            added = log.read()
    except OSError:
        return b"", before
    return added, Place(status.st_ino, start + len(added))
