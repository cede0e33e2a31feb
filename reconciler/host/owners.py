"""Who owns a file, and when it changed, in words and numbers that people read."""

from __future__ import annotations

import os
import pwd
from functools import lru_cache


@lru_cache(maxsize=64)
def account_name(number: int) -> str:
    """The name of an account, or its number where it has none."""
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return str(number)


def account_number(name: str) -> int | None:
    """The number of an account; ``None`` when there is none of this name."""
    try:
        return pwd.getpwnam(name).pw_uid
    except KeyError:
        return None


def changed_at(status: os.stat_result) -> float:
    """When a file's content, mode or owner last changed: seconds since 1970. Nobody can set this time."""
    return status.st_ctime_ns / 1e9


def folder_changed_at(path: str) -> float | None:
    """When the folder of something that is gone changed, which is when it went at the latest."""
    folder = os.path.dirname(path)  # noqa: PTH120 - paths of drift are strings
    try:
        return changed_at(os.lstat(folder))
    except OSError:
        return None
