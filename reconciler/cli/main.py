"""The entry point: options for all commands, commands that are imported when they are called, errors as text.

Start-up time is felt with every command, so nothing is imported here that ``--version`` does not need.
"""

from __future__ import annotations

import contextlib
import gc
import os
import sys
from collections.abc import Sequence
from typing import NoReturn

from reconciler import __version__

USAGE_STATUS = 2
INTERRUPTED_STATUS = 130
BROKEN_PIPE_STATUS = 141
"""128 and the number of the signal, as a shell reports it."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    if given in (["--version"], ["-V"]):
        sys.stdout.write(f"reconciler {__version__}\n")
        return 0
    for stream in (sys.stdout, sys.stderr):
        # a commit message or a log may hold what the locale's encoding cannot say
        with contextlib.suppress(AttributeError):
            stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    # looking for plugins, none of which are ours, reads the metadata of every installed package
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")
    try:
        status = _run(given)
        sys.stdout.flush()
    except KeyboardInterrupt:
        sys.stderr.write("\ninterrupted: what served before still serves, and the next pass carries on\n")
        return INTERRUPTED_STATUS
    except BrokenPipeError:
        # the reader went away; Python would complain again when it flushes at its end
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return BROKEN_PIPE_STATUS
    return status


def _run(arguments: Sequence[str]) -> int:
    """Run the command, the plain way where that will do: typer takes 100 ms to import."""
    from reconciler.cli.plain import plain_command  # noqa: PLC0415

    plain = plain_command(arguments)
    if plain is None:
        from reconciler.cli.commanding import run_command  # noqa: PLC0415

        return run_command(arguments)
    try:
        return plain()
    except BrokenPipeError:
        raise
    except Exception as error:
        from reconciler.cli.commanding import tell_failure  # noqa: PLC0415

        return tell_failure(error, arguments)


def entry() -> NoReturn:
    """The program: a command, and then the end of the process without taking the interpreter apart.

    A cold command spends most of its time importing. Collecting garbage meanwhile finds none, and freeing module by
    module at the end helps nobody: together a sixth of a pass with nothing to do. A command that stays (the agent)
    switches the collector on again.
    """
    gc.disable()
    status = main()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    os._exit(status)


if __name__ == "__main__":
    entry()
