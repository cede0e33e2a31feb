"""Commands that come from an app's repository: with a bare environment, confined and limited."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from reconciler.host.confinement import Confinement, run_confined
from reconciler.host.processes import Result
from reconciler.model.errors import CommandFailed, CommandTimedOut

COMMAND_SECONDS = 1_800.0
"""The longest that one build command or static command may take."""
SYSTEM_PATH = "/usr/local/bin:/usr/bin:/bin"
SHOWN_CHARACTERS = 80
"""How much of a command an error repeats."""
PASSED_ON = (
    "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy",
    "SSL_CERT_FILE", "SSL_CERT_DIR", "NODE_EXTRA_CA_CERTS", "TZ",
)  # fmt: skip
"""What an app's command inherits from the agent: how to reach the network, and the time zone."""


def app_environment(
    own: Mapping[str, str], environment: Path, inherited: Mapping[str, str], home: Path
) -> dict[str, str]:
    """The whole environment of a command of an app: ``own`` is the manifest's ``env``, which wins."""
    passed = {name: inherited[name] for name in PASSED_ON if name in inherited}
    return {
        **passed,
        "PATH": f"{environment}/bin:{SYSTEM_PATH}",
        "VIRTUAL_ENV": str(environment),
        "HOME": str(home),
        "LANG": "C.UTF-8",
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONUNBUFFERED": "1",
        **own,
    }


def run_app_command(
    command: str,
    *,
    kind: str,
    folder: Path,
    env: Mapping[str, str],
    say: Callable[[str], None],
    confinement: Confinement,
    timeout: float = COMMAND_SECONDS,
    on_output: Callable[[bytes], None] | None = None,
) -> Result:
    """Run one command line of a manifest in ``folder``; ``timeout`` is in seconds, ``kind`` its name in errors.

    The command goes to a shell word by word as its author wrote it: it is the author's program, with the author's
    rights. ``on_output`` gets every byte that it prints. Raises
    :class:`~reconciler.model.errors.CommandFailed` with the tail of its output.
    """
    what = f"the {kind} `{shown_command(command)}`"
    try:
        return run_confined(
            ["/bin/sh", "-c", command],
            confinement,
            timeout=timeout,
            cwd=folder,
            env=env,
            what=what,
            on_line=say,
            on_output=on_output,
        )
    except CommandFailed as error:
        if error.hint is not None:
            raise
        if isinstance(error, CommandTimedOut):
            error.hint = f"{timeout:g} s are the limit: make it do less, or take it out of the deployment"
        else:
            error.hint = "correct the command in the manifest, or what it runs, and commit"
        raise


def shown_command(command: str) -> str:
    """A command in one line, cut short."""
    line = " ".join(command.split())
    return line if len(line) <= SHOWN_CHARACTERS else f"{line[:SHOWN_CHARACTERS]}…"
