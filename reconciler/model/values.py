"""What the classes of the manifest and of agent.yaml need before anything is read: importing this costs nothing."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from pydantic import ConfigDict

NAME_PATTERN = r"^[a-z][a-z0-9-]{0,39}$"
ENVIRONMENT_NAME_PATTERN = r"^[A-Za-z_][A-Za-z0-9_]{0,127}$"

_UNIT_BYTES = {"": 1, "k": 1024, "m": 1024**2, "g": 1024**3}


def camel_case(name: str) -> str:
    """A field's name as YAML writes it: ``fast_forward_only`` is ``fastForwardOnly``."""
    first, *more = name.split("_")
    return first + "".join(word.capitalize() for word in more)


STRICT: Final[ConfigDict] = {"extra": "forbid", "alias_generator": camel_case}
"""How pydantic reads the classes: a key that they do not know is a mistake."""


def size_in_bytes(text: str) -> int:
    """``512``, ``64k``, ``1m`` or ``20g`` in bytes; the letters stand for powers of 1024. Raises ``ValueError``."""
    match = re.fullmatch(r"([0-9]{1,6})([kmg]?)", text.lower())
    if not match:
        raise ValueError(f"{text!r} is not a size")
    return int(match[1]) * _UNIT_BYTES[match[2]]
