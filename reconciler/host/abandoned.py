"""Commands of apps that outlived the reconciler that started them, which was killed.

Where no unit of systemd ends them with it, they work on: a build writes to a folder that nobody will ever use, and a
migration runs beside the one that the next pass starts. So each has a name, random and its own, in its environment
and, from before it starts until it has ended, as a file in a folder. Names that are still there when nobody can have
a command running are those of commands that nobody waits for. What a command has left behind on purpose, and outlived
it, goes on: the name of a command that ended is gone.
"""

from __future__ import annotations

import os
import select
import signal
import time
from collections.abc import Iterator, Set
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from reconciler.host.process_table import all_processes, status_of

VARIABLE = "RECONCILER_COMMAND"
GRACE_SECONDS = 2.0
"""How long what is told to end has before it is killed, as when a command's own time is over."""
KILL_SECONDS = 5.0
"""How long killed processes may take to be gone: one that waits for a disk may take for ever."""


@contextmanager
def named(folder: Path | None) -> Iterator[dict[str, str]]:
    """Name one command in ``folder`` while it runs, if there is one; what its environment needs for that."""
    if folder is None:
        yield {}
        return
    name = os.urandom(16).hex()
    # a command that needs no room must not fail for want of it
    with suppress(OSError):
        (folder / name).touch(mode=0o600)
    try:
        yield {VARIABLE: name}
    finally:
        with suppress(OSError):
            (folder / name).unlink(missing_ok=True)


def end_abandoned(folder: Path) -> tuple[int, list[int]]:
    """End the commands that ``folder`` names; returns how many processes they were, and those that are still there.

    Only the holder of the state folder's lock may call this, before it starts a command of its own.
    """
    names = _names(folder)
    if not names:
        return 0, []
    # found once, a session stays ours when its leader is gone
    sessions: set[int] = set()
    ended = _end(names, sessions, signal.SIGTERM, GRACE_SECONDS)
    deadline = time.monotonic() + KILL_SECONDS
    # one that is killed may just have started another
    while killed := _end(names, sessions, signal.SIGKILL, deadline - time.monotonic()):
        ended |= killed
        if time.monotonic() >= deadline:
            break
    with ExitStack() as opened:
        left = sorted(_left_behind(names, sessions, opened))
    if not left:
        for name in names:
            with suppress(OSError):
                (folder / name).unlink(missing_ok=True)
    return len(ended), left


def _names(folder: Path) -> frozenset[str]:
    with suppress(FileNotFoundError):
        return frozenset(file.name for file in folder.iterdir())
    return frozenset()


def _end(names: Set[str], sessions: set[int], number: signal.Signals, seconds: float) -> set[int]:
    """Send a signal to all that is left behind, and wait for their ends; returns which processes they were."""
    poller, left = select.poll(), 0
    with ExitStack() as opened:
        found = _left_behind(names, sessions, opened)
        for handle in found.values():
            # one that took another account's rights is not ours to end
            with suppress(ProcessLookupError, PermissionError):
                signal.pidfd_send_signal(handle, number)
                poller.register(handle, select.POLLIN)
                left += 1
        deadline = time.monotonic() + seconds
        while left and (remaining := deadline - time.monotonic()) > 0:
            for handle, _ in poller.poll(remaining * 1000):
                poller.unregister(handle)
                left -= 1
    return {*found}


def _left_behind(names: Set[str], sessions: set[int], opened: ExitStack) -> dict[int, int]:
    """Processes, and a descriptor of each, which ``opened`` closes.

    They are those with one of the ``names`` in their environment, and all in a session whose leader has one; such
    sessions are added to ``sessions``, and stay in it. A command leads a session of its own: what is named in another
    one, such as that of a daemon, is ended by itself.
    """
    for process in all_processes():
        status = status_of(process) if _is_named(process, names) else None
        if status is not None and status.session == process:
            sessions.add(process)
    sessions -= {os.getsid(0)}

    def ours(process: int) -> bool:
        status = status_of(process)
        return status is not None and status.runs and (status.session in sessions or _is_named(process, names))

    found = {}
    for process in all_processes():
        if process != os.getpid() and ours(process):
            with suppress(ProcessLookupError):
                handle = os.pidfd_open(process)
                opened.callback(os.close, handle)
                # its number may have come to mean another one before it was opened
                if ours(process):
                    found[process] = handle
    return found


def _is_named(process: int, names: Set[str]) -> bool:
    """Whether a process has one of the names; those of other accounts cannot be read, but by root."""
    start, variables = f"{VARIABLE}=".encode(), []
    with suppress(OSError):
        variables = Path(f"/proc/{process}/environ").read_bytes().split(b"\0")
    return any(os.fsdecode(one.removeprefix(start)) in names for one in variables if one.startswith(start))
