"""The connection that all of the journal's tables are read and written through."""

from __future__ import annotations

import json
import sqlite3
import threading
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Self

from reconciler.host.journal.failures import RENEWAL_HINT, journal_error, refuse_what_is_no_file
from reconciler.host.journal.migrations import is_newest, migrate
from reconciler.host.journal.statements import Statement
from reconciler.model.errors import JournalDamaged, JournalError

JOURNAL_BUSY_MS = 5_000


class JournalConnection:
    """One connection to the journal, safe to share between threads."""

    def __init__(self, connection: sqlite3.Connection, path: Path | None = None) -> None:
        self._connection = connection
        self._path = path
        self._lock = threading.RLock()
        self._written: set[str] = set()
        self._written_elsewhere = -1

    @classmethod
    def open(cls, path: Path) -> Self:
        """Open the journal for writing, make it when there is none, and bring it to the newest schema.

        Raises :class:`JournalDamaged` for a file that is none, or none any more, and :class:`JournalError`.
        """
        refuse_what_is_no_file(path)
        try:
            connection = cls._connect(str(path))
            try:
                connection.execute("PRAGMA journal_mode = WAL")
                connection.execute("PRAGMA synchronous = FULL")
                migrate(connection)
            except BaseException:
                connection.close()
                raise
        except sqlite3.Error as error:
            raise journal_error(error, path, "opened") from error
        return cls(connection, path)

    @classmethod
    def read(cls, path: Path) -> Self:
        """Open the journal for reading only; it must exist. A disk that is read-only or full does not hinder that."""
        if not path.exists():
            raise JournalError(
                f"there is no journal at {path} yet", hint="run `reconciler once` or `reconciler run` first"
            )
        refuse_what_is_no_file(path)
        try:
            try:
                connection = cls._readable(f"{path.absolute().as_uri()}?mode=ro")
            except sqlite3.OperationalError:
                # beside a journal that is read there have to be two more files, which need a place
                wal = path.with_name(f"{path.name}-wal")
                if wal.exists() and wal.stat().st_size:
                    raise
                connection = cls._readable(f"{path.absolute().as_uri()}?immutable=1")
            connection = cls._as_newest(connection)
        except sqlite3.Error as error:
            raise journal_error(error, path, "read") from error
        return cls(connection, path)

    @classmethod
    def empty(cls) -> Self:
        """A journal in memory, for one who looks at a host on which nothing was ever done."""
        connection = cls._connect(":memory:")
        migrate(connection)
        return cls(connection)

    @classmethod
    def _readable(cls, name: str) -> sqlite3.Connection:
        connection = cls._connect(name, uri=True)
        try:
            connection.execute("SELECT 1 FROM apps LIMIT 1").fetchall()
        except BaseException:
            connection.close()
            raise
        return connection

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

    def check(self) -> None:
        """Look at every page, which takes a moment; raises :class:`JournalDamaged` when one is not right."""
        for (said,) in self._rows("PRAGMA quick_check(1)"):
            if said != "ok":
                raise self._damaged(str(said).splitlines()[-1])

    def _rows(self, statement: str, values: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
        with self._lock:
            try:
                rows = self._connection.execute(statement, values).fetchall()
            except sqlite3.Error as error:
                raise journal_error(error, self._path, "read") from error
        return iter(rows)

    def _decoded(self, text: str) -> Any:
        """What a column holds as JSON; what is none was written by nobody."""
        try:
            return json.loads(text)
        except (ValueError, TypeError) as error:
            raise self._damaged(f"it holds {text[:20]!r} where JSON was written") from error

    def _damaged(self, what: str) -> JournalDamaged:
        return JournalDamaged(f"the journal {self._path} is damaged: {what}", hint=RENEWAL_HINT)

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
                    self._connection.execute("COMMIT")
                except BaseException:
                    # a full disk may have ended the transaction already, and must not leave one open either
                    with suppress(sqlite3.Error):
                        if self._connection.in_transaction:
                            self._connection.execute("ROLLBACK")
                    raise
            except sqlite3.Error as error:
                raise journal_error(error, self._path, "written") from error
