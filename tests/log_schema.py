"""The log's schema as docs/logs.md writes it down, and a check of lines against it."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PAGE = Path(__file__).resolve().parent.parent / "docs" / "logs.md"
EVERYWHERE = frozenset({"timestamp", "level", "event"})
BOUND = frozenset({"pass", "trigger", "revision", "app", "stage"})
TYPES: Mapping[str, Callable[[Any], bool]] = {
    "text": lambda value: isinstance(value, str) and value != "",
    "number": lambda value: isinstance(value, int | float) and not isinstance(value, bool),
    "boolean": lambda value: isinstance(value, bool),
    "list": lambda value: isinstance(value, list),
    "map": lambda value: isinstance(value, dict),
    "map or list": lambda value: isinstance(value, dict | list),
}


@dataclass(frozen=True)
class Event:
    """One row: the level, and the fields that a line may have besides those of every line."""

    level: str
    fields: frozenset[str]


def rows(heading: str) -> list[list[str]]:
    """The cells of a section's table, without its head."""
    section = PAGE.read_text("utf-8").partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


def names(cell: str) -> list[str]:
    """What stands between backquotes."""
    return re.findall(r"`([a-z_]+)`", cell)


def documented_events() -> dict[str, Event]:
    """All rows of the table of events."""
    events: dict[str, Event] = {}
    # a row that says "as another one" may stand before it
    left = {names(name)[0]: (level, cell) for name, level, cell, _ in rows("Events")}
    while left:
        for name, (level, cell) in list(left.items()):
            like = re.match(r"as `(\w+)`", cell)
            if like is None or like[1] in events:
                inherited = events[like[1]].fields if like else frozenset()
                more = cell[like.end() :] if like else cell
                events[name] = Event(level, inherited | frozenset(names(more)))
                del left[name]
    return events


def documented_fields() -> dict[str, str]:
    """The type of every field."""
    return {name: kind for cell, kind, _ in rows("Fields") for name in names(cell)}


def faults_of(line: Mapping[str, Any]) -> list[str]:
    """What is wrong with a line of the log; empty when it is as documented."""
    event = documented_events().get(str(line.get("event")))
    if event is None:
        return [f"{line.get('event')} is not documented"]
    faults = [f"{event} has no {name}" for name in EVERYWHERE - line.keys()]
    if line.get("level") != event.level:
        faults.append(f"{line['event']} has the level {line.get('level')}, documented is {event.level}")
    unknown = line.keys() - EVERYWHERE - BOUND - event.fields
    faults += [f"{line['event']} has {name}, which is not documented" for name in sorted(unknown)]
    types = documented_fields()
    wrong = [name for name, value in line.items() if name in types and not TYPES[types[name]](value)]
    return faults + [f"{name} of {line['event']} is {line[name]!r}, documented is {types[name]}" for name in wrong]
