"""The one place that starts programs: argument lists only, a time limit always, typed failures.

Each program leads a process group of its own, so that whatever it started ends with it.
"""

from __future__ import annotations

import contextlib
import os
import select
import selectors
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from reconciler.host import reporting
from reconciler.host.interruption import CHECK_SECONDS, stop_if_interrupted
from reconciler.host.process_table import tasks_of
from reconciler.model.errors import CommandFailed, CommandTimedOut, HostError

COMMAND_CHARACTERS = 500
"""How much of a command's line is reported."""
TAIL_BYTES = 8 * 1024
OUTPUT_LIMIT_BYTES = 256 * 1024 * 1024
TERMINATE_GRACE_SECONDS = 2.0
BLOCK_BYTES = 512
"""What ``ulimit`` of a shell counts in."""
LEFT_BEHIND_SECONDS = 1.0
"""How long is read what a program's children print after its own end; one that has left its group may never end."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Resource limits of an app's command; ``None`` leaves the host's own limit."""

    cpu_seconds: int | None = None
    file_bytes: int | None = None
    core_bytes: int | None = 0
    memory_bytes: int | None = None
    """What each of its processes may have: the kernel adds up what several have for groups only."""
    processes: int | None = None
    """How many processes and threads more than now its account may have; no limit for root."""


@dataclass(frozen=True, slots=True)
class Account:
    """Who a program runs as in place of the agent: numbers of the user and its groups, and the account's home."""

    name: str
    uid: int
    gid: int
    groups: tuple[int, ...]
    home: Path


@dataclass(frozen=True, slots=True)
class Result:
    """What a program printed: standard output as bytes, and the tail of both streams as text."""

    stdout: bytes
    tail: str
    seconds: float

    @property
    def text(self) -> str:
        """Standard output, decoded."""
        return self.stdout.decode("utf-8", "replace")


def run(
    command: Sequence[str],
    *,
    timeout: float,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    stdin: bytes | None = None,
    limits: Limits | None = None,
    account: Account | None = None,
    what: str | None = None,
    on_line: Callable[[str], None] | None = None,
    on_output: Callable[[bytes], None] | None = None,
) -> Result:
    """Run ``command`` to its end and return what it printed.

    ``timeout`` is in seconds; ``env`` is the whole environment (``None``: this process's own). ``account`` is who
    it runs as (``None``: as this process), with no group and no right of this process left. ``what`` names the
    program in errors. While the program runs, ``on_line`` sees every line of both streams, the last one only with its
    line break, and ``on_output`` every byte in order, which the result does not keep then.

    Raises :class:`CommandFailed` on a status other than 0, :class:`CommandTimedOut` after the limit, and
    :class:`HostError` when the program is not there.
    """
    stop_if_interrupted()
    arguments = tuple(str(part) for part in command)
    limited = arguments if limits is None else (*_limiting(limits, account), *arguments)
    listeners = [] if on_line is None else [_by_line(on_line)]
    listeners += [] if on_output is None else [on_output]
    started = time.monotonic()
    with _start(limited, cwd, env, account, fed=stdin is not None, in_one=on_output is not None) as process:
        try:
            limit = OUTPUT_LIMIT_BYTES if on_output is None else 0
            stdout, tail = _collect(process, stdin, started + timeout, listeners, limit)
        except TimeoutError as error:
            end_group(process.pid)
            raise CommandTimedOut(arguments, timeout, str(error), what=what) from None
        except BaseException:
            end_group(process.pid)
            raise
        # whatever the program left behind in its group must not outlive it; before the program is reaped, because its
        # number may be another one's from then on
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        status = process.wait()
    seconds = time.monotonic() - started
    # what it reads and its environment may be secret; what stands in the list of processes is not
    reporting.debug("command_ran", command=_shown(arguments), status=status, seconds=round(seconds, 3))
    if status != 0:
        raise CommandFailed(arguments, status, tail, what=what)
    return Result(stdout, tail, seconds)


def _shown(arguments: Sequence[str]) -> str:
    text = " ".join(arguments)
    return text if len(text) <= COMMAND_CHARACTERS else f"{text[:COMMAND_CHARACTERS]}…"


def _start(
    arguments: tuple[str, ...],
    cwd: Path | None,
    env: Mapping[str, str] | None,
    account: Account | None,
    *,
    fed: bool,
    in_one: bool,
) -> subprocess.Popen[bytes]:
    """The program in a group of its own; ``fed``: it gets standard input, ``in_one``: both streams in one pipe."""
    try:
        return subprocess.Popen(
            arguments,
            cwd=cwd,
            env=None if env is None else dict(env),
            stdin=subprocess.PIPE if fed else subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            # two pipes would lose the order of what was printed
            stderr=subprocess.STDOUT if in_one else subprocess.PIPE,
            start_new_session=True,
            user=None if account is None else account.uid,
            group=None if account is None else account.gid,
            extra_groups=None if account is None else account.groups,
        )
    except FileNotFoundError as error:
        missing = str(cwd) if cwd is not None and not cwd.exists() else arguments[0]
        raise HostError(f"{missing} is not on this host", hint="run `reconciler doctor`") from error
    except OSError as error:
        raise HostError(f"{arguments[0]} cannot be started: {error.strerror}") from error


def run_in_terminal(command: Sequence[str]) -> None:
    """Run a program that talks to the person at the terminal, such as an editor, for as long as it likes.

    Raises :class:`CommandFailed` on a status other than 0 and :class:`HostError` when the program is not there.
    """
    arguments = tuple(command)
    try:
        status = subprocess.call(arguments)
    except OSError as error:
        raise HostError(f"{arguments[0]} cannot be started: {error.strerror}", hint="set EDITOR") from error
    if status != 0:
        raise CommandFailed(arguments, status, "")


