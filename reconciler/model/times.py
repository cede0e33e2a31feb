"""Points in time as people read them."""

from __future__ import annotations

from datetime import UTC, datetime


def local_time(seconds: float) -> str:
    """A point in time, in seconds since 1970, in the time zone of the reader: ``2024-05-01 14:00:00``."""
    return datetime.fromtimestamp(seconds).astimezone().strftime("%Y-%m-%d %H:%M:%S")


def iso_time(seconds: float | None) -> str | None:
    """A time as ISO 8601 in UTC, to the second, such as ``2024-05-01T12:00:00Z``."""
    if seconds is None:
        return None
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
