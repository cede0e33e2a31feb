"""The runs of hooks."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

from reconciler.host.journal.connection import JournalConnection
from reconciler.host.journal.records import HookRecord

HOOK_BEGINS = (
    "INSERT INTO hooks (app, release, moment, command, irreversible, at, after) "
    "VALUES (?, ?, ?, ?, ?, ?, (SELECT coalesce(max(id), 0) FROM releases))"
)
HOOK_COLUMNS = ", ".join(column.name for column in fields(HookRecord))


class HooksTable(JournalConnection):
    """The table ``hooks``."""

    def record_hook_started(self, hook: HookRecord) -> int:
        """Remember that a hook begins, before it does anything; returns the number of the run."""
        values = (hook.app, hook.release, hook.moment, hook.command, hook.irreversible, hook.at)
        with self._lock:
            statement = HOOK_BEGINS
            self._write([(statement, values)], of=[hook.app])
            return int(next(self._rows("SELECT last_insert_rowid()"))[0])

    def record_hook_ended(self, run: int, status: int, seconds: float) -> None:
        """Remember how a run ended."""
        apps = [app for (app,) in self._rows("SELECT app FROM hooks WHERE id = ?", (run,))]
        self._write([("UPDATE hooks SET status = ?, seconds = ? WHERE id = ?", (status, seconds, run))], of=apps)

    def hooks(self, app: str, release: str) -> list[HookRecord]:
        """All runs of hooks for one release, oldest first."""
        rows = self._rows(
            f"SELECT {HOOK_COLUMNS} FROM hooks WHERE app = ? AND release = ? ORDER BY id",  # noqa: S608
            (app, release),
        )
        return [_hook(row) for row in rows]

    def last_irreversible_hooks(self, app: str | None = None) -> dict[str, HookRecord]:
        """The irreversible hook that began last, for every app that ever ran one, or only for ``app``."""
        whose, values = ("", ()) if app is None else (" AND app = ?", (app,))
        rows = self._rows(
            f"SELECT {HOOK_COLUMNS} FROM hooks WHERE id IN "  # noqa: S608
            f"(SELECT max(id) FROM hooks WHERE irreversible{whose} GROUP BY app)",
            values,
        )
        return {row[0]: _hook(row) for row in rows}


def _hook(row: tuple[Any, ...]) -> HookRecord:
    record = HookRecord(*row)
    return replace(record, irreversible=bool(record.irreversible))
