"""The log of an app's hooks: all that each run prints, between two lines that say what it was and how it ended.

::

    == 2026-05-01T12:00:00Z release ae73b08f9d24, beforeSwitch hook `python manage.py migrate`
    Applying shop.0004_prices... OK
    == 2026-05-01T12:00:02Z release ae73b08f9d24, beforeSwitch hook `python manage.py migrate`: status 0 after 1.874 s

A log that has grown large is put aside before the next run. A hook never ends because its log cannot be written.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

from reconciler.host.files import size_of
from reconciler.host.log_rotation import put_aside

HOOK_LOG_MODE = 0o640
HOOK_OUTPUT_BYTES = 64 * 1024 * 1024
"""How much of one run is kept: a hook in an endless loop must not fill the disk."""
HOOK_LOG_BYTES = 8 * 1024 * 1024
"""From which size on a new run begins a new log; the one before it stays beside it."""
MARK = "=="


@dataclass(slots=True)
class HookLog:
    """One run in the log, as a context; without :meth:`ended` it is said to have been cut short."""

    path: Path
    title: str
    _descriptor: int = field(init=False, default=-1)
    _written: int = field(init=False, default=0)
    _last: bytes = field(init=False, default=b"\n")
    _ending: str = field(init=False, default="was cut short")
    _unwritable: bool = field(init=False, default=False)

    def __enter__(self) -> Self:
        if size_of(self.path) >= HOOK_LOG_BYTES:
            self.path.replace(put_aside(self.path))
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
        self._descriptor = os.open(self.path, flags, HOOK_LOG_MODE)
        self._append(self._line(""))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if self._written > HOOK_OUTPUT_BYTES:
                self._append(f"\n{MARK} {self._written - HOOK_OUTPUT_BYTES:,} more bytes were not kept\n".encode())
            elif self._last != b"\n":
                self._append(b"\n")
            lost = "; not all that it printed could be written" if self._unwritable else ""
            self._append(self._line(f": {self._ending}{lost}"))
        finally:
            os.close(self._descriptor)

    def write(self, output: bytes) -> None:
        """Add what the hook printed, as it was printed."""
        kept = output[: max(0, HOOK_OUTPUT_BYTES - self._written)]
        self._written += len(output)
        if kept:
            self._append(kept)
            self._last = kept[-1:]

    def ended(self, status: int, seconds: float) -> None:
        """Say how the run ended; a negative status is a signal."""
        self._ending = f"status {status} after {seconds:.3f} s"

    def _line(self, ending: str) -> bytes:
        at = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        return f"{MARK} {at} {self.title}{ending}\n".encode("utf-8", "replace")

    def _append(self, data: bytes) -> None:
        """Write all of it, or as much as the disk takes: half of a migration is worse than half of its log."""
        try:
            while data:
                data = data[os.write(self._descriptor, data) :]
        except OSError:
            self._unwritable = True
