"""The attempts to deploy one app, newest first."""

from __future__ import annotations

from collections.abc import Sequence

from reconciler.cli.views.lines import Line, Part, Style, indented, line
from reconciler.cli.views.tables import one_line
from reconciler.cli.views.times import duration
from reconciler.cli.views.words import short
from reconciler.host.journal import ReleaseRecord, ReleaseState
from reconciler.model.times import iso_time, local_time

STATE_STYLES = {
    ReleaseState.VERIFIED: Style.GOOD,
    ReleaseState.FAILED: Style.BAD,
    ReleaseState.SUPERSEDED: Style.WARNING,
    ReleaseState.REMOVED: Style.WARNING,
}
STATE_CHARACTERS = max(len(state) for state in ReleaseState)


def history_lines(attempts: Sequence[ReleaseRecord]) -> list[Line]:
    """One line per attempt, in the order given; why one failed stands below it, however long it is."""
    return [part for attempt in attempts for part in _attempt(attempt)]


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


def _attempt(attempt: ReleaseRecord) -> list[Line]:
    head = line(
        f"{local_time(attempt.at)}  ",
        Part(attempt.state.value.ljust(STATE_CHARACTERS), STATE_STYLES[attempt.state]),
        f"  release {attempt.release}  commit {short(attempt.revision)}  in {duration(attempt.seconds)}",
    )
    if not attempt.error:
        return [head]
    return [head, *indented([line(Part("error:", Style.BAD), f" {one_line(attempt.error)}")], 2)]
