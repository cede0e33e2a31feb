"""The stat of every name in a folder at the price of the system calls alone: a hundred thousand files in a blink.

Python's own :func:`os.lstat` makes an object with twenty fields for each file, which costs more than the kernel's
answer. Here the kernel writes its answers into one buffer, and whole columns of it are compared as bytes.
"""

from __future__ import annotations

import ctypes
import os
import struct
import sys
from array import array
from collections.abc import Sequence
from functools import cache
from itertools import repeat

STATX_BYTES = 256
"""The size of ``struct statx``."""
WORDS = STATX_BYTES // 8
COLUMNS = (3, 4, 5, 12, 13)
"""The words of ``struct statx`` that change with a file: group and mode, inode, size, change time in s and in ns."""
MASK = 0x7FF & ~0x20
"""All basic fields but the time of the last access."""
NO_FOLLOW = 0x100
FIRST_NAMES = 32
"""For so many names there is room at first: most outputs are small, and a host may have thousands of them."""

ROW = struct.Struct(f"={len(COLUMNS)}Q")


def row_of(status: os.stat_result) -> bytes:
    """What :class:`FolderStats` says of one file, from an ordinary stat of it."""
    seconds, nanoseconds = divmod(status.st_ctime_ns, 1_000_000_000)
    return ROW.pack(status.st_gid | status.st_mode << 32, status.st_ino, status.st_size, seconds, nanoseconds)


def columns_of(rows: Sequence[bytes]) -> bytes:
    """Rows of files, in the order of their names, as :meth:`FolderStats.look` returns them."""
    table = array("Q", b"".join(rows))
    return b"".join(table[number :: len(COLUMNS)].tobytes() for number in range(len(COLUMNS)))


def rows_of(columns: bytes, count: int) -> list[bytes]:
    """The row of each of ``count`` files."""
    table = array("Q", columns)
    return [array("Q", table[number::count]).tobytes() for number in range(count)]


class FolderStats:
    """Looks at folders, one after the other; for one thread at a time."""

    def __init__(self) -> None:
        self._statx = _find_statx()
        self._grow(FIRST_NAMES)

    def look(self, folder: bytes) -> tuple[bytes, bytes]:
        """The names in a folder, joined by NUL, as they come; and the columns of their stats, links not followed.

        Raises :class:`OSError` when the folder is gone or not readable, or when a name goes meanwhile.
        """
        names = os.listdir(folder)  # noqa: PTH208 - names of any bytes, in the order of the folder
        return b"\0".join(names), self._columns(folder, names) if names else b""

    def _columns(self, folder: bytes, names: list[bytes]) -> bytes:
        if self._statx is None:
            return columns_of([row_of(os.lstat(folder + b"/" + name)) for name in names])
        if len(names) > len(self._places):
            self._grow(max(len(names), 2 * len(self._places)))
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        try:
            # places come last: zip and map stop at the shortest, and there are more of them than names
            answers = map(self._statx, repeat(descriptor), names, repeat(NO_FOLLOW), repeat(MASK), self._places)
            if any(answers):
                raise FileNotFoundError(f"something in {os.fsdecode(folder)} went away while it was looked at")
        finally:
            os.close(descriptor)
        table = self._table[: WORDS * len(names)]
        return b"".join(table[word::WORDS].tobytes() for word in COLUMNS)

    def _grow(self, names: int) -> None:
        self._buffer = ctypes.create_string_buffer(STATX_BYTES * names)
        self._places = [ctypes.byref(self._buffer, STATX_BYTES * number) for number in range(names)]
        self._table = memoryview(self._buffer).cast("B").cast("Q")


@cache
def _find_statx() -> ctypes._FuncPointer | None:
    """The C library's ``statx``; ``None`` where it has none, or where words have another order."""
    if sys.byteorder != "little":
        return None
    # without argument types the call converts nothing, and the interpreter's lock is not handed back and forth
    return getattr(ctypes.PyDLL(None), "statx", None)
