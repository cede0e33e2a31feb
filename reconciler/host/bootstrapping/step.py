"""One thing that a server needs: what of it is missing, and how to provide that."""

from __future__ import annotations

from typing import Protocol


class Step(Protocol):
    """A step looks at the server as it is now, so that running it again finds nothing to do."""

    def missing(self) -> tuple[str, ...]:
        """What would be done, a phrase each that begins with a verb; nothing is changed. Empty: all is there."""

    def provide(self) -> None:
        """Do it; called only where something is missing."""
