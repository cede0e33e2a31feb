"""Ids of git's objects and digests: which are whole, and how people are shown them."""

from __future__ import annotations

import re

SHORT_DIGITS = 7
"""As many as git shows."""
_WHOLE = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
"""SHA-1, or SHA-256."""


def is_whole(object_id: str) -> bool:
    """Whether this is a whole id, and no abbreviation of one."""
    return _WHOLE.fullmatch(object_id) is not None


def short(object_id: str) -> str:
    """The first digits of an id, for sentences."""
    return object_id[:SHORT_DIGITS]
