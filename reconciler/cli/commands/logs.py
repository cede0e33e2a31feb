"""The log of one app."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from reconciler.cli.invocation import invocation_of
from reconciler.model.errors import UsageError

LINES = 50


def command(
    context: typer.Context,
    app: Annotated[str, typer.Argument(metavar="APP", help="The app's name.")],
    lines: Annotated[int, typer.Option("-n", "--lines", metavar="LINES", min=0, help="How many lines.")] = LINES,
    follow: Annotated[bool, typer.Option("-f", "--follow", help="Go on until Ctrl-C.")] = False,
    nginx: Annotated[
        bool, typer.Option("--nginx", help="nginx's error and access log in place of the app's.")
    ] = False,
    hooks: Annotated[
        bool, typer.Option("--hooks", help="What the hooks of its releases printed in place of the app's log.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> int:
    """Show what an app and its uWSGI processes print."""
    from reconciler.cli.log_reading import app_logs, follow_files, last_lines  # noqa: PLC0415  not for wrong options
    from reconciler.cli.output import write_json  # noqa: PLC0415
    from reconciler.cli.views.lines import without_commands  # noqa: PLC0415

    if as_json and follow:
        raise UsageError(
            "a log that is followed has no end, and --json prints one object", hint="leave one of them out"
        )
    files = app_logs(invocation_of(context).installation(), app, nginx=nginx, hooks=hooks)
    if as_json:
        logs = [{"file": str(file), "lines": last_lines(file, lines)[0].splitlines()} for file in files]
        write_json({"app": app, "logs": logs})
        return 0
    terminal = sys.stdout.isatty()

    def write(text: str) -> None:
        # on a terminal colours may pass, but nothing that moves the cursor or answers in the reader's name
        sys.stdout.write(without_commands(text) if terminal else text)
        sys.stdout.flush()

    places = {}
    for file in files:
        if len(files) > 1:
            write(f"==> {file} <==\n")
        text, places[file] = last_lines(file, lines)
        write(text)
    if follow:
        follow_files(places, write)
    return 0
