"""Commands as scripts and timers write them, ``reconciler -c FILE once --json`` for one, run without typer.

typer, with the pydantic that it reads arguments with, takes longer to import than a pass with nothing to do takes to
run. Arguments in which there is nothing to explain, refuse or convert are understood here; all others are left to it.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from reconciler.cli.invocation import Invocation

PLAIN = ("once", "plan", "status", "drift")
"""Commands whose module has a function ``run``, which needs nothing but the invocation and ``as_json``."""
CONFIGURATION = ("-c", "--config")
JSON = "--json"


def plain_command(arguments: Sequence[str]) -> Callable[[], int] | None:
    """The command that ``arguments`` ask for in the plainest way, to be called; ``None`` leaves them to typer."""
    file: Path | None = None
    words: list[str] = []
    remaining = iter(arguments)
    for argument in remaining:
        if argument in CONFIGURATION:
            value = next(remaining, "")
            if not value or value.startswith("-"):
                return None
            file = Path(value)
        else:
            words.append(argument)
    as_json = words[1:] == [JSON]
    if not words or words[0] not in PLAIN or not (as_json or len(words) == 1):
        return None
    run = importlib.import_module(f"reconciler.cli.commands.{words[0]}").run
    return partial(run, Invocation(file), as_json=as_json)
