"""System packages installed with apt: what apps ask for and this host lacks, in one transaction for all of them.

Nothing is ever removed, and nothing that is installed is taken away to make room.
"""

from __future__ import annotations

import os
import re
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from reconciler.host.files import tail_of
from reconciler.host.installed_packages import InstalledPackages
from reconciler.host.interruption import stop_if_interrupted, to_the_end
from reconciler.host.processes import run
from reconciler.model.errors import CommandFailed, CommandTimedOut, HostError, StageFailed

APT_SECONDS = 1_800.0
"""The longest that one run of apt may take."""
LOCK_SECONDS = 300
"""How long apt waits for another program that installs packages, such as the host's own upgrades."""
LISTS_AGE_SECONDS = 86_400.0
"""Lists of packages that are older are fetched anew before something is installed."""
POLL_SECONDS = 0.2
LISTS = Path("/var/lib/apt/lists")
SYSTEMD = Path("/run/systemd/system")
LOG = "host.packages.log"
UNIT = (
    "systemd-run",
    "--quiet",
    "--wait",
    "--collect",
    "--service-type=exec",
    "--description=System packages of apps",
)
ENVIRONMENT = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "LC_ALL": "C.UTF-8",
    "HOME": "/root",
    "DEBIAN_FRONTEND": "noninteractive",
    "NEEDRESTART_MODE": "l",
}
PROXIES = ("http_proxy", "https_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY")
INSTALL = (
    "install", "--yes", "--quiet", "--no-install-recommends", "--no-remove",
    "--option", "Dpkg::Options::=--force-confdef", "--option", "Dpkg::Options::=--force-confold",
)  # fmt: skip

_UNKNOWN = re.compile(r"^E: (?:Unable to locate package (\S+)|Package '(\S+)' has no installation candidate)", re.M)
_UNREACHABLE = re.compile(r"^(?:E: Failed to fetch|E: Unable to fetch|.*Temporary failure resolving)", re.M)
_LOCKED = re.compile(r"^E: (?:Could not get lock|Unable to (?:acquire|lock))", re.M)
_HALF_DONE = "dpkg was interrupted"


@dataclass(frozen=True, slots=True)
class Apt:
    """apt of this host.

    With ``log`` it runs in a unit of its own, which may write where the agent's service may not, goes on to its end
    when the agent is ended, and writes into that file; the file has the last transaction only.
    """

    log: Path | None = None
    program: str = "apt-get"
    dpkg: str = "dpkg"
    lists: Path = LISTS

    def install(self, names: Iterable[str], say: Callable[[str], None]) -> None:
        """Install packages in one transaction. Raises :class:`CommandFailed` with the tail of what apt said."""
        fresh = self._lists_are_fresh()
        if not fresh:
            self._update(say)
        try:
            self._install(names, say)
        except CommandFailed as error:
            if _HALF_DONE in error.tail:
                # a loss of power while something was installed; nobody has to clean up
                self._run((self.dpkg, "--configure", "--pending"), say)
            elif fresh and (_UNKNOWN.search(error.tail) or _UNREACHABLE.search(error.tail)):
                self._update(say)
            else:
                raise
            self._install(names, say)

    def _install(self, names: Iterable[str], say: Callable[[str], None]) -> None:
        lock = ("--option", f"DPkg::Lock::Timeout={LOCK_SECONDS}")
        self._run((self.program, *INSTALL, *lock, "--", *sorted(names)), say)

    def _update(self, say: Callable[[str], None]) -> None:
        try:
            self._run((self.program, "update", "--quiet"), say)
        except CommandFailed as error:
            # one of several sources may be away; whether that matters shows when something is installed
            say(f"the lists of packages cannot be fetched: {error}")

    def _run(self, command: tuple[str, ...], say: Callable[[str], None]) -> None:
        passed = {name: os.environ[name] for name in PROXIES if name in os.environ}
        variables = {**ENVIRONMENT, **passed}
        say(f"$ {' '.join(command)}")
        # half a transaction helps nobody, whatever git asks for meanwhile
        with to_the_end():
            if self.log is None:
                run(command, timeout=APT_SECONDS, env=variables, what=command[0], on_line=say)
            else:
                self._run_in_unit(command, self.log, variables, say)

    @staticmethod
    def _run_in_unit(
        command: tuple[str, ...], log: Path, variables: Mapping[str, str], say: Callable[[str], None]
    ) -> None:
        # not through a pipe: dpkg gives up in the middle when nobody reads what it says
        outputs = (f"--property=StandardOutput=truncate:{log}", f"--property=StandardError=append:{log}")
        settings = (f"--setenv={name}={value}" for name, value in variables.items())
        try:
            run((*UNIT, *outputs, *settings, *command), timeout=APT_SECONDS, env=variables, what=command[0])
        except CommandTimedOut:
            raise
        except CommandFailed as error:
            raise CommandFailed(command, error.status, tail_of(log) or error.tail, what=command[0]) from error
        finally:
            for line in tail_of(log).splitlines():
                say(line)

    def _lists_are_fresh(self) -> bool:
        try:
            newest = max(path.stat().st_mtime for path in self.lists.glob("*Packages*"))
        except (OSError, ValueError):
            return False
        return time.time() - newest < LISTS_AGE_SECONDS


