"""The options that stand before the command, handed to every command as ``context.obj``."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from reconciler.cli.wiring import Installation


@dataclass(frozen=True, slots=True)
class Invocation:
    """``config`` is what ``-c`` named; ``debug`` asks for tracebacks and every log line."""

    config: Path | None = None
    debug: bool = False

    def installation(self) -> Installation:
        """The configuration and the folders it leads to; :class:`ConfigurationError` when there is none."""
        from reconciler.cli.wiring import Installation  # noqa: PLC0415  pydantic is read only where it is needed

        return Installation.load(self.config)

    def configure_logs(self) -> None:
        """Send what the engine logs to standard error: warnings, and everything with ``--debug``."""
        from reconciler.agent.logs import configure_logs  # noqa: PLC0415  only commands with an engine log anything

        configure_logs(logging.DEBUG if self.debug else logging.WARNING)


def invocation_of(context: typer.Context) -> Invocation:
    """The options that this run was given."""
    found = context.find_object(Invocation)
    return found if found is not None else Invocation()
