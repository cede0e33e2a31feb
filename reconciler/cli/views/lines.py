"""Lines of text with a meaning per part; colours are added at the very end, and only where they are wanted."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum

from reconciler.model.printable import printable

INDENT = "  "

_RESET = "\x1b[0m"
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")


class Style(Enum):
    """What a part of a line means."""

    PLAIN = "plain"
    HEADING = "heading"
    ADDED = "added"
    CHANGED = "changed"
    REMOVED = "removed"
    GOOD = "good"
    BAD = "bad"
    WARNING = "warning"
    HINT = "hint"
    FAINT = "faint"


_CODES = {
    Style.HEADING: "1",
    Style.ADDED: "32",
    Style.CHANGED: "33",
    Style.REMOVED: "31",
    Style.GOOD: "32",
    Style.BAD: "1;31",
    Style.WARNING: "33",
    Style.HINT: "36",
    Style.FAINT: "2",
}
"""The colours of an ANSI terminal; one palette of eight, so that it follows the reader's own."""


@dataclass(frozen=True, slots=True)
class Part:
    """A piece of a line."""

    text: str
    style: Style = Style.PLAIN


Line = tuple[Part, ...]


def line(*parts: Part | str) -> Line:
    """A line from parts; text alone has no style."""
    return tuple(Part(part) if isinstance(part, str) else part for part in parts)


def styled(text: str, style: Style) -> Line:
    """A line of one part."""
    return (Part(text, style),)


def indented(lines: Iterable[Line], depth: int = 1) -> list[Line]:
    """The same lines further to the right; blank ones stay blank."""
    return [(Part(INDENT * depth), *parts) if parts else parts for parts in lines]


def text_lines(text: str, style: Style = Style.PLAIN) -> list[Line]:
    """Every line of a text."""
    return [styled(part, style) if part else () for part in text.rstrip().splitlines()]


def without_commands(text: str) -> str:
    """Like :func:`printable`, but colours stay: for logs, on a terminal."""
    pieces: list[str] = []
    position = 0
    for match in _COLOUR.finditer(text):
        pieces += [printable(text[position : match.start()]), match[0]]
        position = match.end()
    return "".join([*pieces, printable(text[position:])])


def plain(parts: Line) -> str:
    """A line as text without colour."""
    return printable("".join(part.text for part in parts)).rstrip()


def coloured(parts: Line) -> str:
    """A line as text with ANSI colours."""
    return "".join(_with_colour(part) for part in parts)


def _with_colour(part: Part) -> str:
    text = printable(part.text)
    code = _CODES.get(part.style)
    return f"\x1b[{code}m{text}{_RESET}" if code and text.strip() else text
