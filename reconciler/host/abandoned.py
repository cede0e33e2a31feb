"""Commands of apps that outlived the reconciler that started them, which was killed.

Where no unit of systemd ends them with it, they work on: a build writes to a folder that nobody will ever use, and a
migration runs beside the one that the next pass starts. Each carries the state folder that it works for in its
environment, which only its own account and root can read.
"""

from __future__ import annotations

import os
import select
import signal
import time
from contextlib import ExitStack, suppress
from pathlib import Path

VARIABLE = "RECONCILER_COMMAND_OF"
GRACE_SECONDS = 2.0
"""How long what is told to end has before it is killed, as when a command's own time is over."""
KILL_SECONDS = 5.0
"""How long a killed process may take to be gone: one that waits for a disk takes longer, and cannot be waited for."""


def mark(root: Path) -> dict[str, str]:
    """What a command of an app has in its environment to be found by."""
    return {VARIABLE: str(root)}


def end_abandoned(root: Path) -> int:
    """End the commands that a killed reconciler left at work for ``root``; returns how many processes they were.

    Only the holder of the state folder's lock may call this: nobody else's commands can be there then.
    """
    ended = 0
    for number, patience in ((signal.SIGTERM, GRACE_SECONDS), (signal.SIGKILL, KILL_SECONDS)):
        sessions = _sessions_of(root)
        if not sessions:
            break
        with ExitStack() as opened:
            handles = _open(sessions, opened)
            ended = max(ended, len(handles))
            for handle in handles:
                # it may end by itself, and one that took another account's rights is not ours to end
                with suppress(ProcessLookupError, PermissionError):
                    signal.pidfd_send_signal(handle, number)
            _await_ends(handles, patience)
    return ended


def _sessions_of(root: Path) -> set[int]:
    """The sessions that such commands lead: what they start is in them, whatever its environment."""
    entry = b"%s=%s" % (VARIABLE.encode(), os.fsencode(root))
    found = set()
    for process in _processes():
        # those of other accounts, and those that end meanwhile
        with suppress(OSError):
            if entry in Path(f"/proc/{process}/environ").read_bytes().split(b"\0"):
                found.add(os.getsid(process))
    # started by such a command, and in its session, it would end itself
    return found - {os.getsid(0)}


def _open(sessions: set[int], opened: ExitStack) -> list[int]:
    """Descriptors of the processes in sessions, until ``opened`` closes them: they cannot come to mean others."""
    handles = []
    for process in _processes():
        with suppress(OSError):
            if os.getsid(process) in sessions:
                handle = os.pidfd_open(process)
                opened.callback(os.close, handle)
                # its number may have been given to another one before it was opened
                if os.getsid(process) in sessions:
                    handles.append(handle)
    return handles


def _await_ends(handles: list[int], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    poller = select.poll()
    for handle in handles:
        poller.register(handle, select.POLLIN)
    left = len(handles)
    while left and (remaining := deadline - time.monotonic()) > 0:
        for handle, _ in poller.poll(remaining * 1000):
            poller.unregister(handle)
            left -= 1


def _processes() -> list[int]:
    with os.scandir("/proc") as entries:
        return [int(entry.name) for entry in entries if entry.name.isdecimal()]
