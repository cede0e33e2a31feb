"""The units that travel with the package, and the services that they make."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from reconciler.host.files import write_whole
from reconciler.host.processes import run
from reconciler.model.errors import CommandFailed, HostError

PACKAGE = Path(__file__).resolve().parent.parent.parent
FOLDERS = (PACKAGE / "systemd", PACKAGE.parent / "deploy" / "systemd")
"""Inside an installed package, and beside the package in a checkout."""
AGENT, EMPEROR, NGINX = "reconciler.service", "reconciler-emperor.service", "nginx.service"
SERVICES = (NGINX, EMPEROR, AGENT)
"""In the order in which they are started."""
UNITS = {
    "reconciler.service": "systemd/system/reconciler.service",
    "reconciler-emperor.service": "systemd/system/reconciler-emperor.service",
    "nginx.service.d/reconciler.conf": "systemd/system/nginx.service.d/reconciler.conf",
}
ACCOUNTS = {"sysusers.d/reconciler.conf": "sysusers.d/reconciler.conf"}
FOLDERS_AT_BOOT = {"tmpfiles.d/reconciler.conf": "tmpfiles.d/reconciler.conf"}
"""Files below :data:`FOLDERS`, and where each goes below ``/etc``."""
PACKAGED = Path("/usr/lib")
"""Where the Debian package has the same files, at the same places below."""
INSTALLED_AT = "/opt/reconciler/bin"
"""The folder of programs that the units name as they are shipped."""
ASK_SECONDS = 15.0
START_SECONDS = 150.0


def unit_file(name: str) -> str:
    """The text of one of the files that are shipped; raises :class:`HostError` when it is not there."""
    for folder in FOLDERS:
        if (folder / name).is_file():
            return (folder / name).read_text(encoding="utf-8")
    raise HostError(f"{name} is missing from the installation", hint="install reconciler again")


def text_for(name: str, programs: Mapping[str, str]) -> str:
    """The text of one of the files; ``programs`` are the paths here in place of those that it is shipped with."""
    text = unit_file(name)
    for shipped, here in programs.items():
        text = text.replace(f"{INSTALLED_AT}/{shipped} ", f"{here} ")
    return text


@dataclass(frozen=True, slots=True)
class Files:
    """Files of systemd in ``etc``, and the commands that make it read them; ``programs`` replaces paths in them.

    Where the Debian package has brought a file as it is wanted, no other text is to be in ``etc``, which covers it.
    """

    names: Mapping[str, str]
    commands: tuple[tuple[str, ...], ...]
    programs: Mapping[str, str]
    etc: Path
    packaged: Path = PACKAGED

    def missing(self) -> tuple[str, ...]:
        """A phrase for every file that is not there, not as it is shipped, or in the way of the package's."""
        return tuple(
            f"remove {path}, which covers the package's" if text is None else f"{_verb(path)} {path}"
            for path, text in self._wanted().items()
            if (path.exists() if text is None else not _says(path, text))
        )

    def provide(self) -> None:
        """Write the files and have them read."""
        for path, text in self._wanted().items():
            if text is None:
                path.unlink(missing_ok=True)
                continue
            path.parent.mkdir(parents=True, exist_ok=True)
            write_whole(path, text)
        for command in self.commands:
            run(command, timeout=START_SECONDS)

    def _wanted(self) -> dict[Path, str | None]:
        """The texts by their paths in ``etc``; ``None`` where there is to be none but the package's."""
        wanted: dict[Path, str | None] = {}
        for name, place in self.names.items():
            text = text_for(name, self.programs)
            brought = _says(self.packaged / place, text) and not _says(self.etc / place, text)
            wanted[self.etc / place] = None if brought else text
        return wanted


def _says(path: Path, text: str) -> bool:
    return path.is_file() and path.read_text(errors="replace") == text


def _verb(path: Path) -> str:
    return "replace" if path.exists() else "write"


@dataclass(frozen=True, slots=True)
class Services:
    """The services that are started with the server, and run."""

    names: tuple[str, ...]

    def missing(self) -> tuple[str, ...]:
        """A phrase for every service that does not run, or will not after a reboot."""
        return tuple(f"start {name}, now and with the server" for name in self._idle())

    def provide(self) -> None:
        """Start them; raises :class:`HostError` with the one that does not come up."""
        for name in self._idle():
            try:
                run(("systemctl", "enable", "--now", name), timeout=START_SECONDS)
            except CommandFailed as error:
                raise HostError(
                    f"{name} does not start: {error}",
                    hint=f"see `systemctl status {name}` and `journalctl -u {name}`, then run bootstrap again",
                ) from error

    def _idle(self) -> list[str]:
        return [name for name in self.names if not (is_(name, "active") and is_(name, "enabled"))]


def is_(name: str, state: str) -> bool:
    """Whether a service is ``active`` or ``enabled``."""
    try:
        run(("systemctl", "--quiet", f"is-{state}", name), timeout=ASK_SECONDS)
    except CommandFailed:
        return False
    return True
