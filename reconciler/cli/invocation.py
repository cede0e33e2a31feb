"""The options that stand before the command, handed to every command as ``context.obj``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import typer

    from reconciler.cli.wiring import Installation


@dataclass(frozen=True, slots=True)
class Invocation:
    """``config`` is what ``-c`` named; ``debug`` asks for tracebacks."""

    config: Path | None = None
    debug: bool = False

    def installation(self) -> Installation:
        """The configuration and the folders it leads to; :class:`ConfigurationError` when there is none."""
        from reconciler.cli.wiring import Installation  # noqa: PLC0415  the host is read only where it is needed

        return Installation.load(self.config)


def invocation_of(context: typer.Context) -> Invocation:
    """The options that this run was given."""
    found = context.find_object(Invocation)
    return found if found is not None else Invocation()
