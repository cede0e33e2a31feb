"""Daemons that outlive the agent: started detached, found again by the next one, never mistaken for other processes.

A record of three words, ``pid start-time boot-id``, names the process. A pid alone may have been given to another
process by now; the time that a process started, in clock ticks since the boot, tells the two apart. The daemon
writes its own record before it becomes the program, so that no instant exists at which it runs unrecorded.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import pwd
import resource
import select
import signal
import subprocess
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from reconciler.host.process_table import all_processes, status_of
from reconciler.model.errors import HostError

START_SECONDS = 5.0
DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
UNUSABLE_CHARACTERS = frozenset("$%:\"'`\\*?[]{}();#@|")
BOOT_ID = Path("/proc/sys/kernel/random/boot_id")

# Field 22 of a process's stat is its start time; the name in field 2 is the shell's own and has no blanks. Standard
# input is the lock that keeps a second start away until the record is there.
LAUNCHER = """
record=$1 boot=$2 files=$3
shift 3
ulimit -S -n "$files" 2>/dev/null || :
write_record() { printf '%s %s %s\\n' "$1" "${22}" "$boot" > "$record"; }
read -r status < "/proc/$$/stat"
write_record $status
exec "$@" < /dev/null
"""


@dataclass(frozen=True, slots=True)
class Daemon:
    """One daemon: its name in errors, the file of its record, and the file that takes what it prints."""

    name: str
    record: Path
    log: Path

    def pid(self) -> int | None:
        """The process, when it runs."""
        recorded = self._recorded()
        return recorded[0] if recorded is not None and _identity(recorded[0]) == recorded else None

    def start(self, command: Sequence[str], *, open_files: int | str = "hard") -> int:
        """Start ``command`` in a session of its own unless the daemon runs, and return its pid.

        ``open_files`` is its soft limit of open files (``hard``: as many as the host allows). Raises
        :class:`HostError` when the program cannot be started at all; whether it does its work is for others to ask.
        """
        with self._starting() as lock:
            running = self.pid()
            if running is not None:
                return running
            return self._launch(tuple(command), open_files, lock)

    def send(self, number: signal.Signals) -> bool:
        """Send a signal to exactly this process; ``False`` when it does not run."""
        with self._handle() as handle:
            if handle is None:
                return False
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(handle, number)
                return True
            return False

    def stop(self, number: signal.Signals, seconds: float) -> bool:
        """Ask the process to end, and end it with SIGKILL after ``seconds``; ``False`` when it did not run."""
        with self._handle() as handle:
            if handle is None:
                return False
            for asked, patience in ((number, seconds), (signal.SIGKILL, START_SECONDS)):
                with contextlib.suppress(ProcessLookupError):
                    signal.pidfd_send_signal(handle, asked)
                if _ended(handle, patience):
                    break
        self.record.unlink(missing_ok=True)
        return True

    def end_orphans(self, program: Path, number: signal.Signals, seconds: float) -> None:
        """End what a daemon that was killed left behind: processes of its session that run the same ``program``."""
        recorded = self._recorded()
        if recorded is None or recorded[2] != boot_id() or _identity(recorded[0]) is not None:
            return
        handles = [handle for pid in _session(recorded[0]) if (handle := _open_if_runs(pid, program)) is not None]
        try:
            for asked, patience in ((number, seconds), (signal.SIGKILL, START_SECONDS)):
                for handle in handles:
                    with contextlib.suppress(ProcessLookupError):
                        signal.pidfd_send_signal(handle, asked)
                deadline = time.monotonic() + patience
                if all(_ended(handle, max(deadline - time.monotonic(), 0)) for handle in handles):
                    break
        finally:
            for handle in handles:
                os.close(handle)

    def _launch(self, command: tuple[str, ...], open_files: int | str, lock: int) -> int:
        # a plain /bin/sh does not know the word
        files = resource.getrlimit(resource.RLIMIT_NOFILE)[1] if open_files == "hard" else open_files
        launcher = ("/bin/sh", "-c", LAUNCHER, "sh", str(self.record), boot_id(), str(files), *command)
        with self.log.open("ab") as log:
            process = subprocess.Popen(
                launcher,
                stdin=lock,
                stdout=log,
                stderr=log,
                cwd="/",
                env=minimal_environment(),
                start_new_session=True,
            )
        # waits for it as long as this agent lives, so that it never stays behind as a zombie
        threading.Thread(target=process.wait, name=f"reap {self.name}", daemon=True).start()
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            recorded = self._recorded()
            if recorded is not None and recorded[0] == process.pid:
                return process.pid
            if process.poll() is not None:
                break
            time.sleep(0.002)
        raise HostError(f"{self.name} cannot be started", hint=f"see {self.log}")

    def _recorded(self) -> tuple[int, int, str] | None:
        with contextlib.suppress(OSError, ValueError):
            pid, started, boot = self.record.read_text().split()
            return int(pid), int(started), boot
        return None

    @contextlib.contextmanager
    def _starting(self) -> Iterator[int]:
        lock = os.open(self.record.with_suffix(".starting"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield lock
        finally:
            os.close(lock)

    @contextlib.contextmanager
    def _handle(self) -> Iterator[int | None]:
        """A descriptor of the process, which cannot come to mean another one, or ``None`` when it does not run."""
        handle = None
        recorded = self._recorded()
        if recorded is not None:
            with contextlib.suppress(OSError):
                handle = os.pidfd_open(recorded[0])
        try:
            # looked at after the descriptor was opened: from here on the pid cannot be given to another process
            yield handle if handle is not None and self.pid() is not None else None
        finally:
            if handle is not None:
                os.close(handle)


def minimal_environment() -> dict[str, str]:
    """The environment of a daemon: nothing of the agent's own, in which secrets may be."""
    account = _account()
    return {
        "PATH": DEFAULT_PATH,
        "LANG": "C.UTF-8",
        "HOME": account[1],
        "USER": account[0],
        "LOGNAME": account[0],
    }


