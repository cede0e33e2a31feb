"""The file beside a vassal's configuration that holds its environment.

uWSGI expands ``$(…)`` and ``@(…)`` in every value that it reads and has no way to say a line break, so variables
reach an app through a shell file instead, which the Emperor's wrapper reads before it starts uWSGI.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from reconciler.model.errors import StageFailed
from reconciler.model.values import ENVIRONMENT_NAME_PATTERN

FORMAT = "# reconciler environment, format 1"
BINARY_VARIABLE = "RECONCILER_UWSGI"
RESERVED_NAMES = frozenset({BINARY_VARIABLE, "UID", "EUID", "PPID", "BASHOPTS", "SHELLOPTS", "BASH_VERSINFO"})
"""Names that the wrapper needs itself, or that a shell does not let anyone set."""
RESERVED_PREFIX = "UWSGI_"
"""uWSGI reads every variable that begins so as one of its options."""


def render_environment(variables: Mapping[str, str], uwsgi_binary: Path) -> str:
    """The environment file of a vassal: ``export NAME='value'`` lines in the order of their names.

    Raises :class:`StageFailed` for a name that cannot be handed on, never with the value.
    """
    lines = [FORMAT, f"{BINARY_VARIABLE}={shell_quote(str(uwsgi_binary))}"]
    for name in sorted(variables):
        check_variable(name, variables[name])
        lines.append(f"export {name}={shell_quote(variables[name])}")
    return "\n".join(lines) + "\n"


def shell_quote(value: str) -> str:
    """``value`` in single quotes, in which a shell changes nothing."""
    return "'" + value.replace("'", "'\\''") + "'"


def check_variable(name: str, value: str) -> None:
    """Raise :class:`StageFailed` for a name that cannot be handed on or a value that no environment can hold."""
    if not re.fullmatch(ENVIRONMENT_NAME_PATTERN, name):
        raise StageFailed(f"{name!r} is not the name of an environment variable")
    if name in RESERVED_NAMES:
        raise StageFailed(f"the environment variable {name} cannot be set: the shell or the reconciler needs it")
    if name.startswith(RESERVED_PREFIX):
        raise StageFailed(
            f"the environment variable {name} cannot be set: uWSGI reads it as an option",
            hint="say it under uwsgi.options",
        )
    if "\x00" in value:
        raise StageFailed(f"the environment variable {name} has a NUL byte, which no environment can hold")
