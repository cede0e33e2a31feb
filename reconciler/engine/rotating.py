"""Rotate: logs of apps and servers stay bounded, looked at now and then while passes come."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

from reconciler.host.log_rotation import ROTATION_SECONDS, rotate


@dataclass(slots=True)
class Rotating:
    """Looks at the logs of one host with the first pass of a process, and with a later one when it is time."""

    folder: Path
    _next: float = 0.0

    def look(self) -> tuple[str, ...]:
        """Put large logs aside; returns a sentence where that fails."""
        now = time.monotonic()
        if now < self._next:
            return ()
        self._next = now + ROTATION_SECONDS
        try:
            rotate(self.folder)
        except OSError as error:
            return (f"a large log in {self.folder} could not be put aside: {error.strerror or error}",)
        return ()
