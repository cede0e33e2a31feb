"""The last reading of agent.yaml, kept in the state folder so that a command need not check again what was right.

Checking imports pydantic and a reader of YAML, which takes longer than a pass with nothing to do. What is kept counts
for exactly the bytes that were read, by exactly this version; anything else is read and checked anew.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Callable
from contextlib import suppress
from dataclasses import fields, is_dataclass
from datetime import timedelta
from enum import Enum
from pathlib import Path
from typing import Any

from reconciler import __version__
from reconciler.host.files import write_whole
from reconciler.host.layout import Layout
from reconciler.host.system_layout import SystemLayout
from reconciler.model import configuration as classes
from reconciler.model.configuration import Configuration

FORMAT = 1
NAME = "configuration.json"
MODE = 0o600

# where to look: a wrong guess finds nothing, because what is found must have been kept for the same text
_ROOT = re.compile(rb"^root:[ \t]+(?P<quote>['\"]?)(?P<root>[^'\"#\n]+?)(?P=quote)[ \t]*(#.*)?$", re.MULTILINE)
_SYSTEM = re.compile(rb"^profile:[ \t]+['\"]?system\b", re.MULTILINE)
_MICROSECOND = timedelta(microseconds=1)


def recall(file: Path, text: bytes) -> Configuration | None:
    """What ``text``, the content of ``file``, was found to say; ``None`` where that is not known."""
    try:
        kept = json.loads(_place(_guessed(file, text)).read_bytes())
        configuration = _decoded(kept["configuration"]) if kept["of"] == _identity(text) else None
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None
    return configuration if isinstance(configuration, Configuration) else None


def keep(layout: Layout, text: bytes, configuration: Configuration) -> None:
    """Remember what ``text`` says; what cannot be remembered, or not written, is read again the next time."""
    with suppress(OSError, TypeError):
        encoded = _encoded(configuration)
        kept = {"of": _identity(text), "configuration": encoded}
        write_whole(_place(layout), json.dumps(kept) + "\n", mode=MODE)


def _guessed(file: Path, text: bytes) -> Layout:
    if _SYSTEM.search(text):
        return SystemLayout.at()
    found = _ROOT.search(text)
    root = found["root"].decode("utf-8", "replace") if found else classes.DEFAULT_ROOT
    return Layout(Path(os.path.normpath((file.parent / root).absolute())))


def _place(layout: Layout) -> Path:
    return layout.cache / NAME


def _identity(text: bytes) -> str:
    return hashlib.sha256(f"{FORMAT} {__version__}\n".encode() + text).hexdigest()


def _encoded(value: object) -> Any:
    """A value as JSON can say it, classes by their names; raises ``TypeError`` for what is not of agent.yaml."""
    name = type(value).__name__
    if isinstance(value, Enum) and vars(classes).get(name) is type(value):
        return {name: value.value}
    if is_dataclass(value) and vars(classes).get(name) is type(value):
        return {name: {field.name: _encoded(getattr(value, field.name)) for field in fields(value)}}
    if isinstance(value, timedelta):
        return {"timedelta": value // _MICROSECOND}
    if isinstance(value, dict):
        return {"dict": {key: _encoded(entry) for key, entry in value.items()}}
    if isinstance(value, tuple):
        return [_encoded(entry) for entry in value]
    if value is None or type(value) in (str, int, float, bool):
        return value
    raise TypeError(f"{name} is not remembered")


def _decoded(encoded: Any) -> Any:
    if isinstance(encoded, list):
        return tuple(map(_decoded, encoded))
    if not isinstance(encoded, dict):
        return encoded
    ((name, content),) = encoded.items()
    if name == "timedelta":
        return timedelta(microseconds=content)
    if name == "dict":
        return {key: _decoded(entry) for key, entry in content.items()}
    kind: Any = vars(classes)[name]
    if not is_dataclass(kind):
        return kind(content) if issubclass(kind, Enum) else None
    make: Callable[..., Any] = vars(classes)[name]
    return make(**{key: _decoded(entry) for key, entry in content.items()})
