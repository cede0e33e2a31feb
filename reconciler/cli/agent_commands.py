"""``run`` and ``demo``: their options and help, apart from the agent, which takes long to import."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from reconciler.cli.invocation import invocation_of

DEMO_FOLDER = Path("demo")
DEMO_PORT = 8080


def run(context: typer.Context) -> int:
    """Keep reconciling, in the foreground, until SIGTERM or Ctrl-C."""
    from reconciler.cli.commands.run import command  # noqa: PLC0415  the agent takes 300 ms to import

    return command(invocation_of(context).config)


def demo(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Where the demo lives.")] = DEMO_FOLDER,
    port: Annotated[
        int, typer.Option("--port", metavar="PORT", min=1, max=65535, help="Where nginx listens.")
    ] = DEMO_PORT,
    stop: Annotated[bool, typer.Option("--stop", help="End the demo's nginx and uWSGI.")] = False,
) -> int:
    """Deploy an example from two repositories made for it.

    It keeps reconciling while you edit, commit and watch."""
    from reconciler.cli.commands.demo import command  # noqa: PLC0415  the agent takes 300 ms to import

    return command(folder, port, stop=stop)
