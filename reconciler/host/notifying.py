"""What the agent tells systemd about itself: that it is ready, that it goes on, that it ends (sd_notify).

A word is a datagram to the socket that ``NOTIFY_SOCKET`` names. Without the variable, as on a terminal, nothing is
told. systemd restarts an agent that has not said for ``WatchdogSec=`` that it goes on, so that word has to come from
the loop that does the work.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import MutableMapping
from contextlib import suppress
from dataclasses import dataclass

BEATS = 4
"""How often the watchdog is told that all is well in the time that it waits for it."""
VARIABLES = ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID")


@dataclass(slots=True)
class ServiceManager:
    """The systemd that started this process; ``address`` is its socket, ``watchdog_seconds`` its patience."""

    address: str | None = None
    watchdog_seconds: float | None = None
    _beat: float = float("-inf")

    @classmethod
    def of(cls, environment: MutableMapping[str, str]) -> ServiceManager:
        """Read what systemd says in the environment, and take it out: programs that are started need not know."""
        told = {name: environment.pop(name, "") for name in VARIABLES}
        address = told["NOTIFY_SOCKET"]
        if not address.startswith(("/", "@")):
            return cls()
        ours = told["WATCHDOG_PID"] in ("", str(os.getpid()))
        watched = ours and told["WATCHDOG_USEC"].isdecimal() and int(told["WATCHDOG_USEC"]) > 0
        return cls(address, int(told["WATCHDOG_USEC"]) / 1_000_000 if watched else None)

    @property
    def beat_seconds(self) -> float | None:
        """How long the loop may wait before it says that it goes on; ``None``: for as long as it likes."""
        return None if self.watchdog_seconds is None else self.watchdog_seconds / BEATS

    def ready(self) -> None:
        """The agent listens, and its first pass begins."""
        self._tell("READY=1")

    def goes_on(self) -> bool:
        """The loop has come so far. Cheap enough to be called often; returns ``False``, as nothing is to end."""
        now = time.monotonic()
        if self.beat_seconds is not None and now - self._beat >= self.beat_seconds / 2:
            self._beat = now
            self._tell("WATCHDOG=1")
        return False

    def ending(self) -> None:
        """The agent winds down."""
        self._tell("STOPPING=1")

    def _tell(self, words: str) -> None:
        if self.address is None:
            return
        # an abstract name begins with NUL; a systemd that does not listen must not hold anything up
        name = f"\0{self.address[1:]}" if self.address.startswith("@") else self.address
        with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as speaker:
            speaker.setblocking(False)
            speaker.sendto(words.encode(), name)
