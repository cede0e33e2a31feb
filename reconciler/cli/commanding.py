"""Finding the command, running it, and turning every failure into ``error:`` and ``hint:``."""

from __future__ import annotations

import contextlib
import importlib
import sys
import traceback
from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup
from typer.main import get_command

from reconciler import __version__
from reconciler.cli.invocation import Invocation
from reconciler.cli.output import write_notes
from reconciler.cli.views.failures import error_with_tail
from reconciler.model.errors import ReconcilerError, UsageError

COMMANDS = {
    "demo": "reconciler.cli.agent_commands:demo",
    "init": "reconciler.cli.commands.init:command",
    "bootstrap": "reconciler.cli.commands.bootstrap:command",
    "adopt": "reconciler.cli.commands.adopt:command",
    "run": "reconciler.cli.agent_commands:run",
    "once": "reconciler.cli.commands.once:command",
    "plan": "reconciler.cli.commands.plan:command",
    "status": "reconciler.cli.commands.status:command",
    "history": "reconciler.cli.commands.history:command",
    "explain": "reconciler.cli.commands.explain:command",
    "drift": "reconciler.cli.commands.drift:command",
    "sync": "reconciler.cli.commands.sync:command",
    "suspend": "reconciler.cli.commands.suspend:command",
    "resume": "reconciler.cli.commands.resume:command",
    "retry": "reconciler.cli.commands.retry:command",
    "abort": "reconciler.cli.commands.abort:command",
    "accept": "reconciler.cli.commands.accept:command",
    "forget": "reconciler.cli.commands.forget:command",
    "secrets": "reconciler.cli.commands.secrets:command",
    "logs": "reconciler.cli.commands.logs:command",
    "validate": "reconciler.cli.commands.validate:command",
    "schema": "reconciler.cli.commands.schema:command",
    "doctor": "reconciler.cli.commands.doctor:command",
}
"""Every command in the order of the help, and the function that runs it, imported when it is called."""

HELP_OPTIONS = {"help_option_names": ["-h", "--help"]}
OPTIONS_WITH_VALUE = ("-c", "--config")
FLAGS = ("--debug",)

# typer brings its own copy of click in some versions and the real one in others; this class is the same in both
_Misused: type[Exception] = typer.BadParameter.__bases__[0]
PLAINER = {
    "Input should be a valid integer, unable to parse string as an integer": "it must be a whole number",
    "Input should be a valid number, unable to parse string as a number": "it must be a number",
    "Input should be": "it must be",
}
"""What typer says of the value of an option, and how it is said here."""


class Commands(TyperGroup):
    """The commands; a command's module is imported when the command is called."""

    def list_commands(self, ctx: Any) -> list[str]:
        """Their names, in the order of the help."""
        del ctx
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """One command; ``None`` when there is none of that name."""
        del ctx
        if cmd_name not in COMMANDS:
            return None
        name, _, function = COMMANDS[cmd_name].partition(":")
        module = importlib.import_module(name)
        # commands that also run without typer import it for type checkers only, and typer looks for it in the module
        vars(module).setdefault("typer", typer)
        application = _application()
        application.command(name=cmd_name, context_settings=HELP_OPTIONS)(getattr(module, function))
        return get_command(application)


def run_command(arguments: Sequence[str]) -> int:
    """Run the command that ``arguments`` name and return its exit status; failures become text."""
    if not arguments:
        with contextlib.redirect_stdout(sys.stderr):
            _invoke(["--help"])
        return UsageError.exit_status
    try:
        return _invoke(global_options_first(arguments))
    except BrokenPipeError:
        raise
    except Exception as error:
        return tell_failure(error, arguments)


def tell_failure(error: Exception, arguments: Sequence[str]) -> int:
    """Write ``error:`` and ``hint:``, with ``--debug`` the traceback too; the exit status."""
    if "--debug" in arguments:
        traceback.print_exception(error)
    failure = _as_failure(error, arguments)
    write_notes(error_with_tail(failure))
    return failure.exit_status


