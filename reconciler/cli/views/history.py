"""The attempts to deploy one app, newest first."""

from __future__ import annotations

from collections.abc import Sequence

from reconciler.cli.views.lines import Part, Style
from reconciler.cli.views.tables import Table, cell, one_line
from reconciler.cli.views.times import duration, local_time
from reconciler.cli.views.words import short
from reconciler.engine.status import iso_time
from reconciler.host.journal import ReleaseRecord, ReleaseState

COLUMNS = ("when", "release", "commit", "state", "took", "error")
STATE_STYLES = {
    ReleaseState.VERIFIED: Style.GOOD,
    ReleaseState.FAILED: Style.BAD,
    ReleaseState.REMOVED: Style.WARNING,
}


def history_table(attempts: Sequence[ReleaseRecord]) -> Table:
    """One row per attempt, in the order given."""
    return Table(COLUMNS, tuple(_row(attempt) for attempt in attempts))


def history_json(app: str, attempts: Sequence[ReleaseRecord]) -> dict[str, object]:
    """The object that ``history --json`` prints."""
    return {"app": app, "attempts": [attempt_json(attempt) for attempt in attempts]}


def attempt_json(attempt: ReleaseRecord) -> dict[str, object]:
    """One attempt."""
    return {
        "at": iso_time(attempt.at),
        "release": attempt.release,
        "revision": attempt.revision,
        "config_revision": attempt.config_revision,
        "state": attempt.state.value,
        "seconds": round(attempt.seconds, 3),
        "error": attempt.error,
    }


def _row(attempt: ReleaseRecord) -> tuple[Part, ...]:
    return (
        cell(local_time(attempt.at)),
        cell(attempt.release),
        cell(short(attempt.revision)),
        cell(attempt.state.value, STATE_STYLES[attempt.state]),
        cell(duration(attempt.seconds)),
        cell(one_line(attempt.error) if attempt.error else None),
    )
