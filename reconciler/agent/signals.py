"""Signals: each has a reaction, which runs at once, in a thread of its own.

A handler in Python runs only when the main thread is next at work, and one that has just begun to wait for a pass may
be so for minutes. The interpreter writes the signal's number to a socket at once, in any thread.
"""

from __future__ import annotations

import signal
import socket
import threading
from collections.abc import Callable, Mapping

import structlog

Reaction = Callable[[], None]


def react_to_signals(reactions: Mapping[signal.Signals, Reaction]) -> tuple[socket.socket, socket.socket]:
    """React to these signals from now on, one after the other; called in the main thread.

    Returns the two ends of the socket, to be kept open as long as the process lives: a later signal must not be
    written to whatever took over the number.
    """
    heard, told = socket.socketpair()
    told.setblocking(False)
    signal.set_wakeup_fd(told.fileno(), warn_on_full_buffer=False)
    for number in reactions:
        signal.signal(number, lambda _number, _frame: None)

    def listen() -> None:
        while True:
            for number in heard.recv(1):
                _react(reactions.get(signal.Signals(number)))

    threading.Thread(target=listen, name="signals", daemon=True).start()
    return heard, told


def _react(reaction: Reaction | None) -> None:
    """A reaction that fails must not make the process deaf to the signal that ends it."""
    try:
        if reaction is not None:
            reaction()
    except Exception as error:
        structlog.get_logger().exception("unexpected_error", error=f"{type(error).__name__}: {error}")
