"""All that a server needs, in the order in which it is looked at and provided."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from reconciler.host.bootstrapping.configuration_files import AgentConfiguration, FirstProgram, OwnFile
from reconciler.host.bootstrapping.debian_site import ExampleSite
from reconciler.host.bootstrapping.packages import Packages
from reconciler.host.bootstrapping.reaching import Reaching
from reconciler.host.bootstrapping.service_environment import ServiceEnvironment
from reconciler.host.bootstrapping.ssh_access import SshAccess, SshServer, lacks_ssh
from reconciler.host.bootstrapping.step import Step
from reconciler.host.bootstrapping.units import ACCOUNTS, AGENT, FOLDERS_AT_BOOT, UNITS, Files
from reconciler.host.git_addresses import parse_address
from reconciler.host.system_emperor import emperor_configuration
from reconciler.host.system_layout import SystemLayout
from reconciler.host.uwsgi import find_uwsgi
from reconciler.host.vassal_start import first_start
from reconciler.model.errors import HostError

ETC = Path("/etc")
PAGES = Path("/var/www/html")
PACKAGES = ("nginx", "git", "ca-certificates", "dbus")
SSH_PACKAGE = "openssh-client"
UWSGI_PACKAGE = "uwsgi-core"
READ_UNITS = (("systemctl", "daemon-reload"), ("systemctl", "try-restart", AGENT))
"""The agent can be restarted at any time; nginx and the Emperor take a new unit over when they are started next."""
DEBIAN_UWSGI = Path("/usr/bin/uwsgi")


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the server is to follow: the config repository, and what the person who runs bootstrap has said."""

    url: str
    branch: str = "main"
    labels: Mapping[str, str] = field(default_factory=dict)
    identity: Path | None = None
    host_key: str | None = None


def steps(wanted: Wanted, folder: Path = ETC / "reconciler") -> Iterator[Step]:
    """The steps; each is to be provided before the next one is asked for.

    The way to the repository is tried before anything else is changed, as soon as the programs for it are there.
    """
    address = parse_address(wanted.url)
    over_ssh = address.protocol == "ssh"
    packages = Packages((*PACKAGES, *([SSH_PACKAGE] if over_ssh else []), *_uwsgi_packages()))
    access = None
    if over_ssh:
        access = SshAccess(folder / "ssh", SshServer.of(address.url), wanted.identity, wanted.host_key)
    reaching = Reaching(wanted.url, wanted.branch, access)
    if shutil.which("git") is None or (over_ssh and lacks_ssh()):
        reaching.connect()
        yield packages
    if access is not None:
        yield access
    yield reaching
    yield packages
    yield ExampleSite(ETC, PAGES)
    yield AgentConfiguration(
        folder / "agent.yaml", wanted.url, wanted.branch, wanted.labels, address.authorization is not None
    )
    yield ServiceEnvironment(folder / "environment", os.environ)
    layout = SystemLayout.at()
    # the agent knows of other limits; an Emperor without it could start nothing
    yield FirstProgram(layout.starter, first_start())
    yield OwnFile(folder / "emperor.ini", emperor_configuration(layout))
    yield Files(ACCOUNTS, (("systemd-sysusers",),), {}, ETC)
    yield Files(FOLDERS_AT_BOOT, (("systemd-tmpfiles", "--create", "--prefix=/run", "--prefix=/var"),), {}, ETC)
    yield Files(UNITS, READ_UNITS, _programs(), ETC)


def _programs() -> dict[str, str]:
    """Where the programs of the units are on this server."""
    return {"reconciler": f"{sys.prefix}/bin/reconciler", "pyuwsgi": str(_uwsgi())}


def _uwsgi() -> Path:
    try:
        return find_uwsgi()
    except HostError:
        return DEBIAN_UWSGI


def _uwsgi_packages() -> list[str]:
    return [UWSGI_PACKAGE] if _uwsgi() == DEBIAN_UWSGI else []
