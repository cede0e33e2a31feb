"""Points in time as people read them."""

from __future__ import annotations

from datetime import datetime


def local_time(seconds: float) -> str:
    """A point in time, in seconds since 1970, in the time zone of the reader: ``2024-05-01 14:00:00``."""
    return datetime.fromtimestamp(seconds).astimezone().strftime("%Y-%m-%d %H:%M:%S")
