"""The processes of this host, as the kernel tells of them in ``/proc``; proc(5) describes the files."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

ENDED = "ZXx"
"""States of a process that has ended, and that nobody has asked about yet."""


class ProcessStatus(NamedTuple):
    """What is known of one process.

    ``started``, in clock ticks since the boot, tells it from a later one of the same number.
    """

    state: str
    parent: int
    session: int
    started: int

    @property
    def runs(self) -> bool:
        """Whether it has not ended."""
        return self.state not in ENDED


def status_of(process: int) -> ProcessStatus | None:
    """What is known of a process; ``None`` when there is none of that number."""
    with suppress(OSError):
        # the program's name, in parentheses, is any bytes that the program likes, parentheses and blanks among them
        fields = Path(f"/proc/{process}/stat").read_bytes().rpartition(b")")[2].split()
        return ProcessStatus(fields[0].decode(), int(fields[1]), int(fields[3]), int(fields[19]))
    return None


def all_processes() -> Iterator[int]:
    """The numbers of all processes there are; each may have ended by the time that it is looked at."""
    with os.scandir("/proc") as entries:
        for entry in entries:
            if entry.name.isdecimal():
                yield int(entry.name)


def tasks_of(account: int) -> int:
    """How many processes and threads an account has now."""
    tasks = 0
    for process in all_processes():
        folder = Path(f"/proc/{process}")
        # it may end while it is counted
        with suppress(OSError):
            tasks += 0 if folder.stat().st_uid != account else (folder / "task").stat().st_nlink - 2
    return tasks
