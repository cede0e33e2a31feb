"""Suspensions by operators; those of manifests are in git."""

from __future__ import annotations

from dataclasses import fields

from reconciler.host.journal.connection import JournalConnection
from reconciler.host.journal.records import EventRecord, SuspensionRecord
from reconciler.host.journal.statements import insert_event

SUSPENSION_COLUMNS = ", ".join(column.name for column in fields(SuspensionRecord))


class SuspensionsTable(JournalConnection):
    """The table ``suspensions``: one row for each app that an operator has suspended."""

    def suspensions(self) -> dict[str, SuspensionRecord]:
        """All suspensions, by app."""
        rows = self._rows(f"SELECT {SUSPENSION_COLUMNS} FROM suspensions")  # noqa: S608
        return {row[0]: SuspensionRecord(*row) for row in rows}

    def record_suspension(self, suspension: SuspensionRecord, event: EventRecord) -> None:
        """Remember a suspension; it takes the place of an earlier one."""
        row = (suspension.app, suspension.reason, suspension.by, suspension.at)
        statement = "INSERT OR REPLACE INTO suspensions VALUES (?, ?, ?, ?)"
        self._write([(statement, row), insert_event(event)], of=[suspension.app])

    def end_suspension(self, app: str, event: EventRecord) -> None:
        """Forget a suspension."""
        self._write([("DELETE FROM suspensions WHERE app = ?", (app,)), insert_event(event)], of=[app])
