"""Running the command line in tests: in a process of its own, with a pipe or a terminal on its streams."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import canary

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
    done = subprocess.run(
        [sys.executable, "-m", "reconciler.cli.main", *arguments],
        cwd=cwd,
        env=environment(env),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=RUN_SECONDS,
        check=False,
    )
    canary.refuse(done.stdout + done.stderr, f"the output of {arguments}")
    return Ended(done.returncode, done.stdout, done.stderr)


def in_terminal(*arguments: str, columns: int = 80, env: Mapping[str, str] | None = None) -> Ended:
    """Run ``reconciler`` with a terminal on both output streams; ``out`` has what the terminal was sent."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
    command = [sys.executable, "-m", "reconciler.cli.main", *arguments]
    with subprocess.Popen(
        command, env=environment(env), stdin=subprocess.DEVNULL, stdout=theirs, stderr=theirs
    ) as process:
        os.close(theirs)
        written = _all_of(ours, process)
    canary.refuse(written, f"the output of {arguments}")
    return Ended(process.returncode, written.decode("utf-8", "replace").replace("\r\n", "\n"), "")


def _all_of(terminal: int, process: subprocess.Popen[bytes]) -> bytes:
    deadline = time.monotonic() + RUN_SECONDS
    written = b""
    try:
        while time.monotonic() < deadline:
            if not select.select([terminal], [], [], 1.0)[0]:
                continue
            try:
                chunk = os.read(terminal, 65536)
            except OSError:
                # Linux reports the end of a terminal as an error
                break
            if not chunk:
                break
            written += chunk
        else:
            process.kill()
            raise AssertionError(f"the command did not end: {written.decode(errors='replace')}")
    finally:
        os.close(terminal)
    return written
