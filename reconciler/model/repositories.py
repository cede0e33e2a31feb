"""Repositories that do not answer: how often they are asked, and what is said of them. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass

LONGEST_PAUSE_SECONDS = 300.0
"""A server that fails is asked after twice as long each time, up to this, or the poll interval if that is longer."""
REPOSITORIES = "repositories"
"""Under which name the journal keeps who does not answer."""


@dataclass(frozen=True, slots=True)
class Trouble:
    """A repository that failed ``failures`` times in a row, ``since`` when, and when it is asked ``again`` at latest.

    Times are in seconds since 1970; the address is without credentials.
    """

    repository: str
    error: str
    failures: int
    since: float
    again: float


def pause_after(failures: int, interval: float) -> float:
    """How many seconds to wait before a server is asked again that has failed so often."""
    return float(min(interval * 2.0 ** min(failures - 1, 32), max(LONGEST_PAUSE_SECONDS, interval)))


def written(troubles: Iterable[Trouble]) -> str:
    """Troubles as the journal keeps them; empty when there are none."""
    found = [asdict(trouble) for trouble in troubles]
    return json.dumps(found) if found else ""


def read(text: str | None) -> tuple[Trouble, ...]:
    """What :func:`written` wrote."""
    return tuple(Trouble(**values) for values in json.loads(text)) if text else ()