def global_options_first(arguments: Sequence[str]) -> list[str]:
    """The arguments with ``-c FILE`` and ``--debug`` in front: people write them behind the command as well.

    Raises :class:`UsageError` for ``-c`` without a file.
    """
    front: list[str] = []
    rest: list[str] = []
    remaining = iter(arguments)
    for argument in remaining:
        if argument == "--":
            rest += [argument, *remaining]
        elif argument in OPTIONS_WITH_VALUE:
            value = next(remaining, None)
            if value is None:
                raise UsageError(f"{argument} needs a file", hint="write `-c FILE`, such as `-c agent.yaml`")
            front += [argument, value]
        elif argument in FLAGS or argument.startswith("--config="):
            front.append(argument)
        else:
            rest.append(argument)
    return front + rest


def _invoke(arguments: list[str]) -> int:
    group = get_command(_root())
    try:
        with group.make_context("reconciler", arguments) as context:
            status = group.invoke(context)
    except typer.Exit as ending:
        status = ending.exit_code
    return status if isinstance(status, int) else 0


def _root() -> typer.Typer:
    root = _application(cls=Commands)
    root.callback()(_options)
    return root


def _application(**settings: Any) -> typer.Typer:
    # rich help and rich tracebacks would import rich with every command
    return typer.Typer(
        add_completion=False,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
        context_settings=HELP_OPTIONS,
        **settings,
    )


def _show_version(wanted: bool) -> None:
    if wanted:
        sys.stdout.write(f"reconciler {__version__}\n")
        raise typer.Exit


def _options(
    context: typer.Context,
    config: Annotated[
        Path | None,
        typer.Option("-c", "--config", metavar="FILE", help="The agent's configuration; else $RECONCILER_CONFIG."),
    ] = None,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
    version: Annotated[
        bool,
        typer.Option("-V", "--version", is_eager=True, callback=_show_version, help="Show the version and exit."),
    ] = False,
) -> None:
    """Merging to main deploys: a pull-based GitOps reconciler for Python web apps on nginx and uWSGI."""
    del version
    context.obj = Invocation(config, debug)


def _as_failure(error: Exception, arguments: Sequence[str]) -> ReconcilerError:
    """The error with the sentence, the hint and the exit status that the user gets."""
    if isinstance(error, ReconcilerError):
        return error
    if isinstance(error, _Misused):
        return _usage_error(error, arguments)
    if isinstance(error, OSError):
        from reconciler.host.file_systems import disk_error  # noqa: PLC0415  only where something failed

        if (failure := disk_error(error)) is not None:
            failure.message = f"{error.filename}: {failure}" if error.filename else str(failure)
            return failure
    if isinstance(error, OSError) and error.filename:
        return ReconcilerError(f"{error.filename}: {error.strerror}", hint="check that it exists, and its rights")
    return ReconcilerError(
        f"unexpected {type(error).__name__}: {error}",
        hint="this is a bug of the reconciler; run it again with --debug and report what it prints",
    )


def _usage_error(error: Exception, arguments: Sequence[str]) -> UsageError:
    """What typer says about wrong arguments, in the voice of all other errors."""
    context = getattr(error, "ctx", None)
    path = context.command_path if context is not None else "reconciler"
    message = error.format_message() if hasattr(error, "format_message") else str(error)
    unknown = next((name for name in arguments if message == f"No such command {name!r}."), None)
    if unknown is not None:
        near = get_close_matches(unknown, COMMANDS, n=1)
        guess = f"did you mean `reconciler {near[0]}`? " if near else ""
        return UsageError(f"there is no command {unknown!r}", hint=f"{guess}`reconciler --help` lists all commands")
    for theirs, plainer in PLAINER.items():
        message = message.replace(theirs, plainer)
    sentence = message[:1].lower() + message[1:].rstrip(".") if message else "the arguments are wrong"
    return UsageError(sentence.replace("\n\t", " "), hint=f"`{path} --help` explains the arguments")
