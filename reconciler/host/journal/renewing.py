"""Renewing a damaged journal: set aside under another name, and begun anew with every row that can still be read."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path

from reconciler.host.files import TEMPORARY_PREFIX, flush_folder
from reconciler.host.journal.journal import Journal
from reconciler.host.journal.records import EventRecord
from reconciler.model.errors import JournalDamaged

ASIDE = "damaged"
SIDES = ("-wal", "-shm")
"""What SQLite keeps beside its file."""
NO_APP = ""
"""The app of events that are about the host."""
ROWS_AT_ONCE = 500


@dataclass(frozen=True, slots=True)
class Renewed:
    """A journal that took the place of a damaged one: where that lies now, how many rows came over, from how many
    tables not all of them did, and the sentence that tells it."""

    aside: Path
    rows: int
    torn: tuple[str, ...]
    message: str


def open_or_renew(path: Path, *, thorough: bool = False) -> tuple[Journal, Renewed | None]:
    """Open the journal; where it is damaged, begin it anew with what can be read of it. The caller holds the lock.

    ``thorough`` looks at every page first. Raises :class:`~reconciler.model.errors.JournalError` for what a person
    has to see to, such as a journal of a newer version.
    """
    journal = None
    try:
        journal = Journal.open(path)
        if thorough:
            journal.check()
            read_everything(journal)
    except JournalDamaged as error:
        if journal is not None:
            journal.close()
        renewed = _renew(path, str(error))
        journal = Journal.open(path)
        detail = {"aside": str(renewed.aside), "rows": renewed.rows, "torn": list(renewed.torn)}
        journal.record_event(EventRecord(NO_APP, "journal_renewed", renewed.message, time.time(), detail))
        return journal, renewed
    return journal, None


def read_everything(journal: Journal) -> None:
    """Read what passes read; raises :class:`JournalDamaged` when a value is not what was written."""
    for read in _readers(journal).values():
        read()


def _readers(journal: Journal) -> dict[str, Callable[[], object]]:
    return {
        "applied": journal.applied,
        "apps": journal.apps,
        "outputs": journal.made_outputs,
        "drift": journal.drift,
        "suspensions": journal.suspensions,
        "hooks": journal.last_irreversible_hooks,
    }


def _renew(path: Path, why: str) -> Renewed:
    fresh = path.with_name(f"{TEMPORARY_PREFIX}{path.name}")
    for file in _with_sides(fresh):
        file.unlink(missing_ok=True)
    with Journal.open(fresh) as journal:
        rows, torn = _take_over(path, fresh)
        torn += _forget_unreadable(journal)
    aside = _free_name(path)
    # what was not checkpointed belongs to the old file, and would be taken for the new one's
    for side in SIDES:
        with suppress(FileNotFoundError):
            path.with_name(path.name + side).rename(aside.with_name(aside.name + side))
    aside.hardlink_to(path)
    fresh.replace(path)
    flush_folder(path.parent)
    said = why.partition(" is damaged: ")[2] or why
    kept = f"{rows:,} of its rows could be read and are kept" if rows else "nothing in it could be read"
    message = f"the journal {path} was damaged ({said}) and lies as {aside.name} now; {kept}"
    if torn:
        message += f"; rows are missing of {', '.join(sorted(set(torn)))}: what serves is proven anew, not deployed"
    return Renewed(aside, rows, tuple(sorted(set(torn))), message)


def _take_over(old: Path, new: Path) -> tuple[int, list[str]]:
    """Copy every row that can be read; returns how many, and the tables of which some could not."""
    with closing(sqlite3.connect(new, isolation_level=None)) as target:
        tables = [name for (name,) in target.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")]
        try:
            with closing(sqlite3.connect(f"{old.absolute().as_uri()}?mode=ro", uri=True)) as source:
                taken = {table: _copy(source, target, table) for table in tables}
        except sqlite3.Error:
            return 0, tables
    return sum(rows for rows, _ in taken.values()), [table for table, (_, whole) in taken.items() if not whole]


def _copy(source: sqlite3.Connection, target: sqlite3.Connection, table: str) -> tuple[int, bool]:
    """One table from both of its ends: a bad page in the middle costs its own rows only."""
    columns = [row[1] for row in target.execute(f"PRAGMA table_info({table})")]
    try:
        known = {row[1] for row in source.execute(f"PRAGMA table_info({table})")}
    except sqlite3.Error:
        return 0, False
    if not known:
        return 0, False
    names = ", ".join(f'"{name}"' for name in columns if name in known)
    marks = ", ".join("?" for name in columns if name in known)
    before = target.total_changes
    whole = True
    target.execute("BEGIN")
    for order in ("ASC", "DESC"):
        statement = f"SELECT {names} FROM {table} NOT INDEXED ORDER BY rowid {order}"  # noqa: S608
        whole = True
        for rows in _until_damage(source, statement):
            if rows is None:
                whole = False
                break
            target.executemany(f"INSERT OR IGNORE INTO {table} ({names}) VALUES ({marks})", rows)  # noqa: S608
        if whole:
            break
    target.execute("COMMIT")
    return target.total_changes - before, whole


def _until_damage(source: sqlite3.Connection, statement: str) -> Iterator[list[tuple[object, ...]] | None]:
    """Rows, some at a time; ``None`` at last where a page cannot be read."""
    try:
        cursor = source.execute(statement)
        while True:
            rows: list[tuple[object, ...]] = []
            try:
                while len(rows) < ROWS_AT_ONCE and (row := cursor.fetchone()) is not None:
                    rows.append(row)
            except sqlite3.Error:
                yield rows
                raise
            if not rows:
                return
            yield rows
    except sqlite3.Error:
        yield None


def _forget_unreadable(journal: Journal) -> list[str]:
    """Empty the tables that hold what nobody wrote; returns which."""
    emptied = []
    for table, read in _readers(journal).items():
        try:
            read()
        except (JournalDamaged, ValueError, TypeError, KeyError, AttributeError):
            journal.empty_table(table)
            emptied.append(table)
    return emptied


def _with_sides(path: Path) -> tuple[Path, ...]:
    return (path, *(path.with_name(path.name + side) for side in SIDES))


def _free_name(path: Path) -> Path:
    stem = f"{path.name}.{ASIDE}-{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}"
    names = (stem, *(f"{stem}-{number}" for number in range(2, 1_000)))
    return next(place for name in names if not (place := path.with_name(name)).exists())
