"""One reconciler per state folder: a lock that the kernel gives back when its holder dies."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager

from reconciler.host.layout import Layout
from reconciler.model.errors import StateLocked


@contextmanager
def state_lock(layout: Layout) -> Iterator[None]:
    """Hold the state folder; raises :class:`StateLocked` naming the process that holds it already."""
    descriptor = os.open(layout.lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(descriptor, 32, 0).decode("ascii", "replace").strip() or "unknown"
            raise StateLocked(
                f"another reconciler (process {holder}) works on {layout.root}",
                hint="wait for it to end, or end that process",
            ) from None
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        yield
    finally:
        os.close(descriptor)
