"""The uWSGI Emperor: found or started, asked, and told about new vassals at once.

The Emperor scans its folder once a second, and after everything that happens on its sockets: asking for its stats
makes it look at once (measured: a new vassal answers 0.18 s after it was written instead of up to 1.2 s).
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

from reconciler.host.daemons import Daemon, minimal_environment, refuse_unusable_root
from reconciler.host.files import tail_of, write_whole
from reconciler.host.layout import SOCKET_PATH_BYTES, Layout
from reconciler.host.process_table import status_of
from reconciler.host.uwsgi_readiness import death_in, drain, refuse_dying_workers, wait_until_ready
from reconciler.host.uwsgi_stats import (
    VASSAL_SUFFIX,
    EmperorStats,
    VassalState,
    Worker,
    WorkerStats,
    emperor_stats,
    worker_stats,
)
from reconciler.model.errors import HostError
from reconciler.model.vassal_environment import BINARY_VARIABLE, render_environment, shell_quote

__all__ = [
    "Emperor",
    "EmperorStats",
    "VassalState",
    "Worker",
    "WorkerStats",
    "death_in",
    "drain",
    "emperor_stats",
    "find_uwsgi",
    "refuse_dying_workers",
    "render_environment",
    "render_wrapper",
    "wait_until_ready",
    "worker_stats",
]

START_SECONDS = 10.0
POLL_SECONDS = 0.01
TAIL_BYTES = 500
STOP_SECONDS = 40.0
OPEN_FILES = 65536
"""uWSGI closes every number up to its limit one by one before it starts a vassal."""
CURSE_TOLERANCE_SECONDS = 60
"""How long a vassal that was asked to end may finish its requests before the Emperor kills it."""
MAX_THROTTLE_MS = 10_000
"""The longest pause before a vassal that keeps dying is started again."""


class Emperor:
    """The Emperor of one state folder, started with the uWSGI at ``binary``."""

    def __init__(self, layout: Layout, binary: Path) -> None:
        refuse_unusable_root(layout.root)
        self.layout = layout
        self.binary = binary
        self.socket = layout.emperor_stats
        self.log = layout.logs / "emperor.log"
        # apps are applied side by side: the second must not meet an Emperor that has no socket yet
        self._starting = threading.Lock()
        self._daemon = Daemon("the uWSGI Emperor", layout.run / "emperor.pid", self.log)
        if len(str(self.socket).encode()) > SOCKET_PATH_BYTES:
            raise HostError(
                f"{self.socket} is longer than the {SOCKET_PATH_BYTES} bytes of a socket's path",
                hint="choose a shorter root",
            )

    def running(self) -> bool:
        """Whether the Emperor's process is there."""
        return self._daemon.pid() is not None

    def ensure_running(self) -> bool:
        """Start the Emperor unless it runs; return whether it had to be started.

        Raises :class:`HostError` with the end of its log when it does not come up.
        """
        with self._starting:
            write_whole(self.layout.wrapper, render_wrapper(self._vassal_environment()), mode=0o755)
            started = not self.running()
            offset = self.log.stat().st_size if self.log.exists() else 0
            if started:
                self.socket.unlink(missing_ok=True)
                self._start()
            self._await_answer(offset)
            return started

    def _await_answer(self, offset: int) -> None:
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            try:
                self.stats()
            except HostError:
                if not self.running():
                    break
                time.sleep(POLL_SECONDS)
            else:
                return
        tail = tail_of(self.log, TAIL_BYTES, since=offset).strip()
        raise HostError(f"the uWSGI Emperor does not come up: {tail or 'it says nothing'}", hint=f"see {self.log}")

    def stop(self) -> bool:
        """End the Emperor and with it every vassal, gracefully as long as that lasts; ``False``: it did not run."""
        return self._daemon.stop(signal.SIGINT, STOP_SECONDS)

    def stats(self) -> EmperorStats:
        """The Emperor's view of its vassals; raises :class:`HostError` when it does not answer."""
        return emperor_stats(self.socket)

    def wake(self) -> EmperorStats:
        """Make the Emperor look at its folder, and return what it knows after that."""
        # it answers the first question before it looks, and the second one after
        self.stats()
        return self.stats()

    def vassal_stats(self, vassal: str) -> WorkerStats:
        """The workers of one vassal; raises :class:`HostError` when it does not answer."""
        return worker_stats(self.layout.socket(vassal, "stats"))

    def reload(self, vassal: str) -> None:
        """Make the Emperor reload a vassal whose file it may take for unchanged.

        It compares whole seconds, so a file that is written twice in one second is not seen the second time.
        """
        path = self.layout.vassals / f"{vassal}{VASSAL_SUFFIX}"
        known = self.stats().vassals.get(vassal)
        second = max(int(time.time()), known.last_mod + 1 if known is not None else 0)
        os.utime(path, (second, second))
        self.wake()

    def loading(self, vassal: str) -> int | None:
        """The process of a vassal that takes no requests yet; ``None`` when it does, or is not there."""
        state = self.stats().vassals.get(vassal)
        return None if state is None or state.accepting or state.pid <= 1 else state.pid

    def end_loading(self, vassal: str, process: int) -> None:
        """Kill a vassal that was :meth:`loading`: uWSGI hears no other wish until the app is loaded, and would stay
        for as long as the Emperor is patient. A vassal that still has its file is started again with it.
        """
        if self.loading(vassal) == process:
            _kill_child(process, self.stats().pid)

    def kill_if_stuck(self, vassal: str, *, visited: bool) -> bool:
        """Kill a vassal that has lost its file and would go on for long: it loads the app, or answers a request of
        nobody's but ours (not ``visited``). Returns whether it was killed; it leaves its sockets behind then.
        """
        idle = visited
        with suppress(HostError):
            # asked first: it answers no more once the Emperor, which looks when it is asked, has told it to end
            idle = idle or self.vassal_stats(vassal).idle
        stats = self.stats()
        state = stats.vassals.get(vassal)
        if state is None or state.pid <= 1 or (idle and state.accepting):
            return False
        _kill_child(state.pid, stats.pid)
        return True

    def _start(self) -> None:
        options = (
            f"--{name}" if value is None else f"--{name}={value}" for name, value in emperor_options(self.layout)
        )
        self._daemon.start((str(self.binary), *options), open_files=OPEN_FILES)

    @staticmethod
    def _vassal_environment() -> dict[str, str]:
        return minimal_environment()


