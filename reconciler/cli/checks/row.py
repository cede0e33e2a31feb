"""One finding of ``doctor``."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Level(StrEnum):
    """``warn`` is something that works without; ``fail`` is something that does not."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True, slots=True)
class Row:
    """What was looked at, how it is, and how to get what lacks."""

    check: str
    level: Level
    message: str
    hint: str | None = None

    def as_json(self) -> dict[str, str | None]:
        """The object that ``doctor --json`` prints for a row."""
        return {"check": self.check, "level": self.level.value, "message": self.message, "hint": self.hint}


def ok(check: str, message: str) -> Row:
    """All is well."""
    return Row(check, Level.OK, message)


def warn(check: str, message: str, hint: str | None = None) -> Row:
    """Something works less well, or only sometimes."""
    return Row(check, Level.WARN, message, hint)


def fail(check: str, message: str, hint: str | None = None) -> Row:
    """Something does not work."""
    return Row(check, Level.FAIL, message, hint)
