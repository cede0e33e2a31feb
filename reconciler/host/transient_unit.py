"""Commands of apps as transient units of systemd: an account, a control group, limits and a view of their own.

systemd starts the command, not the agent, so that it has none of the agent's rights, and whatever it leaves behind,
in whatever session, ends with the unit: at its end, after its time, when its work is given up, and with the agent.

Its variables reach it through its standard input: what stands in a command line or in the properties of a unit can be
read by every account of the host.
"""

from __future__ import annotations

import itertools
import os
import re
import shutil
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from reconciler.host import reporting
from reconciler.host.allowance import CPU_SECONDS, FILE_BYTES, Allowance
from reconciler.host.control_groups import CONTROL_GROUPS, limits_reached
from reconciler.host.interruption import Interrupted, regardless, stop_if_interrupted
from reconciler.host.processes import Account, run
from reconciler.model.errors import CommandFailed, CommandTimedOut, HostError
from reconciler.model.vassal_environment import shell_quote

SLICE = "reconciler-commands.slice"
AGENT = "reconciler.service"
EMPEROR = "reconciler-emperor.service"
GRACE_SECONDS = 2
"""How long what is told to end has before it is killed."""
STOP_SECONDS = 15.0
ASK_SECONDS = 10.0
BACKSTOP_SECONDS = 30
"""How much later than the agent systemd ends a command that has taken too long."""
SYSTEMD = Path("/run/systemd/system")
BUS = Path("/run/dbus/system_bus_socket")
PROPERTIES = (
    "NoNewPrivileges=yes",
    "PrivateTmp=yes",
    "PrivateDevices=yes",
    "ProtectSystem=strict",
    "ProtectHome=yes",
    "ProtectProc=invisible",
    "ProtectClock=yes",
    "ProtectControlGroups=yes",
    "ProtectHostname=yes",
    "ProtectKernelLogs=yes",
    "ProtectKernelModules=yes",
    "ProtectKernelTunables=yes",
    "LockPersonality=yes",
    "RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 AF_NETLINK",
    "RestrictNamespaces=yes",
    "RestrictRealtime=yes",
    "SystemCallArchitectures=native",
    "SystemCallFilter=@system-service",
    "SystemCallErrorNumber=EPERM",
    "CapabilityBoundingSet=",
    "LimitCORE=0",
    # the script below tells what was killed, and lets the command say what it says
    "OOMPolicy=continue",
    "KillMode=control-group",
    f"TimeoutStopSec={GRACE_SECONDS}",
    "UnsetEnvironment=INVOCATION_ID SYSTEMD_EXEC_PID JOURNAL_STREAM SHELL USER LOGNAME HOME LANG",
)
"""What holds for every command of an app."""
MARK = "reconciler: came to the limit of"
"""How the script below tells of a limit, at the end of what the command has printed."""
# The first process of the unit. It stays, because its group, which knows of the limits, ends with the unit.
SCRIPT = f"""
eval "$(cat)"
"$@" < /dev/null
status=$?
[ "$status" = 0 ] && exit 0
memory=0 processes=0
while IFS=: read -r _ kind group; do
  case $kind in
    "") folder={CONTROL_GROUPS}$group ;;
    memory|pids) folder={CONTROL_GROUPS}/$kind$group ;;
    *) continue ;;
  esac
  for file in memory.events memory.oom_control pids.events; do
    [ -r "$folder/$file" ] || continue
    while IFS=' ' read -r name count; do
      case $file:$name in
        memory.*:oom_kill) memory=$count ;;
        pids.events:max) processes=$count ;;
      esac
    done < "$folder/$file"
  done
done < /proc/self/cgroup
[ "$memory" = 0 ] || echo "{MARK} memory" >&2
[ "$processes" = 0 ] || echo "{MARK} processes" >&2
exit "$status"
"""
_numbers = itertools.count(1)
_first = threading.Lock()
_swept = threading.Event()


def systemd_runs() -> bool:
    """Whether systemd is this host's service manager, and can be asked to run commands."""
    return SYSTEMD.is_dir() and shutil.which("systemd-run") is not None


def places_of_apps() -> tuple[Path, ...]:
    """Where the Emperor's unit lets apps write: what an operator has added for an app holds for its hooks too."""
    if not systemd_runs():
        return ()
    listed = _systemctl("show", "--property=ReadWritePaths", "--value", EMPEROR).split()
    return tuple(path for word in listed if (path := Path(word.lstrip("-+"))).exists())


