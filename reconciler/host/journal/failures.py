"""What SQLite's errors mean: a full or read-only disk, a damaged file, a lack of rights; each with its sentence."""

from __future__ import annotations

import os
import sqlite3
import stat
from pathlib import Path

from reconciler.host.owners import account_name
from reconciler.model.errors import JournalDamaged, JournalError

DAMAGED = ("SQLITE_CORRUPT", "SQLITE_NOTADB", "SQLITE_FORMAT")
OF_THE_DISK = ("SQLITE_FULL", "SQLITE_READONLY", "SQLITE_IOERR", "SQLITE_CANTOPEN")
RENEWAL_HINT = (
    "sites keep serving; the agent, or `reconciler once`, sets it aside by itself and goes on with what can be read"
)


def refuse_what_is_no_file(path: Path) -> None:
    """Raise :class:`JournalError` when something lies in the journal's place that no journal ever was."""
    try:
        mode = path.stat().st_mode
    except OSError:
        return
    if not stat.S_ISREG(mode):
        what = "folder" if stat.S_ISDIR(mode) else "special file"
        raise JournalError(
            f"the journal {path} is a {what}",
            hint=f"see who put it there, then move it away: `mv {path} {path}.away`",
        )


def journal_error(error: sqlite3.Error, path: Path | None, doing: str) -> JournalError:
    """The error for what SQLite said; ``doing`` is what could not be done, such as ``written``."""
    name = getattr(error, "sqlite_errorname", None) or ""
    shown = f"the journal {path}" if path is not None else "the journal"
    if name.startswith(DAMAGED):
        return JournalDamaged(f"{shown} is damaged: {error}", hint=RENEWAL_HINT)
    if path is not None and name.startswith(OF_THE_DISK):
        from reconciler.host.file_systems import disk_error, file_system_of, hint_of, sentence_of  # noqa: PLC0415

        found = file_system_of(path)
        if found.lack is not None:
            return JournalError(
                f"{shown} cannot be {doing}: {sentence_of(found, found.lack)}", hint=hint_of(found.mount, found.lack)
            )
        if name.startswith("SQLITE_FULL") and (full := disk_error(OSError(28, str(error)), path)) is not None:
            return JournalError(f"{shown} cannot be {doing}: {full}", hint=full.hint)
        refused = _refused(path)
        if refused is not None:
            return JournalError(f"{shown} cannot be {doing}: {refused}", hint=f"`chown` or `chmod` it: {path}")
    return JournalError(
        f"{shown} cannot be {doing}: {error}", hint="check the free space and the rights of its folder"
    )


def _refused(path: Path) -> str | None:
    """Which file this account may not use, and whose it is."""
    for part in (path.parent, path, *(path.with_name(path.name + ending) for ending in ("-wal", "-shm"))):
        if part.exists() and not os.access(part, os.R_OK | os.W_OK):
            status = part.stat()
            owner, mode = account_name(status.st_uid), stat.S_IMODE(status.st_mode)
            return f"{account_name(os.geteuid())} may not write {part}, which is {owner}'s and has mode {mode:04o}"
    return None
