"""Runs git, through GitPython: a clean environment, no prompts, no hooks, no filters, a time limit on everything.

Commands that talk to a server honour the user's own git configuration, because credentials and proxies are there.
Commands on a mirror honour none, so that what they give depends on the repository alone.
"""

from __future__ import annotations

import os
import resource
import shlex
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

from reconciler.host.git_addresses import ALLOWED_PROTOCOLS, Address, masked
from reconciler.host.git_failures import is_damage
from reconciler.host.interruption import CHECK_SECONDS, stop_if_interrupted
from reconciler.host.processes import TAIL_BYTES, end_group
from reconciler.model.errors import CommandFailed, CommandTimedOut, HostError, RepositoryUnreachable

if TYPE_CHECKING:
    from git.cmd import Git

LOCAL_SECONDS = 120.0
CONNECT_SECONDS = 15
OUTPUT_BYTES = 256 * 1024 * 1024
"""The most that a command may print; its answer is kept in memory."""

NO_REPOSITORY = Path("/dev/null")
"""Where git is told to look when a command needs no repository, so that it does not find one by itself."""

_ROOT = Path("/")
_SETTINGS = {
    "core.hooksPath": "/dev/null",
    "core.fsmonitor": "false",
    "core.attributesFile": "/dev/null",
    "gc.auto": "0",
    "maintenance.auto": "false",
    "fetch.recurseSubmodules": "no",
    "submodule.recurse": "false",
    "log.showSignature": "false",
    "i18n.logOutputEncoding": "UTF-8",
}
# names that would lead git to another repository, index or object store than the one it is given
_REPOSITORY_VARIABLES = (
    "GIT_ALTERNATE_OBJECT_DIRECTORIES",
    "GIT_ATTR_SOURCE",
    "GIT_COMMON_DIR",
    "GIT_CONFIG",
    "GIT_CONFIG_PARAMETERS",
    "GIT_DIR",
    "GIT_GRAFT_FILE",
    "GIT_IMPLICIT_WORK_TREE",
    "GIT_INDEX_FILE",
    "GIT_NAMESPACE",
    "GIT_OBJECT_DIRECTORY",
    "GIT_PREFIX",
    "GIT_QUARANTINE_PATH",
    "GIT_REPLACE_REF_BASE",
    "GIT_SHALLOW_FILE",
    "GIT_WORK_TREE",
)
_ENVIRONMENT = {
    "GIT_TERMINAL_PROMPT": "0",
    # empty, not absent: an absent one lets core.askPass and SSH_ASKPASS in
    "GIT_ASKPASS": "",
    "SSH_ASKPASS_REQUIRE": "never",
    "GCM_INTERACTIVE": "never",
    "GIT_ALLOW_PROTOCOL": ALLOWED_PROTOCOLS,
    "GIT_ATTR_NOSYSTEM": "1",
    "GIT_NO_REPLACE_OBJECTS": "1",
    "GIT_OPTIONAL_LOCKS": "0",
    "LC_ALL": "C",
    "LANGUAGE": "C",
}
_LOCAL_ENVIRONMENT = {
    "GIT_CONFIG_GLOBAL": "/dev/null",
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_CONFIG_COUNT": "0",
    # a git older than 2.32 does not know GIT_CONFIG_GLOBAL and looks here
    "HOME": "/dev/null",
    "XDG_CONFIG_HOME": "/dev/null",
}


class OutputTooLong(CommandFailed):
    """A git command printed more than is read, and was ended."""

    def __init__(self, arguments: Sequence[str], limit: int) -> None:
        said = f"it gave more than {limit:,} bytes"
        super().__init__(("git", *arguments), 1, said, what=f"git {arguments[0]}")


