"""Whether the config repository can be read from this server."""

from __future__ import annotations

import os
import shutil
import socket
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from reconciler.host.bootstrapping.ssh_access import SshAccess, SshServer
from reconciler.host.git import Mirrors
from reconciler.host.git_addresses import parse_address
from reconciler.model.errors import HostError, RepositoryUnreachable, RevisionNotFound

CONNECT_SECONDS = 15.0
HTTPS_PORT = 443
PROXIES = ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy")
NOWHERE = Path("/nonexistent")


@dataclass(frozen=True, slots=True)
class Reaching:
    """A check that changes nothing; ``access`` is there for ssh addresses."""

    url: str
    branch: str
    access: SshAccess | None

    def missing(self) -> tuple[str, ...]:
        """Nothing, or :class:`RepositoryUnreachable`, :class:`RevisionNotFound`, :class:`HostError`.

        Without git, or without a key to show, the server is only tried to be connected to.
        """
        if shutil.which("git") is None or (self.access is not None and not self.access.key.exists()):
            self.connect()
        else:
            self._ask()
        return ()

    def provide(self) -> None:
        """Nothing: a check has nothing to provide."""

    def connect(self) -> None:
        """Open a connection to the server and close it again; raises :class:`RepositoryUnreachable`."""
        address = parse_address(self.url)
        if address.protocol == "file":
            return
        if address.protocol == "ssh":
            server = SshServer.of(address.url)
            host, port = server.host, server.port
        else:
            if any(os.environ.get(name) for name in PROXIES):
                return
            parts = urlsplit(address.url)
            host, port = parts.hostname or "", parts.port or HTTPS_PORT
        try:
            socket.create_connection((host, port), CONNECT_SECONDS).close()
        except OSError as error:
            raise RepositoryUnreachable(
                f"{address.shown} cannot be reached: {host} port {port}: {error.strerror or error}",
                hint="check the address, the server and the network between; nothing was changed",
            ) from error

    def _ask(self) -> None:
        try:
            refs = Mirrors(NOWHERE).poll(self.url)
        except RepositoryUnreachable as error:
            if self.access is None or "Permission denied" not in str(error):
                raise
            raise HostError(
                f"{parse_address(self.url).shown} does not let the key of this server in yet",
                hint="give its owner this line as a deploy key that may only read, then run the same command again:\n"
                f"{self.access.public_key}",
            ) from error
        if f"refs/heads/{self.branch}" not in refs.refs:
            raise RevisionNotFound(
                f"{parse_address(self.url).shown} has no branch {self.branch}",
                hint="push one, or name another with --branch",
            )
