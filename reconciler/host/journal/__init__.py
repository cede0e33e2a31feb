"""The journal: what this agent applied and verified, in SQLite."""

from reconciler.host.journal.journal import Journal
from reconciler.host.journal.records import AppRecord, EventRecord, PassRecord, ReleaseRecord, ReleaseState

__all__ = ["AppRecord", "EventRecord", "Journal", "PassRecord", "ReleaseRecord", "ReleaseState"]
