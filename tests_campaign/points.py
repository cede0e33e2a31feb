"""The points at which an agent writes or starts something, seen from outside of its code, and death at one of them.

Python's audit hooks tell of files that are opened for writing, renamed, linked, made, removed, of programs, signals
and connections; what they leave out (flushes, transactions of the journal, libc's own calls) is wrapped. Each point
has the name ``operation < function of the reconciler < its caller < ...``, with files and line numbers.
"""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import sys
import threading
import time
from pathlib import Path
from types import FrameType
from typing import Any

import reconciler

HERE = str(Path(reconciler.__file__).parent) + os.sep
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC
OPERATIONS = {
    "os.rename": "rename",
    "os.link": "link",
    "os.symlink": "symlink",
    "os.mkdir": "mkdir",
    "os.remove": "remove",
    "os.rmdir": "rmdir",
    "os.chmod": "chmod",
    "os.chown": "chown",
    "os.truncate": "truncate",
    "os.utime": "utime",
    "os.kill": "kill",
    "os.killpg": "kill",
    "subprocess.Popen": "start",
    "os.posix_spawn": "start",
    "socket.connect": "connect",
    "socket.bind": "bind",
}
LIBC = {"syncfs": "syncfs", "renameat2": "exchange"}
CHAIN = 12
"""How many callers a point's name has at most."""


def operation_of(event: str, arguments: tuple[Any, ...]) -> str | None:
    """What an audit event does to the world outside of the process; ``None`` for one that does nothing."""
    if event == "open":
        path, mode, flags = arguments
        # a number is a pipe, or a file that was opened a moment ago
        if isinstance(path, int) or path == os.devnull or str(path).startswith("/proc/"):
            return None
        if isinstance(mode, str) and not isinstance(flags, int):
            return "write" if set(mode) & set("wxa+") else None
        return "write" if isinstance(flags, int) and flags & WRITING else None
    if event == "ctypes.dlsym":
        return LIBC.get(str(arguments[1]))
    return OPERATIONS.get(event)


class Points:
    """Counts the points that an agent comes to, and ends it at the one that the plan names."""

    def __init__(self, plan: dict[str, Any]) -> None:
        self._lock = threading.RLock()
        self._seen: dict[str, int] = {}
        self._target: str | None = plan.get("point")
        self._occurrence: int = plan.get("occurrence", 1)
        self._record = open(plan["record"], "w", encoding="utf-8", buffering=1) if "record" in plan else None

    def come_to(self, operation: str, subject: object = "") -> None:
        """Called before an operation."""
        name = f"{operation}{_chain(sys._getframe(2))}"
        with self._lock:
            seen = self._seen[name] = self._seen.get(name, 0) + 1
            if self._record is not None:
                self._record.write(json.dumps([name, str(subject)]) + "\n")
        if name == self._target and seen == self._occurrence:
            os.kill(os.getpid(), signal.SIGKILL)

    def hook(self, event: str, arguments: tuple[Any, ...]) -> None:
        """The audit hook."""
        operation = operation_of(event, arguments)
        if operation is not None:
            self.come_to(operation, arguments[0] if arguments else "")


def _chain(frame: FrameType | None) -> str:
    names = []
    while frame is not None and len(names) < CHAIN:
        file = frame.f_code.co_filename
        if file.startswith(HERE):
            names.append(f" < {frame.f_code.co_name} {file[len(HERE) :]}:{frame.f_lineno}")
        frame = frame.f_back
    return "".join(names)


def watch(plan: dict[str, Any]) -> None:
    """Do to this process what the plan says: ``after`` (seconds until it is killed), ``point`` or ``record``."""
    if (seconds := plan.get("after")) is not None:
        threading.Thread(target=_die, args=[float(seconds)], daemon=True).start()
    if not {"point", "record"} & plan.keys():
        return
    points = Points(plan)
    fsync, connect = os.fsync, sqlite3.connect

    def watched_fsync(descriptor: int) -> None:
        points.come_to("fsync", descriptor)
        fsync(descriptor)

    def traced(statement: str) -> None:
        word = statement.split(None, 1)[0].upper() if statement.strip() else ""
        # what was written in a transaction is nothing until then
        if word == "COMMIT":
            points.come_to("commit")

    def watched_connect(*arguments: Any, **options: Any) -> sqlite3.Connection:
        points.come_to("journal")
        connection = connect(*arguments, **options)
        connection.set_trace_callback(traced)
        return connection

    os.fsync = watched_fsync
    sqlite3.connect = watched_connect  # type: ignore[assignment]
    sys.addaudithook(points.hook)


def site_of(point: str) -> str:
    """The place in the code that a point is at: the operation, who does it, and who in a pass asked for it."""
    operation, *chain = point.split(" < ")
    asking = [frame for frame in chain if frame.split()[1].split("/")[0] in ("engine", "stages", "agent", "cli")]
    return " < ".join([operation, *chain[:1], *asking[:1]])


def _die(seconds: float) -> None:
    time.sleep(seconds)
    os.kill(os.getpid(), signal.SIGKILL)
