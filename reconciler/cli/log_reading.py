"""Reading the end of a log, and going on as it grows."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from reconciler.cli.known_apps import require_known
from reconciler.model.errors import HostError

if TYPE_CHECKING:
    from reconciler.cli.wiring import Installation

BLOCK_BYTES = 64 * 1024
FOLLOW_SECONDS = 0.2


def app_logs(installation: Installation, app: str, *, nginx: bool) -> list[Path]:
    """The logs of an app that exist: its own, or nginx's error and access log for it.

    Raises :class:`UsageError` for an app that this host does not know, :class:`HostError` when nothing was logged.
    """
    # the name becomes part of a path: only one that the journal knows can be asked for
    with installation.journal() as journal:
        require_known(journal, app)
    layout = installation.layout
    own = [layout.app_log(app)]
    wanted = [layout.logs / f"{app}.{kind}.log" for kind in ("error", "access")] if nginx else own
    found = [file for file in wanted if file.exists()]
    if not found:
        who = f"nginx has logged nothing for {app}" if nginx else f"{app} has not printed anything yet"
        raise HostError(
            f"{who}: there is no {wanted[0]}", hint=f"`reconciler explain {app}` says what happened to it"
        )
    return found


def last_lines(file: Path, count: int) -> str:
    """The last ``count`` lines of a file of any size, read from its end."""
    if count == 0:
        return ""
    content = b""
    with file.open("rb") as log:
        position = log.seek(0, os.SEEK_END)
        while position > 0 and content.count(b"\n") <= count:
            size = min(BLOCK_BYTES, position)
            position -= size
            log.seek(position)
            content = log.read(size) + content
    return b"".join(content.splitlines(keepends=True)[-count:]).decode("utf-8", "replace")


def follow_files(files: Sequence[Path], write: Callable[[str], None]) -> None:
    """Write what is added to the files, rotated ones included, until the reader goes or presses Ctrl-C."""
    places = {file: _place(file) for file in files}
    shown = files[-1]
    while True:
        for file in files:
            added, places[file] = _added(file, places[file])
            if added:
                if file != shown:
                    write(f"\n==> {file} <==\n")
                    shown = file
                write(added.decode("utf-8", "replace"))
        time.sleep(FOLLOW_SECONDS)


def _place(file: Path) -> tuple[int, int]:
    """Which file it is now, and how far it reaches: inode and size."""
    with suppress(OSError):
        status = file.stat()
        return status.st_ino, status.st_size
    return 0, 0


def _added(file: Path, before: tuple[int, int]) -> tuple[bytes, tuple[int, int]]:
    inode, size = now = _place(file)
    start = before[1] if inode == before[0] and size >= before[1] else 0
    if size <= start:
        return b"", now
    try:
        with file.open("rb") as log:
            log.seek(start)
            added = log.read(size - start)
    except OSError:
        return b"", before
    return added, (inode, start + len(added))
