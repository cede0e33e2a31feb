"""Text of others on a terminal: what a log or a commit says must not steer it."""

from __future__ import annotations

import re

_UNPRINTABLE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
"""Control characters, and the marks that make text read in another order than it is written."""


def printable(text: str) -> str:
    """``text`` with control characters written out."""
    return _UNPRINTABLE.sub(lambda match: _written_out(match[0]), text)


def _written_out(character: str) -> str:
    code = ord(character)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def one_line(text: str) -> str:
    """``text``, such as the name of a file, so that it can be shown on one line and written down in any encoding."""
    return "".join(character if character.isprintable() else _written_out(character) for character in text)
