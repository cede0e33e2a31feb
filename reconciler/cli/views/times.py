"""Times as people read them."""

from __future__ import annotations

MINUTE, HOUR, DAY = 60.0, 3_600.0, 86_400.0


def age(seconds: float) -> str:
    """How long ago, in one unit: ``12 s``, ``5 min``, ``3 h`` or ``2 d``."""
    seconds = max(seconds, 0.0)
    for limit, unit, name in ((MINUTE, 1.0, "s"), (HOUR, MINUTE, "min"), (2 * DAY, HOUR, "h")):
        if seconds < limit:
            return f"{int(seconds // unit)} {name}"
    return f"{int(seconds // DAY)} d"


def ago(then: float | None, now: float) -> str | None:
    """When something was, seen from now."""
    return None if then is None else f"{age(now - then)} ago"


def duration(seconds: float) -> str:
    """How long something took: ``0.04 s``, ``2.1 s``, ``75 s`` or ``3 min 20 s``."""
    if seconds < 0.1:
        return f"{seconds:.2f} s"
    if seconds < 10:
        return f"{seconds:.1f} s"
    if seconds < 2 * MINUTE:
        return f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), int(MINUTE))
    return f"{minutes} min {rest} s"
