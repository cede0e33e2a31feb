"""The history: passes, attempts to deploy, and events."""

from __future__ import annotations

import json

from reconciler.host.journal.connection import JournalConnection
from reconciler.host.journal.records import EventRecord, PassRecord, ReleaseRecord, ReleaseState
from reconciler.host.journal.statements import insert_event


class HistoryTables(JournalConnection):
    """The tables ``passes``, ``releases`` and ``events``."""

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
        self._write([("INSERT INTO passes VALUES (NULL, ?, ?, ?, ?, ?, ?)", values)])

    def forget_passes(self, kept: int) -> int:
        """Drop all but the last ``kept`` passes; returns how many were dropped."""
        oldest = next(self._rows("SELECT coalesce(max(id), 0) - ? FROM passes", (kept,)))[0]
        gone = int(next(self._rows("SELECT count(*) FROM passes WHERE id <= ?", (oldest,)))[0])
        if gone:
            self._write([("DELETE FROM passes WHERE id <= ?", (oldest,))])
        return gone

    def last_pass(self) -> PassRecord | None:
        """The pass that ended last."""
        rows = self._rows(
            "SELECT started, finished, trigger, revision, outcomes, error FROM passes ORDER BY id DESC LIMIT 1"
        )
        for started, finished, trigger, revision, outcomes, error in rows:
            return PassRecord(started, finished, trigger, revision, self._decoded(outcomes), error)
        return None

    def record_event(self, event: EventRecord) -> None:
        """Remember one event."""
        self._write([insert_event(event)])

    def releases(self, app: str, limit: int = 50, *, state: ReleaseState | None = None) -> list[ReleaseRecord]:
        """The attempts for one app, newest first; with ``state`` only those that ended so."""
        rows = self._rows(
            "SELECT app, release, revision, config_revision, digests, state, at, seconds, error, id "
            "FROM releases WHERE app = ? AND (? IS NULL OR state = ?) ORDER BY id DESC LIMIT ?",
            (app, state, state, limit),
        )
        return [
            ReleaseRecord(
                name,
                release,
                revision,
                config,
                self._decoded(digests),
                ReleaseState(state),
                at,
                seconds,
                error,
                number,
            )
            for name, release, revision, config, digests, state, at, seconds, error, number in rows
        ]

    def events(self, app: str, limit: int = 50) -> list[EventRecord]:
        """The events of one app, newest first."""
        rows = self._rows(
            "SELECT app, kind, message, at, detail FROM events WHERE app = ? ORDER BY id DESC LIMIT ?", (app, limit)
        )
        return [
            EventRecord(name, kind, message, at, self._decoded(detail)) for name, kind, message, at, detail in rows
        ]

    def attempted(self, app: str, release: str) -> tuple[int, float] | None:
        """The number and the time of the attempt that verified a release last, or, where none did, tried it last."""
        rows = self._rows(
            "SELECT id, at FROM releases WHERE app = ? AND release = ? "
            "ORDER BY state = 'verified' DESC, id DESC LIMIT 1",
            (app, release),
        )
        return next(((int(number), float(at)) for number, at in rows), None)
