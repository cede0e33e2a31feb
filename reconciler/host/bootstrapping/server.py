"""Whether a server is one that can be made ready: its system, its rights, where the reconciler is installed."""

from __future__ import annotations

import os
import re
import shutil
import sys
from pathlib import Path

from reconciler.model.errors import HostError

OS_RELEASE = Path("/etc/os-release")
SYSTEMD = Path("/run/systemd/system")
FAMILIES = frozenset({"debian", "ubuntu"})
BY_HAND = "docs/installation.md tells how to set a server up by hand"
HIDDEN = (Path("/root"), Path("/home"), Path("/run/user"), Path("/tmp"), Path("/var/tmp"))  # noqa: S108
"""What the unit of the agent does not see, or sees otherwise."""
EVERYBODY_ENTERS = 0o001
_UNIT_PATH = re.compile(r"[A-Za-z0-9/._+-]+")


def refuse_unfit(os_release: Path = OS_RELEASE, systemd: Path = SYSTEMD, prefix: Path | None = None) -> None:
    """Raise :class:`HostError` for a server that cannot be made ready by this account, or at all."""
    family, name = _system(os_release)
    if not family & FAMILIES or shutil.which("apt-get") is None:
        raise HostError(f"bootstrap knows Debian and Ubuntu, and this host runs {name}", hint=BY_HAND)
    if not systemd.is_dir():
        raise HostError("systemd does not run this host, and the services need it", hint=BY_HAND)
    if os.geteuid() != 0:
        raise HostError("bootstrap installs packages and services, which takes root", hint="run it with sudo")
    _refuse_hidden(prefix or Path(sys.prefix))


def _system(os_release: Path) -> tuple[set[str], str]:
    """The identifiers of the system and of those that it descends from, and its name for people."""
    try:
        lines = os_release.read_text(errors="replace").splitlines()
    except OSError:
        return set(), "an unknown system"
    values = {key: value.strip("\"'") for key, _, value in (line.partition("=") for line in lines)}
    family = {values.get("ID", ""), *values.get("ID_LIKE", "").split()}
    return family, values.get("PRETTY_NAME") or values.get("ID") or "an unknown system"


def _refuse_hidden(prefix: Path) -> None:
    hint = "install it into an environment that every account can read: python3 -m venv /opt/reconciler"
    if not _UNIT_PATH.fullmatch(str(prefix)):
        raise HostError(f"the path {prefix} of the reconciler has characters that units give a meaning", hint=hint)
    if any(prefix.is_relative_to(folder) for folder in HIDDEN):
        raise HostError(f"the reconciler is installed in {prefix}, which its service does not see", hint=hint)
    closed = [folder for folder in (prefix, *prefix.parents) if not folder.stat().st_mode & EVERYBODY_ENTERS]
    if closed:
        raise HostError(
            f"the accounts of apps cannot enter {closed[-1]}, where the reconciler is installed", hint=hint
        )
