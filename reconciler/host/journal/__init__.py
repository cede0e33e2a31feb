"""The journal: what this agent applied and verified, in SQLite."""

from reconciler.host.journal.journal import Journal
from reconciler.host.journal.records import (
    AppRecord,
    DriftRecord,
    EventRecord,
    HookRecord,
    PassRecord,
    ReleaseRecord,
    ReleaseState,
    SuspensionRecord,
)

__all__ = [
    "AppRecord",
    "DriftRecord",
    "EventRecord",
    "HookRecord",
    "Journal",
    "PassRecord",
    "ReleaseRecord",
    "ReleaseState",
    "SuspensionRecord",
]
