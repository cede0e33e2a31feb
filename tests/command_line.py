"""Running the command line in tests: in a process of its own, with pipes or a terminal on its streams."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import struct
import termios
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import canary
from preloaded import Command, preloaded

RUN_SECONDS = 60.0
CHECKOUT = Path(__file__).resolve().parent.parent
PYTHONPATH = f"{CHECKOUT / 'tests' / 'canary_site'}:{CHECKOUT}"
"""With what ends a command that passes the canary on as an argument."""


@dataclass(frozen=True)
class Ended:
    """How a command ended and what it wrote."""

    status: int
    out: str
    err: str


def environment(more: Mapping[str, str] | None = None) -> dict[str, str]:
    """The environment of a command: this one's, without what changes colours or finds a configuration."""
    own = {name: value for name, value in os.environ.items() if name not in ("NO_COLOR", "RECONCILER_CONFIG")}
    return {**own, "PYTHONPATH": PYTHONPATH, "TERM": "xterm", **(more or {})}


def reconciler(*arguments: str, cwd: Path | None = None, env: Mapping[str, str] | None = None) -> Ended:
    """Run ``reconciler`` with pipes on its streams."""
    out, theirs_out = os.pipe()
    err, theirs_err = os.pipe()
    with Path(os.devnull).open("rb") as nothing:
        status, (written, told) = _end(arguments, cwd, env, (nothing.fileno(), theirs_out, theirs_err), (out, err))
    return Ended(status, written.decode(), told.decode())


def in_terminal(*arguments: str, columns: int = 80, env: Mapping[str, str] | None = None) -> Ended:
    """Run ``reconciler`` with a terminal on both output streams; ``out`` has what the terminal was sent."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
    with Path(os.devnull).open("rb") as nothing:
        status, (written,) = _end(arguments, None, env, (nothing.fileno(), theirs, theirs), (ours,))
    return Ended(status, written.decode("utf-8", "replace").replace("\r\n", "\n"), "")


def start(
    *arguments: str, cwd: Path | None = None, env: Mapping[str, str] | None = None, streams: Sequence[int]
) -> Command:
    """Start ``reconciler`` with three open files as its streams."""
    asked = environment(env)
    return preloaded(asked["PYTHONPATH"]).start(arguments, cwd, asked, streams)


def _end(
    arguments: Sequence[str],
    cwd: Path | None,
    env: Mapping[str, str] | None,
    streams: Sequence[int],
    outputs: Sequence[int],
) -> tuple[int, list[bytes]]:
    """Run a command to its end: its status, and what came out of the other ends of its streams."""
    try:
        command = start(*arguments, cwd=cwd, env=env, streams=streams)
    finally:
        for theirs in set(streams[1:]):
            os.close(theirs)
    written = _all_of(outputs, command)
    for text in written:
        canary.refuse(text, f"the output of {arguments}")
    return command.wait(), written


def _all_of(outputs: Sequence[int], command: Command) -> list[bytes]:
    deadline = time.monotonic() + RUN_SECONDS
    written = dict.fromkeys(outputs, b"")
    left = set(outputs)
    try:
        while left:
            for output in select.select(left, [], [], max(0.0, deadline - time.monotonic()))[0]:
                try:
                    chunk = os.read(output, 65536)
                except OSError:
                    # Linux reports the end of a terminal as an error
                    chunk = b""
                if chunk:
                    written[output] += chunk
                else:
                    left.remove(output)
            if time.monotonic() > deadline:
                command.kill()
                raise AssertionError(f"the command did not end: {written}")
    finally:
        for output in outputs:
            os.close(output)
    return list(written.values())
