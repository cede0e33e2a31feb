"""One reconciler per state folder: a lock that the kernel gives back when its holder dies.

Who takes it first ends the commands that a holder which was killed has left at work.
"""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass

from reconciler.host import reporting
from reconciler.host.layout import Layout
from reconciler.model.errors import StateLocked
from reconciler.model.times import local_time

AGENT = "agent"
"""What the agent calls itself in the lock; commands that end soon are ``command``."""
COMMAND = "command"
HOLDER_BYTES = 256
LOOK_SECONDS = 0.2
"""How long a lock may be held by those who only look who holds it."""
TRY_AGAIN_SECONDS = 0.01


@dataclass(frozen=True, slots=True)
class Holder:
    """Who holds the state folder; ``since`` is in seconds since 1970. An older version wrote the process alone."""

    process: int | None = None
    since: float | None = None
    what: str = COMMAND

    def __str__(self) -> str:
        known = [f"process {self.process}" if self.process is not None else "process unknown"]
        if self.since is not None:
            known.append(f"since {local_time(self.since)}")
        return ", ".join(known)


@contextmanager
def state_lock(layout: Layout, what: str = COMMAND) -> Iterator[None]:
    """Hold the state folder; raises :class:`StateLocked` naming the process that holds it already."""
    descriptor = os.open(layout.lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644)
    try:
        if not _locked(descriptor, time.monotonic() + LOOK_SECONDS):
            holder = _written(descriptor)
            agent = holder.what == AGENT
            raise StateLocked(
                f"another reconciler ({holder}) works on {layout.root}",
                hint="it is the agent: `reconciler sync` asks it for a pass, SIGTERM ends it"
                if agent
                else "wait for it to end, or end that process",
            ) from None
        ours = json.dumps(asdict(Holder(os.getpid(), time.time(), what)))
        # who holds it is told as far as there is room for it on the disk; that it is held, the kernel knows
        with suppress(OSError):
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, f"{ours}\n".encode(), 0)
        _end_abandoned(layout)
        yield
    finally:
        os.close(descriptor)


def _end_abandoned(layout: Layout) -> None:
    """End what a holder that was killed left at work; what cannot be ended is told, and keeps nobody from working."""
    with suppress(FileNotFoundError), os.scandir(layout.commands) as names:
        if next(names, None) is None:
            return
    from reconciler.host.abandoned import end_abandoned  # noqa: PLC0415  only after a death

    ended, left = end_abandoned(layout.commands)
    if ended:
        reporting.info("abandoned_ended", note=f"{ended} processes of a reconciler that was killed worked on")
    if left:
        reporting.error(
            "abandoned_left",
            error=f"processes that a killed reconciler has left cannot be ended: {', '.join(map(str, left))}",
            hint="end them by hand: what they do may be done a second time beside them",
        )


def holder_of(layout: Layout) -> Holder | None:
    """Who holds the state folder now; ``None`` when nobody does. Needs no right but to read."""
    try:
        descriptor = os.open(layout.lock, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except FileNotFoundError:
        return None
    try:
        # given back at once: who wants the lock itself waits for those who look
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return _written(descriptor)
    finally:
        os.close(descriptor)
    return None


def _locked(descriptor: int, deadline: float) -> bool:
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= deadline:
                return False
            time.sleep(TRY_AGAIN_SECONDS)
        else:
            return True


def _written(descriptor: int) -> Holder:
    """What the holder wrote; it may be just about to."""
    try:
        known = json.loads(os.pread(descriptor, HOLDER_BYTES, 0))
    except ValueError:
        return Holder()
    if isinstance(known, int):
        return Holder(known)
    if not isinstance(known, dict):
        return Holder()
    return Holder(known.get("process"), known.get("since"), known.get("what", COMMAND))
