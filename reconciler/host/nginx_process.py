"""What can be seen of a running nginx: its control socket, its workers, its complaints."""

from __future__ import annotations

import contextlib
import re
import socket
from pathlib import Path

from reconciler.host.process_table import all_processes, status_of

ANSWER_SECONDS = 1.0
ANSWER_BYTES = 4096
COMPLAINT = re.compile(r"\[emerg\] (?:\d+#\d+: )?(.*)")
PLACE = re.compile(r" in (\S+):(\d+)$")


def answered_generation(control: Path) -> str | None:
    """The generation that nginx answers on its control socket; ``None`` when nobody answers there."""
    content = b""
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(ANSWER_SECONDS)
        connection.connect(str(control))
        connection.sendall(b"GET / HTTP/1.0\r\n\r\n")
        while (chunk := connection.recv(ANSWER_BYTES)) and len(content) < ANSWER_BYTES:
            content += chunk
    head, _, body = content.partition(b"\r\n\r\n")
    return body.decode("ascii", "replace").strip() if b" 200 " in head.split(b"\r\n", 1)[0] else None


def serving_workers(master: int) -> frozenset[int]:
    """The children of the master that still take new requests."""
    return frozenset(child for child in _children(master) if not _is_leaving(child))


def complaint(text: str, folder: Path) -> str:
    """The first sentence with which nginx refused something, with files named from ``folder``; empty when none."""
    match = COMPLAINT.search(text)
    if match is None:
        return ""
    sentence = match[1].strip().replace(f"{folder}/", "")
    return PLACE.sub(r" (\1, line \2)", sentence)


def _children(parent: int) -> list[int]:
    try:
        return [int(child) for child in Path(f"/proc/{parent}/task/{parent}/children").read_text().split()]
    except OSError:
        # a kernel without that file
        statuses = ((process, status_of(process)) for process in all_processes())
        return [process for process, status in statuses if status is not None and status.parent == parent]


def _is_leaving(process: int) -> bool:
    """Whether a worker finishes what it has and takes nothing new; nginx writes that into the process's title."""
    try:
        title = Path(f"/proc/{process}/cmdline").read_bytes()
    except OSError:
        return True
    return not title or b"shutting down" in title
