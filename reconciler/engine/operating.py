"""What an operator does to an app: suspend it, resume it, let it be tried again. With and without an agent."""

from __future__ import annotations

import time
from dataclasses import dataclass

from reconciler.engine.known_apps import require_known
from reconciler.host.journal import EventRecord, Journal, SuspensionRecord


@dataclass(frozen=True, slots=True)
class Resumed:
    """``before`` is the suspension that ended; ``by_manifest`` says that the manifest suspends the app too."""

    before: SuspensionRecord | None
    by_manifest: bool


def suspend(journal: Journal, app: str, reason: str, by: str) -> SuspensionRecord | None:
    """Leave an app as it is from now on, whatever git asks for; returns the suspension that this one replaces.

    Raises :class:`UsageError` for an app that this host does not know.
    """
    require_known(journal, app)
    before = journal.suspensions().get(app)
    suspension = SuspensionRecord(app, reason, by, time.time())
    event = EventRecord(app, "suspended", f"suspended by {by}: {reason}", suspension.at, {"by": by, "reason": reason})
    journal.record_suspension(suspension, event)
    return before


def resume(journal: Journal, app: str, by: str) -> Resumed:
    """End an operator's suspension. Raises :class:`UsageError` for an app that this host does not know."""
    before = journal.suspensions().get(app)
    if before is None:
        require_known(journal, app)
    else:
        detail = {"by": by, "suspended_by": before.by, "reason": before.reason}
        event = EventRecord(app, "resumed", f"resumed by {by}; it was {before.sentence}", time.time(), detail)
        journal.end_suspension(app, event)
    record = journal.apps().get(app)
    return Resumed(before, record is not None and record.suspended_reason is not None)


def retry(journal: Journal, app: str) -> bool:
    """Release an app from quarantine; returns whether it was in it. Raises :class:`UsageError` as above."""
    require_known(journal, app)
    return journal.release_quarantine(app)