def _kill_child(process: int, parent: int) -> None:
    """Kill a process that ``parent`` has started; one that has got its number meanwhile is left alone."""
    with suppress(OSError):
        handle = os.pidfd_open(process)
        try:
            status = status_of(process)
            if status is not None and status.parent == parent:
                signal.pidfd_send_signal(handle, signal.SIGKILL)
        finally:
            os.close(handle)


def emperor_options(layout: Layout) -> tuple[tuple[str, str | None], ...]:
    """What the Emperor is told, as options with their values; ``None`` for one without."""
    return (
        ("emperor", str(layout.vassals)),
        ("emperor-freq", "1"),
        ("emperor-stats", str(layout.emperor_stats)),
        ("emperor-wrapper", str(layout.wrapper)),
        ("emperor-graceful-shutdown", None),
        ("emperor-curse-tolerance", str(CURSE_TOLERANCE_SECONDS)),
        ("emperor-max-throttle", str(MAX_THROTTLE_MS)),
        ("die-on-term", None),
    )


def find_uwsgi() -> Path:
    """uWSGI from the wheel ``pyuwsgi`` in this environment, else the one on PATH; :class:`HostError` without any."""
    for folder in (Path(sys.executable).parent, Path(sys.prefix) / "bin"):
        script = folder / "pyuwsgi"
        if os.access(script, os.X_OK):
            return script
    for name in ("uwsgi", "pyuwsgi"):
        found = shutil.which(name)
        if found is not None:
            return Path(found).absolute()
    raise HostError("uWSGI is not on this host", hint="pip install 'reconciler[embedded]'")


def render_wrapper(environment: dict[str, str]) -> str:
    """The program that the Emperor, and uWSGI itself at a reload, start in place of uWSGI.

    It begins with a clean environment, so that a variable that is gone from the manifest is gone from the app too;
    the app's own variables are read from the file beside the vassal's and never appear in a list of processes.
    """
    base = " ".join(f"{name}={shell_quote(value)}" for name, value in environment.items())
    return f"""#!/bin/sh
# reconciler vassal wrapper, format 1
# the Emperor calls it with "--ini NAME.ini", a reload with the uWSGI script before that: the name is always the last
for configuration do :; done
exec env -i {base} \\
  UWSGI_EMPEROR_FD="$UWSGI_EMPEROR_FD" ${{UWSGI_RELOADS:+UWSGI_RELOADS="$UWSGI_RELOADS"}} /bin/sh -c '
set -e
. "./$1.env"
binary=${BINARY_VARIABLE}
unset {BINARY_VARIABLE}
exec "$binary" --ini "$1.ini"
' vassal "${{configuration%.ini}}"
"""
