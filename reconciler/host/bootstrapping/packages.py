"""Packages of the distribution: which are missing, and all of those in one transaction."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from reconciler.host.processes import run
from reconciler.model.errors import CommandFailed, HostError

QUERY_SECONDS = 30.0
UPDATE_SECONDS = 300.0
INSTALL_SECONDS = 1200.0
LOCK_SECONDS: Final = 300
"""How long apt waits for another one, such as that of a server's first boot."""
INSTALLED = "install ok installed"


def missing_packages(names: Sequence[str]) -> tuple[str, ...]:
    """Those of ``names`` that are not installed, in their order."""
    asked = ("dpkg-query", "--show", "--showformat=${Package}\\t${Status}\\n", *names)
    try:
        listed = run(asked, timeout=QUERY_SECONDS, env=_environment()).text
    except CommandFailed as error:
        # the status is 1 as soon as it does not know one of them
        listed = error.tail
    states = dict(line.split("\t", 1) for line in listed.splitlines() if "\t" in line)
    return tuple(name for name in names if states.get(name) != INSTALLED)


def install_packages(names: Sequence[str]) -> None:
    """Install packages in one transaction, without a question; configuration files that were changed stay.

    Raises :class:`HostError` with what apt said.
    """
    options = ("-o", f"DPkg::Lock::Timeout={LOCK_SECONDS}", "-o", "Dpkg::Options::=--force-confold")
    wanted = ("apt-get", *options, "--yes", "--no-install-recommends", "install", *names)
    # lists that are too old name versions that the mirror no longer has; a mirror that cannot be reached is told of
    # by the installation, should the lists that are here not do
    with suppress(CommandFailed):
        run(("apt-get", *options, "update"), timeout=UPDATE_SECONDS, env=_environment())
    try:
        run(wanted, timeout=INSTALL_SECONDS, env=_environment(), what="apt-get")
    except CommandFailed as error:
        raise HostError(
            f"apt could not install {', '.join(names)}: {_cause(error.tail)}",
            hint=f"correct that and run bootstrap again; `apt-get install {' '.join(names)}` shows all of it",
        ) from error


@dataclass(frozen=True, slots=True)
class Packages:
    """The packages that serving takes."""

    names: tuple[str, ...]

    def missing(self) -> tuple[str, ...]:
        """One phrase for all: they are one transaction."""
        lacking = missing_packages(self.names)
        return (f"install {', '.join(lacking)} with apt",) if lacking else ()

    def provide(self) -> None:
        """Install what is missing."""
        install_packages(missing_packages(self.names))


def _environment() -> dict[str, str]:
    return {**os.environ, "DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C.UTF-8", "NEEDRESTART_SUSPEND": "1"}


def _cause(tail: str) -> str:
    lines = [line.strip() for line in tail.splitlines() if line.strip()]
    return next((line for line in lines if line.startswith("E:")), lines[-1] if lines else "it says nothing")
