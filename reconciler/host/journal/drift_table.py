"""Drift that is known: since when, when it was told, how often it was healed, and whether healing is held."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence

from reconciler.host.journal.connection import JournalConnection
from reconciler.host.journal.records import DriftRecord, EventRecord
from reconciler.host.journal.statements import Statement, insert_event

HEALED = 8
"""The place of ``healed`` among the columns, which holds a JSON list."""
DRIFT_COLUMNS = "app, stage, path, kind, since, told, reminders, gone, healed, key, held"


class DriftTable(JournalConnection):
    """The table ``drift``, with one row for each path of an app that drifted."""

    def drift(self, app: str | None = None) -> list[DriftRecord]:
        """All that is known, of all apps or of one."""
        rows = self._rows(
            f"SELECT {DRIFT_COLUMNS} FROM drift WHERE ? IS NULL OR app = ? ORDER BY app, stage, path",  # noqa: S608
            (app, app),
        )
        return [
            DriftRecord(*row[:HEALED], tuple(self._decoded(row[HEALED])), *row[HEALED + 1 :])  # type: ignore[call-arg]
            for row in rows
        ]

    def record_drift(
        self,
        records: Iterable[DriftRecord],
        gone: Iterable[DriftRecord] = (),
        events: Sequence[EventRecord] = (),
    ) -> None:
        """Let these records take the place of what is known of their paths, and forget ``gone``; one transaction."""
        records, gone = tuple(records), tuple(gone)
        statements: list[Statement] = [
            (
                f"INSERT OR REPLACE INTO drift ({DRIFT_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",  # noqa: S608
                (
                    record.app, record.stage, record.path, record.kind, record.since, record.told, record.reminders,
                    record.gone, json.dumps(record.healed), record.key, record.held,
                ),
            )
            for record in records
        ]  # fmt: skip
        statements += [
            ("DELETE FROM drift WHERE app = ? AND stage = ? AND path = ?", (record.app, record.stage, record.path))
            for record in gone
        ]
        apps = {record.app for record in (*records, *gone)}
        self._write([*statements, *(insert_event(event) for event in events)], of=apps)