def network(
    address: Address,
    arguments: Sequence[str],
    *,
    repository: Path = NO_REPOSITORY,
    settings: Mapping[str, str] | None = None,
    inside: bool = False,
    timeout: float,
    limit_bytes: int = OUTPUT_BYTES,
    limits: Mapping[int, int] = MappingProxyType({}),
) -> bytes:
    """Run a git command that talks to ``address``, with more ``settings`` of git; return its standard output.

    ``limits`` are what git may take of this host, however much a server sends: of each resource (``RLIMIT_``) so many
    bytes. ``inside`` starts it in ``repository`` in place of naming that to git and to every program that git starts.
    Raises :class:`RepositoryUnreachable` after ``timeout`` seconds, :class:`OutputTooLong` when more than
    ``limit_bytes`` come, and :class:`CommandFailed` on any other failure
    (:func:`~reconciler.host.git_failures.unreachable` makes a sentence of it).
    """
    environment = dict(_ENVIRONMENT) if inside else {**_ENVIRONMENT, "GIT_DIR": str(repository)}
    if address.protocol == "ssh":
        environment["GIT_SSH_COMMAND"] = _ssh_command()
    if address.authorization is not None:
        settings = {**(settings or {}), f"http.{address.url}.extraHeader": address.authorization}
    environment |= _settings_by_environment(settings or {})
    try:
        folder = repository if inside else _ROOT
        return _run(arguments, environment, folder=folder, timeout=timeout, limit_bytes=limit_bytes, limits=limits)
    except CommandTimedOut as error:
        raise RepositoryUnreachable(
            f"{address.shown} did not answer within {timeout:g} s",
            hint="check the server and the network between; the next pass tries again",
        ) from error


def local(
    repository: Path,
    arguments: Sequence[str],
    *,
    stdin: bytes | None = None,
    environment: Mapping[str, str] | None = None,
    timeout: float = LOCAL_SECONDS,
    limit_bytes: int = OUTPUT_BYTES,
) -> bytes:
    """Run a git command on a bare repository of this host; return its standard output.

    Raises :class:`RepositoryUnreachable` after ``timeout`` seconds, :class:`OutputTooLong` when it prints more than
    ``limit_bytes``, and :class:`CommandFailed` on any other failure.
    """
    whole = {**_ENVIRONMENT, **_LOCAL_ENVIRONMENT, "GIT_DIR": str(repository), **(environment or {})}
    try:
        return _run(arguments, whole, stdin=stdin, timeout=timeout, on_mirror=True, limit_bytes=limit_bytes)
    except CommandTimedOut as error:
        raise RepositoryUnreachable(
            f"git {arguments[0]} in {repository} did not end within {timeout:g} s", hint="check the load of this host"
        ) from error


@cache
def _git() -> tuple[type[Git], type[Exception]]:
    """GitPython's class for commands, and what it raises when there is no git."""
    # imported here because it takes 130 ms and runs git once, which a command that needs no git should not pay
    try:
        from git.cmd import Git  # noqa: PLC0415
        from git.exc import GitCommandNotFound  # noqa: PLC0415
    except ImportError as error:
        raise HostError("git is not on this host", hint="apt-get install git") from error
    return Git, GitCommandNotFound


def _run(
    arguments: Sequence[str],
    environment: Mapping[str, str],
    *,
    timeout: float,
    folder: Path = _ROOT,
    stdin: bytes | None = None,
    on_mirror: bool = False,
    limit_bytes: int = OUTPUT_BYTES,
    limits: Mapping[int, int] = MappingProxyType({}),
) -> bytes:
    stop_if_interrupted()
    settings = [part for name, value in _SETTINGS.items() for part in ("-c", f"{name}={value}")]
    command = [*_without_variables(environment), "git", *settings, *arguments]
    with _started(command, environment, folder, has_stdin=stdin is not None) as process:
        for kind, value in limits.items():
            # from outside, because code between fork and exec is not safe in a process with threads
            with suppress(ProcessLookupError):
                resource.prlimit(process.pid, kind, (value, value))
        try:
            stdout, stderr = _communicate(process, stdin, timeout, limit_bytes)
        except subprocess.TimeoutExpired:
            end_group(process.pid)
            raise CommandTimedOut(("git", *arguments), timeout, "", what=f"git {arguments[0]}") from None
        except _TooLong:
            end_group(process.pid)
            raise OutputTooLong(arguments, limit_bytes) from None
        except BaseException:
            end_group(process.pid)
            raise
    tail = masked(stderr[-TAIL_BYTES:].decode("utf-8", "replace"))
    # git goes on without a pack that it cannot read, and then says that the objects are missing
    if process.returncode != 0 or (on_mirror and is_damage(tail)):
        raise CommandFailed(("git", *arguments), process.returncode, tail, what=f"git {arguments[0]}")
    return bytes(stdout)


