"""What is known of each app: what serves, and how the last attempts ended."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields

from reconciler.host.journal.connection import JournalConnection
from reconciler.host.journal.records import AppRecord, EventRecord, ReleaseRecord
from reconciler.host.journal.statements import (
    Statement,
    forget_other_stages,
    insert_event,
    insert_release,
    output_made,
    replace_applied,
    upsert,
)
from reconciler.model.stage import STORED, AppliedStage

APP_COLUMNS = ", ".join(column.name for column in fields(AppRecord))


class AppsTable(JournalConnection):
    """The table ``apps``; what ends an attempt moves it together with the history, in one transaction."""

    def apps(self) -> dict[str, AppRecord]:
        """All apps that this host knows."""
        return {row[0]: AppRecord(*row) for row in self._rows(f"SELECT {APP_COLUMNS} FROM apps")}  # noqa: S608

    def app(self, app: str) -> AppRecord | None:
        """One app; ``None`` when this host does not know it."""
        rows = self._rows(f"SELECT {APP_COLUMNS} FROM apps WHERE app = ?", (app,))  # noqa: S608
        return next((AppRecord(*row) for row in rows), None)

    def record_verified(
        self, release: ReleaseRecord, applied: Sequence[AppliedStage], events: Sequence[EventRecord] = ()
    ) -> None:
        """Move applied state: the release was verified. One transaction."""
        statements: list[Statement] = [
            upsert(
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
            insert_release(release),
        ]
        statements.append(forget_other_stages(release.app, applied))
        statements += [replace_applied(release.app, stage) for stage in applied]
        # an agent that was killed may have made an output, and not got to writing that down
        statements += [output_made(stage, release.at) for stage in applied if stage.stage in STORED]
        statements += [insert_event(event) for event in events]
        self._write(statements, of=[release.app])

    def record_failed(self, release: ReleaseRecord, key: str | None, events: Sequence[EventRecord] = ()) -> None:
        """Record a failed attempt; with ``key`` the same desired state is quarantined."""
        error = release.error or "failed"
        known = {"last_error": error, "last_pass": release.at}
        if key is not None:
            known |= {"quarantined_key": key, "quarantined_error": error}
        statements = [upsert(release.app, **known), *(insert_event(event) for event in events)]
        if release.release:
            statements.append(insert_release(release))
        self._write(statements, of=[release.app])

    def record_superseded(self, release: ReleaseRecord, event: EventRecord) -> None:
        """Record an attempt that was given up for a newer one; what is known of the app stays."""
        self._write([insert_release(release), insert_event(event)], of=[release.app])

    def record_error(self, app: str, error: str | None) -> None:
        """Remember an app's last error, or that it is over."""
        self._write([upsert(app, last_error=error)], of=[app])

    def record_suspended(self, app: str, reason: str | None) -> None:
        """Remember why an app is suspended, or that it no longer is."""
        self._write([upsert(app, suspended_reason=reason)], of=[app])

    def record_waiting(self, app: str, reason: str | None) -> None:
        """Remember what an app waits for, or that it no longer does."""
        self._write([upsert(app, waiting_reason=reason)], of=[app])

    def record_removed(self, app: str, event: EventRecord) -> None:
        """Forget what was applied for an app that was removed; its history stays."""
        self._write(
            [
                ("DELETE FROM applied WHERE app = ?", (app,)),
                ("DELETE FROM apps WHERE app = ?", (app,)),
                ("DELETE FROM drift WHERE app = ?", (app,)),
                insert_event(event),
            ],
            of=[app],
        )

    def forget(self, app: str) -> int:
        """Drop everything that is remembered of an app; returns how many attempts to deploy it that were."""
        attempts = next(self._rows("SELECT count(*) FROM releases WHERE app = ?", (app,)))[0]
        tables = self._rows("SELECT t.name FROM sqlite_schema t, pragma_table_info(t.name) c WHERE c.name = 'app'")
        self._write([(f"DELETE FROM {table} WHERE app = ?", (app,)) for (table,) in tables], of=[app])  # noqa: S608
        return int(attempts)

    def release_quarantine(self, app: str) -> bool:
        """Let the next pass try, and heal, again; returns whether the app was quarantined or a heal held."""
        with self._transaction(of=[app]) as connection:
            holds = connection.execute("UPDATE drift SET held = NULL WHERE app = ? AND held IS NOT NULL", (app,))
            connection.execute("UPDATE drift SET healed = '[]' WHERE app = ?", (app,))
            cursor = connection.execute(
                "UPDATE apps SET quarantined_key = NULL, quarantined_error = NULL "
                "WHERE app = ? AND quarantined_key IS NOT NULL",
                (app,),
            )
            return cursor.rowcount > 0 or holds.rowcount > 0
