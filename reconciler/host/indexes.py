"""An index of a folder tree: what every file in it was, and the stat by which one sees that it still is.

Like git's index, it makes a look at a tree in which nothing changed as cheap as the stat of every file. A file whose
stat moved is read again; only its content, mode and owner decide. One that may have changed without its stat showing
it, because it was written in the very tick of the clock in which it was read, is not trusted the next time either.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
import struct
import time
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from reconciler.host.folder_stats import FolderStats, columns_of, row_of

FORMAT = 1
"""Part of every index file; one that has another number is made anew."""
MAGIC = b"reconciler index\n"
HEADER = struct.Struct("=II")
TICK_SECONDS = 0.1
"""The longest wait for the clock that files get their times from; it ticks every few milliseconds."""
CLOCK_REALTIME_COARSE = 5
"""Linux's number of the clock that is read only once a tick; Python has no name for it."""
READ_BYTES = 128 * 1024
SECOND_NS = 1_000_000_000


class Facts(NamedTuple):
    """What a file was: ``content`` is the SHA-256 of its bytes, or of a link's target; zeros for anything else."""

    mode: int
    owner: int
    group: int
    size: int
    content: bytes


FACTS = struct.Struct("=IIIQ32s")
NO_CONTENT = bytes(32)


@dataclass(frozen=True, slots=True)
class IndexedFolder:
    """One folder: ``path`` from the top (empty for it), ``names`` joined by NUL, ``facts`` in their order.

    ``seen`` are the names and the columns of their stats, from :meth:`FolderStats.look`, with which the folder was
    last found to be as it should; empty columns where they cannot be trusted.
    """

    path: bytes
    names: bytes
    facts: bytes
    seen: tuple[bytes, bytes]

    def expected(self) -> dict[bytes, Facts]:
        """The facts of every name."""
        return dict(zip(split(self.names), map(Facts._make, FACTS.iter_unpack(self.facts)), strict=True))


@dataclass(frozen=True, slots=True)
class Index:
    """All folders of a tree, each after the one that holds it; ``top`` has the facts of the tree's own folder."""

    top: Facts
    folders: tuple[IndexedFolder, ...]

    @property
    def size(self) -> int:
        """How many bytes it holds, about."""
        return sum(len(folder.facts) * 2 + len(folder.names) * 2 for folder in self.folders)


def split(names: bytes) -> list[bytes]:
    """Names that were joined by NUL."""
    return names.split(b"\0") if names else []


def make_index(root: Path) -> Index:
    """Read a whole tree. Raises :class:`OSError` when something in it cannot be read."""
    top = os.fsencode(root)
    began = next_tick()
    stats = FolderStats()
    folders: list[IndexedFolder] = []
    waiting = [b""]
    while waiting:
        path = waiting.pop()
        folder = _index_folder(top, path, stats, began)
        folders.append(folder)
        for name, facts in folder.expected().items():
            if stat.S_ISDIR(facts.mode):
                waiting.append(path + b"/" + name if path else name)
    return Index(facts_of(top, os.lstat(top)), tuple(folders))


def _index_folder(top: bytes, path: bytes, stats: FolderStats, began: int) -> IndexedFolder:
    folder = top + b"/" + path if path else top
    names, _ = stats.look(folder)
    facts, rows = [], []
    for name in split(names):
        status = os.lstat(folder + b"/" + name)
        facts.append(FACTS.pack(*facts_of(folder + b"/" + name, status)))
        if is_settled(status, began):
            rows.append(row_of(status))
    trusted = columns_of(rows) if len(rows) == len(facts) else b""
    return IndexedFolder(path, names, b"".join(facts), (names, trusted))


def facts_of(path: bytes, status: os.stat_result) -> Facts:
    """What a file is now; reads it."""
    size, content = 0, NO_CONTENT
    if stat.S_ISREG(status.st_mode):
        size, content = status.st_size, content_of(path)
    elif stat.S_ISLNK(status.st_mode):
        size, content = status.st_size, hashlib.sha256(os.readlink(path)).digest()  # noqa: PTH115 - bytes
    return Facts(status.st_mode, status.st_uid, status.st_gid, size, content)


def content_of(path: bytes) -> bytes:
    """The SHA-256 of a file."""
    digest = hashlib.sha256()
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    try:
        while block := os.read(descriptor, READ_BYTES):
            digest.update(block)
    finally:
        os.close(descriptor)
    return digest.digest()


# the clock


def clock_ns() -> int:
    """The clock from which the kernel takes the times of files."""
    return time.clock_gettime_ns(CLOCK_REALTIME_COARSE)


def next_tick() -> int:
    """Wait until a file that is changed now gets another time than all that were changed before; that time."""
    began, deadline = clock_ns(), time.monotonic() + TICK_SECONDS
    while clock_ns() <= began and time.monotonic() < deadline:
        time.sleep(0.001)
    return clock_ns()


def is_settled(status: os.stat_result, read_ns: int) -> bool:
    """Whether any later change shows in the stat of a file that is read after ``read_ns`` of :func:`clock_ns`."""
    changed = status.st_ctime_ns
    if changed % SECOND_NS == 0:
        # a file system that keeps whole seconds only
        return changed // SECOND_NS < read_ns // SECOND_NS
    return changed < read_ns


# the file


def pack_index(index: Index) -> bytes:
    """An index as the bytes of a file, with a sum by which a torn one is known."""
    lengths = [
        (os.fsdecode(folder.path), *map(len, (folder.names, folder.facts, *folder.seen))) for folder in index.folders
    ]
    head = json.dumps({"top": [*index.top[:4], index.top.content.hex()], "folders": lengths}).encode()
    parts = (part for folder in index.folders for part in (folder.names, folder.facts, *folder.seen))
    body = b"".join((head, b"\n", *parts))
    return MAGIC + HEADER.pack(FORMAT, zlib.crc32(body)) + body


def unpack_index(data: bytes) -> Index | None:
    """The index that :func:`pack_index` packed; ``None`` for anything else, such as a torn one or another format."""
    start = len(MAGIC) + HEADER.size
    if not data.startswith(MAGIC) or len(data) < start:
        return None
    number, checksum = HEADER.unpack_from(data, len(MAGIC))
    if number != FORMAT or zlib.crc32(memoryview(data)[start:]) != checksum:
        return None
    end = data.index(b"\n", start)
    head = json.loads(data[start:end])
    folders, position = [], end + 1
    for path, *lengths in head["folders"]:
        parts = []
        for length in lengths:
            parts.append(data[position : position + length])
            position += length
        names, facts, seen, columns = parts
        folders.append(IndexedFolder(os.fsencode(path), names, facts, (seen, columns)))
    mode, owner, group, size, content = head["top"]
    return Index(Facts(mode, owner, group, size, bytes.fromhex(content)), tuple(folders))
