"""Reading and writing the journal."""

from __future__ import annotations

import json
import sqlite3
import threading
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any, Self

from reconciler.host.journal.migrations import migrate
from reconciler.host.journal.records import (
    AppRecord,
    EventRecord,
    HookRecord,
    PassRecord,
    ReleaseRecord,
    ReleaseState,
)
from reconciler.model.errors import JournalError
from reconciler.model.stage import AppliedStage, StageName

JOURNAL_BUSY_MS = 5_000
APP_COLUMNS = ", ".join(column.name for column in fields(AppRecord))
HOOK_COLUMNS = ", ".join(column.name for column in fields(HookRecord))


class Journal:
    """One connection to the journal, safe to share between threads."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._lock = threading.RLock()
        self._quiet_changes = 0

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
        except sqlite3.Error as error:
            raise JournalError(f"the journal {path} cannot be read: {error}") from error
        return cls(connection)

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

    def version(self) -> tuple[int, int]:
        """Changes whenever anybody, this connection included, has written to the journal."""
        elsewhere = next(self._rows("PRAGMA data_version"))[0]
        return int(elsewhere), self._connection.total_changes - self._quiet_changes

    # what was applied

    def applied(self) -> dict[str, dict[StageName, AppliedStage]]:
        """All applied stages, by app and stage."""
        result: dict[str, dict[StageName, AppliedStage]] = {}
        for app, stage, digest, key, content in self._rows("SELECT app, stage, digest, key, content FROM applied"):
            values = json.loads(content)
            name = StageName(stage)
            upstream = {StageName(above): value for above, value in values.pop("upstream", {}).items()}
            result.setdefault(app, {})[name] = AppliedStage(name, digest, key, upstream=upstream, **values)
        return result

    def outputs(self) -> dict[str, str]:
        """The digest of every output that was ever made, by the key of its inputs."""
        return dict(self._rows("SELECT key, digest FROM outputs"))

    def record_output(self, stage: StageName, key: str, digest: str, at: float) -> None:
        """Remember under which digest the output of these inputs is stored."""
        self._write([("INSERT OR REPLACE INTO outputs VALUES (?, ?, ?, ?)", (key, stage, digest, at))])

    def forget_outputs(self, kept: Collection[tuple[StageName, str]]) -> int:
        """Drop what is remembered of outputs that are not among ``kept`` (stage and digest); returns how many."""
        rows = self._rows("SELECT key, stage, digest FROM outputs")
        gone = [key for key, stage, digest in rows if (StageName(stage), digest) not in kept]
        if gone:
            self._write([("DELETE FROM outputs WHERE key = ?", (key,)) for key in gone])
        return len(gone)

    # apps

    def apps(self) -> dict[str, AppRecord]:
        """All apps that this host knows."""
        return {row[0]: AppRecord(*row) for row in self._rows(f"SELECT {APP_COLUMNS} FROM apps")}  # noqa: S608

    def record_verified(
        self, release: ReleaseRecord, applied: Sequence[AppliedStage], events: Sequence[EventRecord] = ()
    ) -> None:
        """Move applied state: the release was verified. One transaction."""
        statements: list[tuple[str, tuple[Any, ...]]] = [
            _upsert(
                release.app,
                release=release.release,
                revision=release.revision,
                config_revision=release.config_revision,
                last_pass=release.at,
                last_error=None,
                quarantined_key=None,
                quarantined_error=None,
            ),
            (
                # the same release again, after a change of the site file only, has served since before
                "UPDATE apps SET serving_since = ? WHERE app = ? AND (serving_since IS NULL OR NOT EXISTS "
                "(SELECT 1 FROM releases WHERE app = ? AND release = ? AND state = 'verified' AND id = "
                "(SELECT max(id) FROM releases WHERE app = ? AND state = 'verified')))",
                (release.at, release.app, release.app, release.release, release.app),
            ),
            _insert_release(release),
        ]
        statements += [_replace_applied(release.app, stage) for stage in applied]
        statements += [_insert_event(event) for event in events]
        self._write(statements)

    def record_failed(self, release: ReleaseRecord, key: str | None, events: Sequence[EventRecord] = ()) -> None:
        """Record a failed attempt; with ``key`` the same desired state is quarantined."""
        error = release.error or "failed"
        known = {"last_error": error, "last_pass": release.at}
        if key is not None:
            known |= {"quarantined_key": key, "quarantined_error": error}
        statements = [_upsert(release.app, **known), *(_insert_event(event) for event in events)]
        if release.release:
            statements.append(_insert_release(release))
        self._write(statements)

    def record_superseded(self, release: ReleaseRecord, event: EventRecord) -> None:
        """Record an attempt that was given up for a newer one; what is known of the app stays."""
        self._write([_insert_release(release), _insert_event(event)])

    def record_error(self, app: str, error: str | None) -> None:
        """Remember an app's last error, or that it is over."""
        self._write([_upsert(app, last_error=error)])

    def record_suspended(self, app: str, reason: str | None) -> None:
        """Remember why an app is suspended, or that it no longer is."""
        self._write([_upsert(app, suspended_reason=reason)])

    def record_waiting(self, app: str, reason: str | None) -> None:
        """Remember what an app waits for, or that it no longer does."""
        self._write([_upsert(app, waiting_reason=reason)])

    def record_removed(self, app: str, event: EventRecord) -> None:
        """Forget what was applied for an app that was removed; its history stays."""
        self._write(
            [
                ("DELETE FROM applied WHERE app = ?", (app,)),
                ("DELETE FROM apps WHERE app = ?", (app,)),
                _insert_event(event),
            ]
        )

    def forget(self, app: str) -> int:
        """Drop everything that is remembered of an app; returns how many attempts to deploy it that were."""
        attempts = next(self._rows("SELECT count(*) FROM releases WHERE app = ?", (app,)))[0]
        tables = self._rows("SELECT t.name FROM sqlite_schema t, pragma_table_info(t.name) c WHERE c.name = 'app'")
        self._write([(f"DELETE FROM {table} WHERE app = ?", (app,)) for (table,) in tables])  # noqa: S608
        return int(attempts)

    def release_quarantine(self, app: str) -> bool:
        """Let the next pass try again; returns whether the app was quarantined."""
        with self._lock:
            cursor = self._connection.execute(
                "UPDATE apps SET quarantined_key = NULL, quarantined_error = NULL "
                "WHERE app = ? AND quarantined_key IS NOT NULL",
                (app,),
            )
            return cursor.rowcount > 0

    # history

    def record_pass(self, record: PassRecord) -> None:
        """The one line that every pass writes."""
        values = (
            record.started,
            record.finished,
            record.trigger,
            record.revision,
            json.dumps(record.outcomes),
            record.error,
        )
        with self._lock:
            self._write([("INSERT INTO passes VALUES (NULL, ?, ?, ?, ?, ?, ?)", values)])
            # a pass that did nothing moves nothing that is read back
            self._quiet_changes += 1

    def last_pass(self) -> PassRecord | None:
        """The pass that ended last."""
        rows = self._rows(
            "SELECT started, finished, trigger, revision, outcomes, error FROM passes ORDER BY id DESC LIMIT 1"
        )
        for started, finished, trigger, revision, outcomes, error in rows:
            return PassRecord(started, finished, trigger, revision, json.loads(outcomes), error)
        return None

    def record_event(self, event: EventRecord) -> None:
        """Remember one event."""
        self._write([_insert_event(event)])

    def releases(self, app: str, limit: int = 50, *, state: ReleaseState | None = None) -> list[ReleaseRecord]:
        """The attempts for one app, newest first; with ``state`` only those that ended so."""
        rows = self._rows(
            "SELECT app, release, revision, config_revision, digests, state, at, seconds, error "
            "FROM releases WHERE app = ? AND (? IS NULL OR state = ?) ORDER BY id DESC LIMIT ?",
            (app, state, state, limit),
        )
        return [
            ReleaseRecord(
                name, release, revision, config, json.loads(digests), ReleaseState(state), at, seconds, error
            )
            for name, release, revision, config, digests, state, at, seconds, error in rows
        ]

    def events(self, app: str, limit: int = 50) -> list[EventRecord]:
        """The events of one app, newest first."""
        rows = self._rows(
            "SELECT app, kind, message, at, detail FROM events WHERE app = ? ORDER BY id DESC LIMIT ?", (app, limit)
        )
        return [EventRecord(name, kind, message, at, json.loads(detail)) for name, kind, message, at, detail in rows]

    # hooks

    def record_hook_started(self, hook: HookRecord) -> int:
        """Remember that a hook begins, before it does anything; returns the number of the run."""
        values = (hook.app, hook.release, hook.moment, hook.command, hook.irreversible, hook.at)
        with self._lock:
            self._write([("INSERT INTO hooks VALUES (NULL, ?, ?, ?, ?, ?, ?, NULL, NULL)", values)])
            return int(next(self._rows("SELECT last_insert_rowid()"))[0])

    def record_hook_ended(self, run: int, status: int, seconds: float) -> None:
        """Remember how a run ended."""
        self._write([("UPDATE hooks SET status = ?, seconds = ? WHERE id = ?", (status, seconds, run))])

    def hooks(self, app: str, release: str) -> list[HookRecord]:
        """All runs of hooks for one release, oldest first."""
        rows = self._rows(
            f"SELECT {HOOK_COLUMNS} FROM hooks WHERE app = ? AND release = ? ORDER BY id",  # noqa: S608
            (app, release),
        )
        return [_hook(row) for row in rows]

    def last_irreversible_hooks(self) -> dict[str, HookRecord]:
        """The irreversible hook that began last, for every app that ever ran one."""
        rows = self._rows(
            f"SELECT {HOOK_COLUMNS} FROM hooks WHERE id IN "  # noqa: S608
            "(SELECT max(id) FROM hooks WHERE irreversible GROUP BY app)"
        )
        return {row[0]: _hook(row) for row in rows}

    def attempted_at(self, app: str, release: str) -> float | None:
        """When a release was last verified, or, where it never was, last tried."""
        rows = self._rows(
            "SELECT at FROM releases WHERE app = ? AND release = ? ORDER BY state = 'verified' DESC, id DESC LIMIT 1",
            (app, release),
        )
        return next((float(at) for (at,) in rows), None)

    # settings

    def setting(self, name: str) -> str | None:
        """A value that the agent remembers for itself."""
        for (value,) in self._rows("SELECT value FROM settings WHERE name = ?", (name,)):
            return str(value)
        return None

    def record_setting(self, name: str, value: str) -> None:
        """Remember a value; nothing is written when it is known already."""
        if self.setting(name) != value:
            self._write([("INSERT OR REPLACE INTO settings VALUES (?, ?)", (name, value))])

    # plumbing

    def _rows(self, statement: str, values: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
        with self._lock:
            try:
                rows = self._connection.execute(statement, values).fetchall()
            except sqlite3.Error as error:
                raise JournalError(f"the journal cannot be read: {error}") from error
        return iter(rows)

    def _write(self, statements: Sequence[tuple[str, tuple[Any, ...]]]) -> None:
        with self._transaction() as connection:
            for statement, values in statements:
                connection.execute(statement, values)

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._lock:
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


def _upsert(app: str, **known: object) -> tuple[str, tuple[Any, ...]]:
    names = ", ".join(known)
    marks = ", ".join("?" for _ in known)
    updates = ", ".join(f"{name} = excluded.{name}" for name in known)
    return (
        f"INSERT INTO apps (app, {names}) VALUES (?, {marks}) ON CONFLICT (app) DO UPDATE SET {updates}",  # noqa: S608
        (app, *known.values()),
    )


def _insert_release(release: ReleaseRecord) -> tuple[str, tuple[Any, ...]]:
    return (
        "INSERT INTO releases VALUES (NULL, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            release.app,
            release.release,
            release.revision,
            release.config_revision,
            json.dumps(release.digests),
            release.state,
            release.at,
            release.seconds,
            release.error,
        ),
    )


def _insert_event(event: EventRecord) -> tuple[str, tuple[Any, ...]]:
    return (
        "INSERT INTO events VALUES (NULL, ?, ?, ?, ?, ?)",
        (event.at, event.app, event.kind, event.message, json.dumps(event.detail)),
    )


def _replace_applied(app: str, stage: AppliedStage) -> tuple[str, tuple[Any, ...]]:
    content: Mapping[str, object] = {
        name: value for name, value in asdict(stage).items() if name not in ("stage", "digest", "key")
    }
    return (
        "INSERT OR REPLACE INTO applied VALUES (?, ?, ?, ?, ?)",
        (app, stage.stage, stage.digest, stage.key, json.dumps(content)),
    )


def _hook(row: tuple[Any, ...]) -> HookRecord:
    record = HookRecord(*row)
    return replace(record, irreversible=bool(record.irreversible))