def end_group(leader: int) -> None:
    """End the process group that ``leader`` leads: SIGTERM, a grace period, SIGKILL."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(leader, signal.SIGTERM)
    deadline = time.monotonic() + TERMINATE_GRACE_SECONDS
    while time.monotonic() < deadline:
        with contextlib.suppress(ChildProcessError):
            os.waitpid(leader, os.WNOHANG)
        try:
            os.killpg(leader, 0)
        except (ProcessLookupError, PermissionError):
            return
        time.sleep(0.02)
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(leader, signal.SIGKILL)


def _limiting(limits: Limits, account: Account | None) -> tuple[str, ...]:
    """What a program is started through to limit itself: from outside it could be too late, or not be allowed."""
    # seconds, blocks, blocks and kibibytes
    wanted = (
        ("t", limits.cpu_seconds, 1),
        ("c", limits.core_bytes, BLOCK_BYTES),
        ("f", limits.file_bytes, BLOCK_BYTES),
        ("d", limits.memory_bytes, 1024),
    )
    lines = [f"ulimit -{name} {value // unit}" for name, value, unit in wanted if value is not None]
    if limits.processes is not None:
        most = limits.processes + tasks_of(os.geteuid() if account is None else account.uid)
        # shells do not agree on the letter: bash takes -p for the size of pipes, which nobody may change
        lines.append(f"ulimit -p {most} || ulimit -u {most}")
    # one that cannot be set is stricter already
    return ("/bin/sh", "-c", "".join(f"{{ {line}; }} 2>/dev/null; " for line in lines) + 'exec "$@"', "sh")


def _collect(
    process: subprocess.Popen[bytes],
    stdin: bytes | None,
    deadline: float,
    listeners: Sequence[Callable[[bytes], None]],
    limit: int,
) -> tuple[bytes, str]:
    """Read both streams to the program's end, and keep ``limit`` bytes; TimeoutError carries the tail of it all."""
    if process.stdout is None:
        raise RuntimeError("the streams of a program are always pipes")
    stdout = bytearray()
    tail = bytearray()
    written = 0
    ended: float | None = None
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        if process.stderr is not None:
            selector.register(process.stderr, selectors.EVENT_READ)
        if process.stdin is not None:
            os.set_blocking(process.stdin.fileno(), False)
            selector.register(process.stdin, selectors.EVENT_WRITE)
        while selector.get_map():
            stop_if_interrupted()
            remaining = deadline - time.monotonic()
            if remaining <= 0:
                raise TimeoutError(_text(tail))
            for key, _ in selector.select(min(remaining, CHECK_SECONDS)):
                stream: IO[bytes] = key.fileobj  # type: ignore[assignment]
                if stream is process.stdin:
                    written = _feed(selector, stream, stdin or b"", written)
                    continue
                chunk = os.read(stream.fileno(), 65536)
                if not chunk:
                    selector.unregister(stream)
                    continue
                if stream is process.stdout and len(stdout) < limit:
                    stdout += chunk
                tail = (tail + chunk)[-TAIL_BYTES:]
                for listener in listeners:
                    listener(chunk)
            if selector.get_map() and _has_ended(process):
                # a grandchild still holds the pipe; the program itself has ended
                ended = time.monotonic() if ended is None else ended
                if time.monotonic() - ended > LEFT_BEHIND_SECONDS or not _readable(selector):
                    break
    _await_end(process, deadline, tail)
    return bytes(stdout), _text(tail)


def _await_end(process: subprocess.Popen[bytes], deadline: float, tail: bytearray) -> None:
    """Wait for the end of a program that may have closed its streams long before; TimeoutError after ``deadline``."""
    poller = select.poll()
    handle = os.pidfd_open(process.pid)
    try:
        poller.register(handle, select.POLLIN)
        while not _has_ended(process):
            stop_if_interrupted()
            remaining = deadline - time.monotonic()
            if remaining <= 0:
                raise TimeoutError(_text(tail))
            poller.poll(min(remaining, CHECK_SECONDS) * 1000)
    finally:
        os.close(handle)


def _has_ended(process: subprocess.Popen[bytes]) -> bool:
    """Whether a program has ended; it keeps its number until somebody asks how."""
    return os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT | os.WNOHANG) is not None


def _by_line(on_line: Callable[[str], None]) -> Callable[[bytes], None]:
    """Hears chunks, and tells whole lines."""
    pending = bytearray()

    def listen(chunk: bytes) -> None:
        nonlocal pending
        pending += chunk
        *lines, rest = pending.split(b"\n")
        pending = bytearray(rest[-TAIL_BYTES:])
        for line in lines:
            on_line(line.decode("utf-8", "replace"))

    return listen


def _feed(selector: selectors.BaseSelector, stream: IO[bytes], stdin: bytes, written: int) -> int:
    try:
        written += os.write(stream.fileno(), stdin[written : written + 65536])
    except BlockingIOError:
        return written
    except BrokenPipeError:
        written = len(stdin)
    if written >= len(stdin):
        selector.unregister(stream)
        with contextlib.suppress(BrokenPipeError):
            stream.close()
    return written


def _readable(selector: selectors.BaseSelector) -> bool:
    return bool(selector.select(0.05))


def _text(tail: bytes | bytearray) -> str:
    return bytes(tail).decode("utf-8", "replace")