class _TooLong(Exception):
    """A program printed more than is read."""


def _communicate(
    process: subprocess.Popen[bytes], stdin: bytes | None, timeout: float, limit_bytes: int
) -> tuple[bytes, bytes]:
    """All that a program prints; raises ``TimeoutExpired`` after ``timeout`` seconds, ``_TooLong`` past the limit."""
    deadline = time.monotonic() + timeout
    while True:
        wait = min(max(deadline - time.monotonic(), 0), CHECK_SECONDS)
        try:
            stdout, stderr = process.communicate(stdin, timeout=wait)
            if len(stdout) > limit_bytes:
                raise _TooLong
            return stdout, stderr
        except subprocess.TimeoutExpired as so_far:
            if len(so_far.stdout or b"") > limit_bytes:
                raise _TooLong from None
            stop_if_interrupted()
            if time.monotonic() >= deadline:
                raise
            # communicate goes on with what it was given at first, and takes it only once
            stdin = None


@contextmanager
def _started(
    command: Sequence[str], environment: Mapping[str, str], folder: Path, *, has_stdin: bool
) -> Iterator[subprocess.Popen[bytes]]:
    # GitPython's own time limit looks for children with pgrep, which a host may lack, and misses grandchildren;
    # a session of git's own is ended as a whole, and without a terminal ssh cannot ask anything
    program, not_found = _git()
    try:
        handle = program(folder).execute(
            command,
            istream=subprocess.PIPE if has_stdin else subprocess.DEVNULL,
            as_process=True,
            env=environment,
            start_new_session=True,
        )
    except not_found as error:
        raise HostError("git is not on this host", hint="apt-get install git") from error
    process = handle.proc
    if process is None:
        raise RuntimeError("GitPython gives a process when it is asked for one")
    with process:
        yield process


def _without_variables(kept: Mapping[str, str]) -> list[str]:
    """A prefix that takes variables away, which GitPython cannot do: it can only add to this process's own."""
    present = [name for name in _REPOSITORY_VARIABLES if name in os.environ and name not in kept]
    return ["env", *(f"--unset={name}" for name in present)] if present else []


def _settings_by_environment(settings: Mapping[str, str]) -> dict[str, str]:
    """Settings that must not show in the list of processes."""
    count = int(os.environ.get("GIT_CONFIG_COUNT") or 0)
    environment = {"GIT_CONFIG_COUNT": str(count + len(settings))}
    for number, (name, value) in enumerate(settings.items(), count):
        environment |= {f"GIT_CONFIG_KEY_{number}": name, f"GIT_CONFIG_VALUE_{number}": value}
    return environment


def _ssh_command() -> str:
    """The user's ssh command with options that keep it from asking and from staying behind."""
    chosen = os.environ.get("GIT_SSH_COMMAND") or _setting("core.sshCommand")
    if not chosen:
        chosen = shlex.quote(os.environ.get("GIT_SSH") or "ssh")
    return f"{chosen} -o BatchMode=yes -o ConnectTimeout={CONNECT_SECONDS} -o ControlMaster=no"


def _setting(name: str) -> str:
    try:
        found = _run(
            ("config", "--get", name), {**_ENVIRONMENT, "GIT_DIR": str(NO_REPOSITORY)}, timeout=LOCAL_SECONDS
        )
    except CommandFailed:
        return ""
    return found.decode("utf-8", "replace").strip()