def find_apt(logs: Path) -> Apt:
    """apt of the system profile, with its log in the folder ``logs``."""
    # the name of no app has a dot, so that no app's log has this name
    return Apt(logs / LOG if SYSTEMD.is_dir() else None)


@dataclass(slots=True)
class SystemPackages:
    """The system packages of this host, for all of its apps; safe between threads.

    Without ``apt`` this profile installs nothing, and only says what is missing.
    """

    status: Path
    apt: Apt | None
    _installed: InstalledPackages = field(init=False)
    _announced: Mapping[str, frozenset[str]] = field(default_factory=dict)
    _transaction: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        self._installed = InstalledPackages(self.status)

    def announce(self, asked: Mapping[str, frozenset[str]]) -> None:
        """Say what the apps ask for that are about to be changed: the first one installs it for all of them."""
        self._announced = asked

    def install(self, app: str, names: Iterable[str], say: Callable[[str], None]) -> None:
        """Install what is missing of ``names``, and of what other apps are about to ask for.

        Raises :class:`HostError` where nothing may be installed, or the package sources did not answer, and
        :class:`StageFailed` for a package that there is not.
        """
        while not self._transaction.acquire(timeout=POLL_SECONDS):
            stop_if_interrupted()
        try:
            self._install(app, frozenset(names), say)
        finally:
            self._transaction.release()

    def _install(self, app: str, names: frozenset[str], say: Callable[[str], None]) -> None:
        missing = self._installed.missing(names)
        if not missing:
            say("installed already")
            return
        if self.apt is None:
            raise self._refusal(app, missing)
        together = self._installed.missing(names.union(*self._announced.values()))
        if together != missing:
            with suppress(CommandFailed):
                self.apt.install(together, say)
                return
            # one app's mistake is not the others': from now on everyone installs its own
            self._announced = {}
        try:
            self.apt.install(missing, say)
        except CommandFailed as error:
            raise _explained(app, error) from error
        if left := self._installed.missing(names):
            raise StageFailed(
                f"apt has installed what {app} asks for, and {', '.join(left)} is still not there",
                hint="name packages in build.systemPackages, not what others provide",
            )

    def _refusal(self, app: str, missing: tuple[str, ...]) -> HostError:
        listed = " ".join(missing)
        if not self.status.exists():
            return HostError(
                f"{app} asks for system packages ({listed}), and this host has no dpkg",
                hint="install them as this host does it, and leave build.systemPackages empty",
            )
        return HostError(
            f"{app} asks for system packages that are not installed ({listed}), and the embedded profile has no "
            "right to install any",
            hint=f"run `sudo apt-get install {listed}`; the next pass goes on",
        )


def _explained(app: str, error: CommandFailed) -> StageFailed | HostError:
    if unknown := sorted({one or other for one, other in _UNKNOWN.findall(error.tail)}):
        return StageFailed(
            f"{app} asks for the system package {', '.join(unknown)}, which the package sources of this host "
            "do not have",
            hint="correct build.systemPackages and commit, or add the package source to this host",
            tail=error.tail,
        )
    if _UNREACHABLE.search(error.tail):
        return HostError(
            f"the system packages of {app} cannot be fetched: the package sources did not answer",
            hint="it is tried again by itself; check the network, and /etc/apt/sources.list",
        )
    if _LOCKED.search(error.tail):
        return HostError(
            f"the system packages of {app} cannot be installed: another program has held apt's lock for "
            f"{LOCK_SECONDS} s",
            hint="it is tried again by itself; `fuser /var/lib/dpkg/lock-frontend` says who holds it",
        )
    if isinstance(error, CommandTimedOut):
        return HostError(
            f"the system packages of {app} were not installed within {APT_SECONDS:g} s",
            hint="it is tried again by itself; look at what apt does on this host",
        )
    lines = [line for line in error.tail.splitlines() if line.startswith("E: ")]
    return StageFailed(
        f"apt cannot install the system packages of {app}: {lines[-1].removeprefix('E: ') if lines else error}",
        hint=f"run the command that the log shows on this host, mend what it tells, then `reconciler retry {app}`",
        tail=error.tail,
    )
