"""nginx as a daemon of the agent's own, below its state folder."""

from __future__ import annotations

import contextlib
import os
import re
import signal
from collections.abc import Iterator, Mapping
from pathlib import Path

from reconciler.host.daemons import Daemon
from reconciler.host.files import remove_tree, temporary_sibling
from reconciler.host.layout import Layout
from reconciler.host.nginx_binary import find_nginx
from reconciler.host.nginx_server import NginxServer, content_of, generation_text
from reconciler.host.ports import listen_address, refuse_taken
from reconciler.model.configuration import DEFAULT_TLS_PORT
from reconciler.model.errors import HostError

__all__ = ["Nginx", "find_nginx"]

STOP_SECONDS = 10.0
TLS_TAKEN_HINT = "set http.tlsPort in agent.yaml to a free port, or end that process"
LISTENS_TLS = re.compile(r'^\s*listen "([^"]+)" ssl;$', re.MULTILINE)
LISTENS = re.compile(r'^\s*listen "((?!unix:)[^"]+)";$', re.MULTILINE)


class Nginx(NginxServer):
    """nginx below ``layout.nginx``, listening on ``address`` and ``port``, and on ``tls_port`` for sites with TLS."""

    def __init__(
        self, layout: Layout, binary: Path, address: str, port: int, token: str, tls_port: int = DEFAULT_TLS_PORT
    ) -> None:
        super().__init__(layout, binary, token, layout.logs / "nginx.error.log")
        self.address = address
        self.port = port
        self.tls_port = tls_port
        self._daemon = Daemon("nginx", layout.run / "nginx.daemon", layout.logs / "nginx.out.log")

    def stop(self) -> bool:
        """End nginx after the requests that it is answering; ``False`` when it did not run."""
        stopped = self._daemon.stop(signal.SIGQUIT, STOP_SECONDS)
        self.control.unlink(missing_ok=True)
        return stopped

    def _master(self) -> int | None:
        return self._daemon.pid()

    def _main(self, changes: Mapping[str, str | None]) -> str:
        del changes
        # imported only where a pass changes something, so that one without work never loads Jinja2
        from reconciler.host.nginx_configuration import main_configuration  # noqa: PLC0415

        listen = listen_address(self.address, self.port)
        refusing = self._speaks_tls() and "ssl_reject_handshake" in self.capabilities()
        tls_listen = listen_address(self.address, self.tls_port) if refusing else ""
        return main_configuration(self.layout, listen, self.token, self.control, self.capabilities(), tls_listen)

    def _speaks_tls(self) -> bool:
        """Whether a site has a certificate."""
        with contextlib.suppress(FileNotFoundError), os.scandir(self.layout.pairs) as pairs:
            return any(pair.name.endswith(".pem") for pair in pairs)
        return False

    @contextlib.contextmanager
    def _candidate(self, changes: Mapping[str, str | None]) -> Iterator[Path]:
        """A folder beside the live files that holds what they would be."""
        (self.layout.nginx / "temp").mkdir(parents=True, exist_ok=True)
        folder = temporary_sibling(self.configuration)
        sites = folder / "sites"
        folder.mkdir(mode=0o700)
        sites.mkdir()
        try:
            with os.scandir(self.layout.sites) as live:
                for entry in live:
                    if entry.name.endswith(".conf") and entry.name not in changes:
                        os.link(entry.path, sites / entry.name)
            for name, content in changes.items():
                if content is not None:
                    (sites / name).write_text(content, encoding="utf-8")
            (folder / "generation.conf").write_text(generation_text("candidate"))
            (folder / "nginx.conf").write_text(self._main(changes))
            yield folder
        finally:
            remove_tree(folder)

    def _test_arguments(self, folder: Path) -> list[str]:
        return ["-p", f"{self.layout.nginx}/", "-c", str(folder / "nginx.conf")]

    def _before_change(self, different: Mapping[Path, str | None]) -> None:
        (self.layout.nginx / "temp").mkdir(parents=True, exist_ok=True)
        if not self.running():
            # workers outlive a master that was killed, and hold its address
            self._daemon.end_orphans(self.binary.resolve(), signal.SIGQUIT, STOP_SECONDS)
            refuse_taken(self.address, self.port)
            if self._speaks_tls():
                refuse_taken(self.address, self.tls_port, hint=TLS_TAKEN_HINT)
        elif self.configuration in different:
            self._refuse_taken()
            self._refuse_tls_taken(different[self.configuration] or "")

    def _start(self) -> None:
        # left over by an nginx that was killed; a socket file cannot be bound twice
        self.control.unlink(missing_ok=True)
        command = [str(self.binary), "-p", f"{self.layout.nginx}/", "-c", str(self.configuration)]
        if "error_log_argument" in self.capabilities():
            command += ["-e", str(self.error_log)]
        self._daemon.start(command)

    def _reload(self) -> None:
        self._daemon.send(signal.SIGHUP)

    def _refuse_tls_taken(self, wanted: str) -> None:
        listens = LISTENS_TLS.findall(wanted)
        if listens and listens != LISTENS_TLS.findall(content_of(self.configuration) or ""):
            refuse_taken(self.address, self.tls_port, hint=TLS_TAKEN_HINT)

    def _refuse_taken(self) -> None:
        live = LISTENS.search(content_of(self.configuration) or "")
        if live is not None and live[1] == listen_address(self.address, self.port):
            return
        try:
            refuse_taken(self.address, self.port)
        except HostError as error:
            if live is not None:
                error.message += f"; nginx goes on to answer at {live[1]}"
            raise
