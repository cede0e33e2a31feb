"""Triggers: who asked for a pass. They never say what changed, so that many of them are one pass."""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum

_BETWEEN = "+"


class Trigger(StrEnum):
    """One who asks for a pass, as the log and the journal name it."""

    START = "start"
    """The agent begins."""
    POLL = "poll"
    """The clock says that git is to be asked, or a server has answered that nobody waited for any more."""
    DRIFT = "drift"
    """The clock says that all files are to be looked at."""
    COLLECT = "collect"
    """The clock says that what nobody needs any more is to go, although no work asks for it."""
    REMIND = "remind"
    """The clock says that what is still wrong is to be told again."""
    GIT_TOUCHED = "file:git"
    """A repository on this machine has another commit."""
    FILE_TOUCHED = "file:drift"
    """A file of a live release was touched."""
    WORK = "work"
    """Work has ended, and left something to see to."""
    CERTIFICATE = "certificate"
    """certbot has run."""
    SYNC = "sync"
    SUSPEND = "suspend"
    RESUME = "resume"
    RETRY = "retry"
    COMMAND = "cli"
    """A person ran `reconciler once`."""
    DEMO = "demo"


def joined(triggers: Iterable[str]) -> str:
    """The triggers of one pass, as one text."""
    return _BETWEEN.join(triggers)


def triggers_of(text: str) -> frozenset[str]:
    """The triggers of one pass, from that text."""
    return frozenset(text.split(_BETWEEN))
