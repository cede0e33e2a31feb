"""Plain data that remembers its lines: one YAML document."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from typing import Any

from reconciler.model.errors import Problem

KEY_CHARACTERS = 60
"""How much of a key a field path shows."""

FIELD_PARTS = 12
"""How many keys and indices a field path shows."""

_PLAIN_KEY = re.compile(r"[A-Za-z_][\w-]*")

Path = tuple[str | int, ...]
"""Where a value lies in a document: keys and indices."""


@dataclass(slots=True)
class Place:
    """Where a mapping or a sequence stands: its line from 1, and by key or index the lines of what is in it.

    ``texts`` has what is written for those scalars that are not text, and ``inner`` the places of containers.
    """

    line: int
    lines: dict[str | int, int] = field(default_factory=dict)
    texts: dict[str | int, str] = field(default_factory=dict)
    inner: dict[str | int, Place] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Document:
    """One document: plain data, where each value stands, and what is wrong with it as YAML.

    ``data`` of a document with problems holds what could be read of it; ``whole`` is false when keys are lacking that
    the text may have. ``number`` counts from 1 in the file.
    """

    number: int
    data: Any
    place: Place
    problems: tuple[Problem, ...] = ()
    whole: bool = True

    def line(self, path: Path) -> int:
        """The line of a field, or of the nearest thing around it that exists."""
        place: Place | None = self.place
        line = self.place.line
        for key in path:
            if place is None or key not in place.lines:
                break
            line = place.lines[key]
            place = place.inner.get(key)
        return line

    def written(self, path: Path) -> str | None:
        """A number, true, false or null as its author wrote it, such as ``3.10``; None for anything else."""
        place: Place | None = self.place
        for key in path[:-1]:
            place = place.inner.get(key) if place else None
        return place.texts.get(path[-1]) if place and path else None


def field_name(path: Path) -> str:
    """A path as a user writes it: ``spec.nginx.serverNames[0]``."""
    name = ""
    for key in path[:FIELD_PARTS]:
        if isinstance(key, int):
            name += f"[{key}]"
        elif _PLAIN_KEY.fullmatch(key) and len(key) <= KEY_CHARACTERS:
            name += f".{key}" if name else key
        else:
            name += f"[{json.dumps(key[:KEY_CHARACTERS] + ('...' if len(key) > KEY_CHARACTERS else ''))}]"
    return name + ("..." if len(path) > FIELD_PARTS else "")
