"""The schema of the journal, one entry per version; ``PRAGMA user_version`` says which one a file has.

An entry is never edited once it has been released: a change is a new entry.
"""

from __future__ import annotations

import sqlite3

from reconciler.model.errors import JournalError

MIGRATIONS: tuple[str, ...] = (
    """
    CREATE TABLE passes (
        id INTEGER PRIMARY KEY,
        started REAL NOT NULL,
        finished REAL NOT NULL,
        trigger TEXT NOT NULL,
        revision TEXT NOT NULL,
        outcomes TEXT NOT NULL,
        error TEXT
    );
    CREATE TABLE apps (
        app TEXT PRIMARY KEY,
        release TEXT,
        revision TEXT,
        config_revision TEXT,
        serving_since REAL,
        last_pass REAL,
        last_error TEXT,
        quarantined_key TEXT,
        quarantined_error TEXT,
        suspended_reason TEXT
    );
    CREATE TABLE applied (
        app TEXT NOT NULL,
        stage TEXT NOT NULL,
        digest TEXT NOT NULL,
        key TEXT NOT NULL,
        content TEXT NOT NULL,
        PRIMARY KEY (app, stage)
    );
    CREATE TABLE releases (
        id INTEGER PRIMARY KEY,
        app TEXT NOT NULL,
        release TEXT NOT NULL,
        revision TEXT NOT NULL,
        config_revision TEXT NOT NULL,
        digests TEXT NOT NULL,
        state TEXT NOT NULL,
        at REAL NOT NULL,
        seconds REAL NOT NULL,
        error TEXT
    );
    CREATE INDEX releases_by_app ON releases (app, id);
    CREATE TABLE outputs (
        key TEXT PRIMARY KEY,
        stage TEXT NOT NULL,
        digest TEXT NOT NULL,
        created REAL NOT NULL
    );
    CREATE TABLE events (
        id INTEGER PRIMARY KEY,
        at REAL NOT NULL,
        app TEXT NOT NULL,
        kind TEXT NOT NULL,
        message TEXT NOT NULL,
        detail TEXT NOT NULL
    );
    CREATE INDEX events_by_app ON events (app, id);
    CREATE TABLE settings (
        name TEXT PRIMARY KEY,
        value TEXT NOT NULL
    );
    """,
    """
    CREATE TABLE hooks (
        id INTEGER PRIMARY KEY,
        app TEXT NOT NULL,
        release TEXT NOT NULL,
        moment TEXT NOT NULL,
        command TEXT NOT NULL,
        irreversible INTEGER NOT NULL,
        at REAL NOT NULL,
        seconds REAL,
        status INTEGER
    );
    CREATE INDEX hooks_by_app ON hooks (app, release);
    ALTER TABLE apps ADD COLUMN waiting_reason TEXT;
    """,
    """
    CREATE TABLE suspensions (
        app TEXT PRIMARY KEY,
        reason TEXT NOT NULL,
        by TEXT NOT NULL,
        at REAL NOT NULL
    );
    """,
    """
    CREATE TABLE drift (
        app TEXT NOT NULL,
        stage TEXT NOT NULL,
        path TEXT NOT NULL,
        kind TEXT NOT NULL,
        since REAL NOT NULL,
        told REAL NOT NULL,
        reminders INTEGER NOT NULL,
        gone REAL,
        healed TEXT NOT NULL,
        key TEXT NOT NULL,
        held REAL,
        PRIMARY KEY (app, stage, path)
    );
    """,
    """
    ALTER TABLE hooks ADD COLUMN after INTEGER;
    """,
)


def is_newest(connection: sqlite3.Connection) -> bool:
    """Whether the journal has the schema of this reconciler."""
    return int(connection.execute("PRAGMA user_version").fetchone()[0]) == len(MIGRATIONS)


def migrate(connection: sqlite3.Connection) -> None:
    """Bring the journal to the newest schema, one version per transaction.

    Raises :class:`JournalError` when the file was written by a newer reconciler.
    """
    version = int(connection.execute("PRAGMA user_version").fetchone()[0])
    if version > len(MIGRATIONS):
        raise JournalError(
            f"the journal has schema version {version}, this reconciler reads up to {len(MIGRATIONS)}",
            hint="install the newer reconciler again, or restore the journal's backup",
        )
    for number, script in enumerate(MIGRATIONS[version:], start=version + 1):
        connection.executescript(f"BEGIN IMMEDIATE;\n{script}\nPRAGMA user_version = {number};\nCOMMIT;")
