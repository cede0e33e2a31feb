"""What the lower layers have to say while they work, for the agent's log; nobody listens in commands that end soon.

``about`` binds fields to everything that is said in its block, here and in threads that take over this context.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar

Listener = Callable[[str, str, Mapping[str, object]], None]
"""Hears the level (``debug``, ``info``, ``warning`` or ``error``), the event and its fields, in any thread."""

_bound: ContextVar[Mapping[str, object]] = ContextVar("bound", default={})  # noqa: B039  never changed, only replaced
_listeners: list[Listener] = []


def listen(listener: Listener | None) -> None:
    """Let ``listener`` hear everything from now on, in place of an earlier one; ``None``: nobody."""
    _listeners[:] = [] if listener is None else [listener]


def bound() -> Mapping[str, object]:
    """The fields that are bound here."""
    return _bound.get()


@contextmanager
def about(**fields: object) -> Iterator[None]:
    """Bind fields as long as the block lasts; one that is ``None`` says nothing."""
    token = _bound.set({**_bound.get(), **{name: value for name, value in fields.items() if value is not None}})
    try:
        yield
    finally:
        _bound.reset(token)


def debug(event: str, **fields: object) -> None:
    """Say what only matters to one who looks for a fault."""
    _say("debug", event, fields)


def info(event: str, **fields: object) -> None:
    """Say what happened."""
    _say("info", event, fields)


def error(event: str, **fields: object) -> None:
    """Say what a person must see to."""
    _say("error", event, fields)


def _say(level: str, event: str, fields: Mapping[str, object]) -> None:
    for listener in _listeners:
        listener(level, event, fields)
