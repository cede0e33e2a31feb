"""Options such as ``--label role=web``."""

from __future__ import annotations

from collections.abc import Sequence

from reconciler.model.errors import UsageError


def pairs(option: str, given: Sequence[str] | None, example: str) -> dict[str, str]:
    """What was given, by name; raises :class:`UsageError` for one that is no pair."""
    found = {}
    for text in given or ():
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise UsageError(
                f"{option} {text} is no {'NAME' if option == '--env' else 'KEY'}=VALUE",
                hint=f"write {option} {example}",
            )
        found[name] = value
    return found
