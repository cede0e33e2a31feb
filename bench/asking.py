"""Asking a server as a visitor does until a new revision answers, and ending what a part has started."""

from __future__ import annotations

import os
import signal
import socket
import time
from contextlib import suppress
from pathlib import Path

POLL_SECONDS = 0.004
ANSWER_SECONDS = 5.0
LIVE_SECONDS = 150.0


def ask(port: int, host: str, path: str = "/") -> str:
    """The body of a page with status 200; empty for every other answer. Opens a connection of its own."""
    request = f"GET {path} HTTP/1.0\r\nHost: {host}\r\n\r\n".encode()
    answer = b""
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=ANSWER_SECONDS) as connection:
        connection.sendall(request)
        while chunk := connection.recv(65536):
            answer += chunk
    head, _, body = answer.partition(b"\r\n\r\n")
    return body.decode("utf-8", "replace") if b" 200 " in head.split(b"\r\n")[0] else ""


def await_text(port: int, host: str, text: str, seconds: float = LIVE_SECONDS) -> float:
    """Wait until the page has ``text``; returns when that was, on the monotonic clock."""
    deadline = time.monotonic() + seconds
    while True:
        body = ask(port, host)
        if body and text in body:
            return time.monotonic()
        if time.monotonic() > deadline:
            raise TimeoutError(f"{text!r} was not answered within {seconds:g} s; the last answer was {body!r}")
        time.sleep(POLL_SECONDS)


def stop_below(home: Path) -> None:
    """Kill every process whose command line names a path below ``home``, and what these started."""
    found: dict[int, int] = {}
    ours: set[int] = set()
    for entry in Path("/proc").iterdir():
        if not entry.name.isdecimal() or int(entry.name) == os.getpid():
            continue
        with suppress(OSError, ValueError, IndexError):
            found[int(entry.name)] = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            if f"{home}/".encode() in (entry / "cmdline").read_bytes():
                ours.add(int(entry.name))
    while more := {process for process, parent in found.items() if parent in ours} - ours:
        ours |= more
    for process in ours:
        with suppress(OSError):
            os.kill(process, signal.SIGKILL)
