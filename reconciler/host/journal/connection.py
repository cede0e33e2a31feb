"""The connection that all of the journal's tables are read and written through."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

from reconciler.host.journal.migrations import is_newest, migrate
from reconciler.host.journal.statements import Statement
from reconciler.model.errors import JournalError

JOURNAL_BUSY_MS = 5_000


class JournalConnection:
    """One connection to the journal, safe to share between threads."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._lock = threading.RLock()
        self._written: set[str] = set()
        self._written_elsewhere = -1

    @classmethod
    def open(cls, path: Path) -> Self:
        """Open the journal for writing, make it when there is none, and bring it to the newest schema."""
        try:
            connection = cls._connect(str(path))
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = FULL")
            migrate(connection)
        except sqlite3.Error as error:
            raise JournalError(
                f"the journal {path} cannot be opened: {error}",
                hint="move the file away to start a new journal: sites keep serving, and the next pass adopts them",
            ) from error
        return cls(connection)

    @classmethod
    def read(cls, path: Path) -> Self:
        """Open the journal for reading only; it must exist."""
        if not path.exists():
            raise JournalError(
                f"there is no journal at {path} yet", hint="run `reconciler once` or `reconciler run` first"
            )
        try:
            connection = cls._connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)
            connection.execute("SELECT 1 FROM apps LIMIT 1").fetchall()
            connection = cls._as_newest(connection)
        except sqlite3.Error as error:
            raise JournalError(f"the journal {path} cannot be read: {error}") from error
        return cls(connection)

    @classmethod
    def _as_newest(cls, connection: sqlite3.Connection) -> sqlite3.Connection:
        """A journal that an older reconciler wrote, and may still write, is read from a migrated copy in memory."""
        if is_newest(connection):
            return connection
        copy = cls._connect(":memory:")
        connection.backup(copy)
        connection.close()
        migrate(copy)
        return copy

    @staticmethod
    def _connect(name: str, *, uri: bool = False) -> sqlite3.Connection:
        return sqlite3.connect(
            name, timeout=JOURNAL_BUSY_MS / 1000, isolation_level=None, check_same_thread=False, uri=uri
        )

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def news(self) -> frozenset[str] | None:
        """The apps of which this connection has written something that is read back, since this was asked last.

        ``None`` at first, and when somebody else has written: then it may be of any app. Passes, events and settings
        are not read back.
        """
        with self._lock:
            written, self._written = self._written, set()
            before = self._written_elsewhere
            self._written_elsewhere = int(next(self._rows("PRAGMA data_version"))[0])
            return frozenset(written) if self._written_elsewhere == before else None

    def _rows(self, statement: str, values: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
        with self._lock:
            try:
                rows = self._connection.execute(statement, values).fetchall()
            except sqlite3.Error as error:
                raise JournalError(f"the journal cannot be read: {error}") from error
        return iter(rows)

    def _write(self, statements: Sequence[Statement], *, of: Collection[str] = ()) -> None:
        """One transaction; what is read back ``of`` these apps may be another thing afterwards."""
        with self._transaction(of=of) as connection:
            for statement, values in statements:
                connection.execute(statement, values)

    @contextmanager
    def _transaction(self, *, of: Collection[str]) -> Iterator[sqlite3.Connection]:
        with self._lock:
            # also when it fails: one look too many costs nothing
            self._written.update(of)
            try:
                self._connection.execute("BEGIN IMMEDIATE")
                try:
                    yield self._connection
                except BaseException:
                    self._connection.execute("ROLLBACK")
                    raise
                self._connection.execute("COMMIT")
            except sqlite3.Error as error:
                raise JournalError(
                    f"the journal cannot be written: {error}",
                    hint="check the free space and the rights of its folder",
                ) from error
