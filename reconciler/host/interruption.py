"""The wish to end: programs and long waits look here, so that the agent ends within seconds and at a safe point."""

from __future__ import annotations

import threading

CHECK_SECONDS = 0.5
"""How long a wait for a program may go on without a look."""

_asked = threading.Event()


class Interrupted(BaseException):
    """The process is to end; no error, so that nobody records it as one. What is half made is taken back."""


def interrupt() -> None:
    """Let every program and wait of this process end with :class:`Interrupted`, and every new one too."""
    _asked.set()


def forget_interruption() -> None:
    """Begin anew, in a process that goes on."""
    _asked.clear()


def stop_if_interrupted() -> None:
    """Raise :class:`Interrupted` once :func:`interrupt` was called."""
    if _asked.is_set():
        raise Interrupted