def refuse_unusable_root(root: Path) -> None:
    """Raise :class:`HostError` when the folder's path has a character that nginx or uWSGI would read as syntax."""
    bad = sorted({character for character in str(root) if character in UNUSABLE_CHARACTERS or ord(character) < 32})
    if bad:
        raise HostError(
            f"{root} cannot be the state folder: nginx or uWSGI give {' '.join(bad)!r} a meaning of their own",
            hint="set root to a path of letters, digits, '/', '-', '_' and '.'",
        )


def _account() -> tuple[str, str]:
    try:
        entry = pwd.getpwuid(os.geteuid())
    except KeyError:
        return str(os.geteuid()), "/"
    return entry.pw_name, entry.pw_dir


def _identity(pid: int) -> tuple[int, int, str] | None:
    """What a record of the process would say now; ``None`` for one that has ended, zombies included."""
    status = status_of(pid)
    return (pid, status.started, boot_id()) if status is not None and status.runs else None


def boot_id() -> str:
    """What names this start of the host, and no other."""
    return BOOT_ID.read_text().strip()


def _session(leader: int) -> list[int]:
    """The processes of a session; as long as there is one, no new process gets the leader's pid."""
    statuses = ((process, status_of(process)) for process in all_processes())
    return [process for process, status in statuses if status is not None and status.session == leader]


def _open_if_runs(pid: int, program: Path) -> int | None:
    try:
        handle = os.pidfd_open(pid)
    except OSError:
        return None
    try:
        # the kernel adds " (deleted)" when the program was replaced by a newer one meanwhile
        if Path(f"/proc/{pid}/exe").readlink() in (program, Path(f"{program} (deleted)")):
            return handle
    except FileNotFoundError:
        # it is about to end, but may not have closed its sockets yet
        return handle
    except OSError:
        pass
    os.close(handle)
    return None


def _ended(handle: int, seconds: float) -> bool:
    poller = select.poll()
    poller.register(handle, select.POLLIN)
    return bool(poller.poll(seconds * 1000))
