"""What a pass tells while it works; the command line and the agent's log are the listeners."""

from __future__ import annotations

from typing import Protocol

from reconciler.model.plan import Change


class Progress(Protocol):
    """Hears what happens, in any thread."""

    def stage_started(self, app: str, change: Change) -> None:
        """A stage begins its work."""

    def stage_said(self, app: str, stage: str, line: str) -> None:
        """A program that the stage runs printed a line."""

    def stage_finished(self, app: str, stage: str, seconds: float, error: str | None) -> None:
        """A stage ended; ``error`` is ``None`` when it went well."""


class Silence:
    """Hears nothing."""

    def stage_started(self, app: str, change: Change) -> None:
        """Say nothing."""

    def stage_said(self, app: str, stage: str, line: str) -> None:
        """Say nothing."""

    def stage_finished(self, app: str, stage: str, seconds: float, error: str | None) -> None:
        """Say nothing."""
