"""A Debian booted in systemd-nspawn, with a network of its own that has only a loopback interface.

It is not registered with the machine's own systemd, so that any root shell can boot it, and several at a time. What
it writes goes to a layer over the cached image; the layer's mount belongs to its own mount namespace and its
processes die with the test's, so that nothing is left behind however the test ends.
"""

from __future__ import annotations

import itertools
import os
import shlex
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

Found = TypeVar("Found")

BOOT_SECONDS = 60.0
COMMAND_SECONDS = 60.0
END_SECONDS = 15.0
POLL_SECONDS = 0.05
PREFIX = "reconciler-system-"
MEMORY = "/dev/shm"
ROOM_BYTES = 4 * 1024**3
_numbers_of_containers = itertools.count(1)
REBOOT_STATUS = 133
"""What nspawn ends with under ``--keep-unit`` when the system inside wants to be started again."""
ENVIRONMENT = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "HOME": "/root",
    "LANG": "C.UTF-8",
    "DEBIAN_FRONTEND": "noninteractive",
    "TERM": "dumb",
}

NAMESPACES = ("unshare", "--mount", "--mount-proc", "--pid", "--fork", "--kill-child=KILL")
"""nspawn that is killed leaves its container alive; with the namespace of its processes the container ends too."""

# In a mount namespace of its own: the image below, this run's changes above. In a control group of its own: with
# --keep-unit nspawn makes the container's group beside the caller's processes, and two of them would share one.
LAUNCHER = """
set -e
image=$1 run=$2 name=$3
shift 3
while IFS=: read -r _ kind group; do
    for tree in "/sys/fs/cgroup/${kind#name=}" /sys/fs/cgroup/unified /sys/fs/cgroup; do
        case "$kind:$tree" in
            name=systemd:*/systemd|:*/unified|:/sys/fs/cgroup|memory:*/memory|pids:*/pids) ;;
            *) continue ;;
        esac
        [ -e "$tree/cgroup.procs" ] || continue
        if mkdir -p "$tree$group/$name" 2>/dev/null; then echo $$ > "$tree$group/$name/cgroup.procs" || :; fi
        break
    done
done < /proc/self/cgroup
mount -t overlay overlay -o "lowerdir=$image,upperdir=$run/changes,workdir=$run/work" "$run/root"
exec setpriv --pdeathsig KILL systemd-nspawn --quiet --register=no --keep-unit --boot --private-network \\
    --directory="$run/root" --machine="$name" --console=pipe "$@"
"""


@dataclass(frozen=True)
class Ended:
    """How a command in the container ended and what it wrote."""

    command: str
    status: int
    out: str
    err: str

    def __str__(self) -> str:
        """All of it, for messages."""
        return f"{self.command}: status {self.status}\n{self.out}{self.err}"


@dataclass
class Container:
    """One Debian; ``folder`` is this run's folder on the machine that boots it, ``options`` are nspawn's."""

    folder: Path
    image: Path
    options: Sequence[str]
    name: str
    boot_seconds: float = BOOT_SECONDS
    _process: subprocess.Popen[bytes] | None = None
    _leader: int | None = None

    def boot(self) -> None:
        """Start the system, and wait until it is up."""
        command = ["setpriv", "--pdeathsig", "KILL", *NAMESPACES, "sh", "-c", LAUNCHER, "sh"]
        command += [str(self.image), str(self.folder), self.name, *self.options]
        with (self.folder / "console").open("ab") as console:
            self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=console, stderr=console)
        self._leader = None
        self.wait_until_up()

    def leader(self) -> int:
        """The process that is number 1 inside; another one after each reboot."""
        if self._leader is None or not _is_first(self._leader):
            self._leader = wait_for("the container's first process", self._find_leader, BOOT_SECONDS)
        return self._leader

    def path(self, inside: str) -> Path:
        """A file of the container as this machine sees it. A link in it leads to this machine's files."""
        return Path(f"/proc/{self.leader()}/root") / inside.removeprefix("/")

    def run(
        self,
        *command: str,
        seconds: float = COMMAND_SECONDS,
        user: str | None = None,
        stdin: str = "",
        env: Mapping[str, str] | None = None,
    ) -> Ended:
        """Run a command inside, as root unless ``user`` is another account."""
        words = [] if user is None else ["runuser", "-u", user, "--"]
        home = {} if user is None else {"HOME": "/"}
        variables = [f"{name}={value}" for name, value in {**ENVIRONMENT, **home, **(env or {})}.items()]
        whole = [*self.entering("--all"), "env", "-i", *variables, *words, *command]
        done = subprocess.run(
            whole, input=stdin, capture_output=True, text=True, errors="replace", timeout=seconds, check=False
        )
        return Ended(shlex.join(command), done.returncode, done.stdout, done.stderr)

    def must(self, *command: str, seconds: float = COMMAND_SECONDS, user: str | None = None, stdin: str = "") -> str:
        """What a command printed that has to succeed, stripped."""
        ended = self.run(*command, seconds=seconds, user=user, stdin=stdin)
        assert ended.status == 0, str(ended)
        return ended.out.strip()

    def entering(self, *namespaces: str) -> list[str]:
        """The beginning of a command that this machine runs inside the container's namespaces."""
        return ["nsenter", "--target", str(self.leader()), *namespaces, "--"]

    def write(self, inside: str, text: str, *, mode: int = 0o644) -> None:
        """Write a file as root, with the folders above it."""
        path = self.path(inside)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(mode)

    def wait_until_up(self) -> None:
        """Wait until systemd has started all that belongs to the boot."""

        def up() -> str | None:
            state = self.run("systemctl", "is-system-running").out.strip()
            return state if state in ("running", "degraded") else None

        state = wait_for("the boot", up, self.boot_seconds)
        assert state == "running", self.run("systemctl", "list-units", "--failed", "--plain", "--no-legend").out

    def let_groups_limit(self) -> None:
        """Let systemd limit memory and processes where this machine has the older control groups.

        nspawn shows them read-only to a container whose root is this machine's.
        """
        own = [f"/sys/fs/cgroup/{kind}" for kind in ("memory", "pids")]
        if all(self.path(tree).is_dir() for tree in own):
            again = 'mount -o remount,rw "$tree" 2>/dev/null || mount -o remount,bind,rw "$tree"'
            self.must("sh", "-c", f"for tree in {' '.join(own)}; do {again}; done; systemctl daemon-reexec")

    def reboot(self) -> None:
        """Restart the whole system, and wait until it is up again."""
        assert self._process is not None
        self.run("systemctl", "--no-block", "reboot")
        status = self._process.wait(BOOT_SECONDS)
        assert status == REBOOT_STATUS, f"nspawn ended with {status}: {self._console()}"
        self.boot()

    def end(self) -> None:
        """End every process of it at once, as a power failure would."""
        if self._process is not None:
            self._process.kill()
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(END_SECONDS)

    def _find_leader(self) -> int | None:
        assert self._process is not None
        assert self._process.poll() is None, f"the container ended: {self._console()}"
        return next((pid for pid in _below(self._process.pid) if _is_first(pid)), None)

    def _console(self) -> str:
        return (self.folder / "console").read_text(errors="replace")[-2000:]