@dataclass(frozen=True, slots=True)
class TransientUnit:
    """One command as a unit: ``what`` it is in errors, who it runs as, and what it may have.

    Memory and processes are limited for all of the unit. Its file system is read-only but for ``writable``, and
    without ``hidden``.
    """

    account: Account
    allowance: Allowance
    writable: tuple[Path, ...]
    hidden: tuple[Path, ...]
    what: str
    name: str = field(default_factory=lambda: f"reconciler-command-{os.getpid()}-{next(_numbers)}.service")

    def starting(self, command: Sequence[str], cwd: Path, timeout: float) -> list[str]:
        """What starts ``command``, with its variables from standard input, and ends with its status.

        ``timeout`` is in seconds, and kept by who runs this; systemd ends what outlives that.
        """
        properties = (f"--property={entry}" for entry in (*PROPERTIES, *self._properties(timeout)))
        return [
            "systemd-run", "--quiet", "--pipe", "--wait", f"--unit={self.name}", f"--description={self.what}",
            f"--slice={SLICE}", f"--working-directory={cwd}", *properties, "--",
            # systemd would put its own variables in place of $NAME
            *(word.replace("$", "$$") for word in ("/bin/sh", "-c", SCRIPT, "sh", *command)),
        ]  # fmt: skip

    @contextmanager
    def ends_with(self, command: Sequence[str]) -> Iterator[None]:
        """See to it that nothing of the unit is left when the block ends, in which it is run.

        The failure of what has started it becomes one of ``command``; a command that came to a limit fails with a
        sentence that names it. Raises :class:`HostError` where systemd did not even start it.
        """
        _end_strays()
        try:
            yield
        except CommandTimedOut as error:
            reached = _limits_reached(self.name)
            _end(self.name)
            raise self._told(error, command, reached) from None
        except CommandFailed as error:
            _refuse_if_the_agent_ends()
            if not _forget_failure(self.name):
                raise HostError(
                    f"systemd does not run {self.what}: {error.tail.strip() or error}", hint="run `reconciler doctor`"
                ) from error
            raise self._told(error, command, _marked(error.tail)) from None
        except BaseException:
            _end(self.name)
            raise

    def _properties(self, timeout: float) -> Iterator[str]:
        """The properties of this one command."""
        yield f"User={self.account.name}"
        yield f"Group={self.account.gid}"
        yield f"MemoryMax={self.allowance.memory_bytes}"
        # what does not fit would go to the disk, and take the whole host along
        yield f"MemorySwapMax={self.allowance.memory_bytes}"
        yield f"TasksMax={self.allowance.processes}"
        yield f"LimitCPU={CPU_SECONDS}"
        yield f"LimitFSIZE={FILE_BYTES}"
        yield f"RuntimeMaxSec={timeout + BACKSTOP_SECONDS:g}"
        for path in self.writable:
            yield f"ReadWritePaths={path}"
        for path in self.hidden:
            yield f"InaccessiblePaths=-{path}"
        if _is_the_service():
            yield f"BindsTo={AGENT}"

    def _told(self, error: CommandFailed, command: Sequence[str], reached: Sequence[str]) -> CommandFailed:
        """The same failure, of the command and not of what started it, with the limits that it came to."""
        tail = re.sub(rf"^{MARK} \w+\n?", "", error.tail, flags=re.MULTILINE)
        told: CommandFailed
        if isinstance(error, CommandTimedOut):
            told = CommandTimedOut(tuple(command), error.seconds, tail, what=self.what)
        else:
            told = CommandFailed(tuple(command), error.status, tail, what=self.what)
        if reached:
            limits = " and ".join(self.allowance.exceeded(limit) for limit in reached)
            told.message = f"{self.what} {told.ending}, {limits}"
            told.hint = "have it use less, or raise the limit in agent.yaml and run `reconciler retry`"
        return told


def as_input(variables: Mapping[str, str]) -> bytes:
    """The variables of a command as its unit reads them from standard input."""
    lines = (f"export {name}={shell_quote(value)}\n" for name, value in variables.items())
    return "".join(lines).encode("utf-8", "surrogateescape")


def _is_the_service() -> bool:
    with suppress(OSError):
        return any(line.endswith(f"/{AGENT}") for line in Path("/proc/self/cgroup").read_text().splitlines())
    return False


def _end_strays() -> None:
    """End what an agent that was killed has left; only one works on a host, so there is nobody else's."""
    with _first:
        if not _swept.is_set():
            _systemctl("stop", SLICE)
            _swept.set()


def _end(unit: str) -> None:
    """End a unit and all that is in it; returns when it is gone."""
    _systemctl("stop", unit)
    _systemctl("reset-failed", unit)


def _forget_failure(unit: str) -> bool:
    """Take a unit that has failed off systemd's list; whether it was there at all."""
    known = _systemctl("show", "--property=LoadState", "--value", unit).strip() == "loaded"
    if known:
        _systemctl("reset-failed", unit)
    return known


def _refuse_if_the_agent_ends() -> None:
    """A command that was ended because the agent ends has not failed."""
    stop_if_interrupted()
    if _is_the_service() and _systemctl("show", "--property=ActiveState", "--value", AGENT).strip() == "deactivating":
        raise Interrupted


def _systemctl(*arguments: str) -> str:
    """What systemctl printed; a failure is told, and leaves nothing worse than it was."""
    with regardless():
        try:
            return run(("systemctl", "--no-ask-password", *arguments), timeout=STOP_SECONDS).text
        except (CommandFailed, HostError) as error:
            reporting.debug("systemctl_failed", arguments=" ".join(arguments), error=str(error))
            return ""


def _limits_reached(unit: str) -> list[str]:
    """The limits that a unit which still runs has come to."""
    return limits_reached(_systemctl("show", "--property=ControlGroup", "--value", unit).strip().removeprefix("/"))


def _marked(tail: str) -> list[str]:
    return re.findall(rf"^{MARK} (memory|processes)$", tail, re.MULTILINE)
