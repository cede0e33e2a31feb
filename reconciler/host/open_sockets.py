"""Which unix sockets a process listens on: a socket's file outlives a process that was killed."""

from __future__ import annotations

from pathlib import Path

UNIX_SOCKETS = Path("/proc/net/unix")
ACCEPTS_CONNECTIONS = 0x10000
"""The flag ``__SO_ACCEPTCON`` of the kernel's table."""

_FIELDS = 8


def listening_sockets(table: Path = UNIX_SOCKETS) -> frozenset[str] | None:
    """The paths of all sockets that take connections now; ``None`` where the kernel does not tell."""
    try:
        lines = table.read_text(errors="surrogateescape").splitlines()[1:]
    except OSError:
        return None
    found = set()
    for line in lines:
        # Num RefCount Protocol Flags Type St Inode Path
        parts = line.split(maxsplit=_FIELDS - 1)
        if len(parts) == _FIELDS and int(parts[3], 16) & ACCEPTS_CONNECTIONS:
            found.add(parts[7])
    return frozenset(found)