@contextmanager
def booted(
    image: Path,
    binds: Mapping[Path, str],
    prepare: Callable[[Path], None] | None = None,
    boot_seconds: float = BOOT_SECONDS,
) -> Iterator[Container]:
    """A container over ``image``; ``binds`` are folders of this machine that it sees at other paths, to read.

    ``prepare`` puts files into the folder that it is given, as they are to lie above the image's at the first boot.
    """
    _remove_left_over()
    number = f"{os.getpid()}-{next(_numbers_of_containers)}"
    folder = Path(tempfile.mkdtemp(prefix=f"{PREFIX}{number}-", dir=_place()))
    for name in ("changes", "work", "root"):
        (folder / name).mkdir()
    (folder / "root").chmod(0o755)
    (folder / "changes").chmod(0o755)
    if prepare is not None:
        prepare(folder / "changes")
    shown = [f"--bind-ro={ours}:{theirs}" for ours, theirs in binds.items()]
    container = Container(folder, image, shown, f"reconciler-{number}", boot_seconds)
    try:
        container.boot()
        yield container
    finally:
        container.end()
        shutil.rmtree(folder, ignore_errors=True)
        _forget(container.name)


def _remove_left_over() -> None:
    """What runs that were killed left: their containers ended with them, their files and groups did not."""
    for place in (Path(MEMORY), Path(tempfile.gettempdir())):
        for folder in place.glob(f"{PREFIX}*"):
            pid, number, *_ = [*folder.name.removeprefix(PREFIX).split("-"), "", ""]
            if not Path(f"/proc/{pid}").exists():
                shutil.rmtree(folder, ignore_errors=True)
                _forget(f"reconciler-{pid}-{number}")


def _place() -> str | None:
    """A file system in memory, where flushing costs nothing, if there is one with room; else the usual place."""
    with suppress(OSError):
        if shutil.disk_usage(MEMORY).free > ROOM_BYTES:
            return MEMORY
    return None


def wait_for(what: str, find: Callable[[], Found | None], seconds: float, *, every: float = POLL_SECONDS) -> Found:
    """What ``find`` returns once that is true."""
    deadline = time.monotonic() + seconds
    while True:
        found = find()
        if found:
            return found
        assert time.monotonic() < deadline, f"{what}: not within {seconds:g} s"
        time.sleep(every)


def _is_first(pid: int) -> bool:
    """Whether a process is number 1 of a namespace two below ours: nspawn is in the one between."""
    numbers = _numbers(pid)
    return len(numbers) == len(_numbers("self")) + 2 and numbers[-1] == "1"


def _numbers(process: int | str) -> list[str]:
    """The numbers of a process in the namespaces that it is in, ours first."""
    with suppress(OSError):
        for line in Path(f"/proc/{process}/status").read_text().splitlines():
            if line.startswith("NSpid:"):
                return line.split()[1:]
    return []


def _below(pid: int) -> Iterator[int]:
    with suppress(OSError):
        for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
            yield int(child)
            yield from _below(int(child))


def _forget(name: str) -> None:
    """Remove the empty folders that a container leaves on this machine, once its last processes are gone."""
    trees = [path for path in (Path("/sys/fs/cgroup"), *Path("/sys/fs/cgroup").iterdir()) if path.is_dir()]
    tops = {top for tree in trees for top in tree.glob(f"**/{name}")} | {Path("/run/systemd/nspawn/propagate") / name}

    def gone() -> bool:
        for top in tops:
            below = sorted((path for path in top.rglob("*") if path.is_dir()), reverse=True)
            for folder in (*below, top):
                with suppress(OSError):
                    folder.rmdir()
        return not any(top.exists() for top in tops)

    with suppress(AssertionError):
        wait_for("the end of the container's groups", gone, END_SECONDS)
