"""The journal: one connection, and what its tables can be asked and told."""

from __future__ import annotations

import time

from reconciler.host.journal.applied_table import AppliedTable
from reconciler.host.journal.apps_table import AppsTable
from reconciler.host.journal.drift_table import DriftTable
from reconciler.host.journal.history_tables import HistoryTables
from reconciler.host.journal.hooks_table import HooksTable
from reconciler.host.journal.suspensions_table import SuspensionsTable


class Journal(AppliedTable, AppsTable, DriftTable, HistoryTables, HooksTable, SuspensionsTable):
    """All of the journal. A change of several tables is one transaction, in the table that it is about."""

    def setting(self, name: str) -> str | None:
        """A value that the agent remembers for itself."""
        for (value,) in self._rows("SELECT value FROM settings WHERE name = ?", (name,)):
            return str(value)
        return None

    def prove_writable(self) -> None:
        """Write something, as what follows will have to; raises :class:`~reconciler.model.errors.JournalError`.

        Nothing may begin that could not be recorded.
        """
        self._write([("INSERT OR REPLACE INTO settings VALUES ('written', ?)", (str(time.time()),))])

    def empty_table(self, table: str) -> None:
        """Forget all of one table."""
        self._write([(f'DELETE FROM "{table}"', ())])  # noqa: S608

    def record_setting(self, name: str, value: str) -> None:
        """Remember a value; nothing is written when it is known already."""
        if self.setting(name) != value:
            self._write([("INSERT OR REPLACE INTO settings VALUES (?, ?)", (name, value))])
