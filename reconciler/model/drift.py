"""How long drift is left alone: when it is told again, and when healing it is given up for a while. Pure."""

from __future__ import annotations

from collections.abc import Sequence

MOST_HEALS = 3
HEALS_SECONDS = 600.0
"""What comes back after so many heals in this time is held: something else on the host wants it otherwise."""
HOLD_SECONDS = 3_600.0
"""After this time healing is tried again; a new commit and a person's `retry` end a hold too."""
FIRST_REMINDER_SECONDS = 3_600.0
LONGEST_REMINDER_SECONDS = 86_400.0
"""Drift that stays is told again after an hour, then after two, four and so on, at least once a day."""

CLOCK_STEP_SECONDS = 60.0
"""By how much a clock may be set back without making what was just done look old."""


def is_held(healed: Sequence[float], held: float | None, now: float) -> bool:
    """Whether a path that drifted is left as it is: ``healed`` are the times of heals, ``held`` since when it is."""
    if held is not None and is_recent(held, HOLD_SECONDS, now):
        return True
    return sum(1 for at in healed if is_recent(at, HEALS_SECONDS, now)) >= MOST_HEALS


def reminder_due(told: float, reminders: int, now: float) -> bool:
    """Whether drift that was last told at ``told``, after ``reminders`` earlier reminders, is to be told again."""
    pause = min(FIRST_REMINDER_SECONDS * 2**reminders, LONGEST_REMINDER_SECONDS)
    return not is_recent(told, pause, now)


def is_recent(at: float, seconds: float, now: float) -> bool:
    """Whether something was less than so many seconds ago.

    What lies in the future was written by a clock that was wrong, and nobody knows how long ago that was: it is not
    recent, or it would stay so until that time comes.
    """
    return -CLOCK_STEP_SECONDS <= now - at < seconds
