"""The system profile below a folder, with real accounts, nginx and a real Emperor; only systemd is missing.

Units are daemons here. What systemd itself does, and accounts that are made, is shown in a container
(``tests_system``).
"""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import examples
from reconciler.cli.wiring import Installation, host_token
from reconciler.engine.engine import Engine
from reconciler.host.allowance import Allowance
from reconciler.host.daemons import Daemon
from reconciler.host.locking import state_lock
from reconciler.host.nginx import find_nginx
from reconciler.host.processes import run
from reconciler.host.system_emperor import SystemEmperor, emperor_configuration
from reconciler.host.system_layout import SystemLayout
from reconciler.host.system_nginx import SystemNginx
from reconciler.host.system_tenants import OwnAccounts
from reconciler.host.systemd import Unit
from reconciler.host.uwsgi import find_uwsgi
from reconciler.model.errors import CommandFailed, HostError
from world import World, free_port

NGINX_CONF = """\
user www-data;
worker_processes 2;
pid {prefix}/run/nginx.pid;
error_log {prefix}/var/log/nginx/error.log;

events {{
	worker_connections 768;
}}

http {{
	sendfile on;
	include {prefix}/etc/nginx/mime.types;
	default_type application/octet-stream;
	access_log {prefix}/var/log/nginx/access.log;
	gzip on;
	client_body_temp_path {prefix}/var/lib/nginx/body;
	uwsgi_temp_path {prefix}/var/lib/nginx/uwsgi;
	proxy_temp_path {prefix}/var/lib/nginx/proxy;
	fastcgi_temp_path {prefix}/var/lib/nginx/fastcgi;
	scgi_temp_path {prefix}/var/lib/nginx/scgi;

	include {prefix}/etc/nginx/conf.d/*.conf;
	include {prefix}/etc/nginx/sites-enabled/*;
}}
"""
MIME_TYPES = "types { text/html html; text/css css; text/plain txt; }\n"


class DaemonUnit(Unit):
    """A unit whose daemon is started by the tests."""

    def __init__(self, name: str, daemon: Daemon, command: tuple[str, ...], check: tuple[str, ...] = ()) -> None:
        super().__init__(name)
        self.daemon = daemon
        self.command = command
        self.check = check

    def pid(self) -> int | None:
        """The daemon's process."""
        return self.daemon.pid()

    def start(self) -> None:
        """Check, and start the daemon."""
        self._check()
        self.daemon.start(self.command)

    def stop(self) -> bool:
        """Kill the daemon; the Emperor takes its vassals with it."""
        return self.daemon.stop(signal.SIGKILL, 10)

    def reload(self) -> None:
        """Check, and let the daemon read its files again."""
        self._check()
        self.daemon.send(signal.SIGHUP)

    def _check(self) -> None:
        if self.check:
            try:
                run(self.check, timeout=30)
            except CommandFailed as error:
                raise HostError(f"{self.name} does not start: {error.tail}") from error


@dataclass
class SystemWorld(World):
    """One host in the system profile below ``prefix``."""

    @property
    def layout(self) -> SystemLayout:
        """Where everything lies."""
        return SystemLayout.at(self.home / "h")

    def prepare(self) -> None:
        """Lay out what the distribution's nginx would bring."""
        self.home.chmod(0o755)
        prefix = self.layout.prefix
        for folder in ("etc/nginx/conf.d", "etc/nginx/sites-enabled", "etc/reconciler", "var/log/nginx",
                       "var/lib/nginx", "run"):  # fmt: skip
            (prefix / folder).mkdir(parents=True)
        (prefix / "etc/nginx/nginx.conf").write_text(NGINX_CONF.format(prefix=prefix))
        (prefix / "etc/nginx/mime.types").write_text(MIME_TYPES)
        self.layout.create()
        self.layout.emperor_configuration.write_text(emperor_configuration(self.layout))
        self.configure()

    def configure(self, **more: str) -> None:
        """Write agent.yaml; ``more`` adds or replaces top-level keys, as YAML flow text."""
        values = {"profile": "system", "repository": "{url: ./c, branch: main, interval: 1s}", **more}
        self.agent_file.write_text("".join(f"{key}: {value}\n" for key, value in values.items()))

    @property
    def nginx_unit(self) -> DaemonUnit:
        """nginx."""
        prefix, binary = self.layout.prefix, str(find_nginx())
        base = (binary, "-c", str(self.layout.nginx_home / "nginx.conf"), "-g")
        daemon = Daemon("nginx", prefix / "run/nginx.daemon", prefix / "var/log/nginx/out.log")
        return DaemonUnit("nginx.service", daemon, (*base, "daemon off;"), (*base, "daemon off;", "-t", "-q"))

    @property
    def emperor_unit(self) -> DaemonUnit:
        """The Emperor."""
        daemon = Daemon("emperor", self.layout.run / "emperor.daemon", self.layout.logs / "emperor.out.log")
        command = (str(find_uwsgi()), "--ini", str(self.layout.emperor_configuration))
        return DaemonUnit("reconciler-emperor.service", daemon, command)

    @contextmanager
    def engine(self) -> Iterator[Engine]:
        """An engine as ``reconciler once`` makes it, with units that need no systemd."""
        loaded = Installation.load(self.agent_file)
        installation = LaidOut(loaded.file, loaded.configuration, self.layout, world=self)
        with state_lock(installation.layout), installation.engine() as engine:
            yield engine

    def end(self) -> None:
        """End both servers."""
        self.nginx_unit.stop()
        self.emperor_unit.stop()
        super().end()


@dataclass(frozen=True, kw_only=True)
class LaidOut(Installation):
    """An installation of the system profile below a folder."""

    world: SystemWorld

    def _servers(self) -> tuple[SystemNginx, SystemEmperor, OwnAccounts]:
        layout = self.world.layout
        nginx = SystemNginx(layout, find_nginx(), host_token(layout), self.world.nginx_unit)
        emperor = SystemEmperor(
            layout, find_uwsgi(), Allowance.of(self.configuration.limits), self.world.emperor_unit
        )
        return nginx, emperor, OwnAccounts(layout, nginx.group)


@contextmanager
def new_system_world() -> Iterator[SystemWorld]:
    """A world that ends with everything in it."""
    home = Path(tempfile.mkdtemp(prefix="rs-"))
    world = SystemWorld(home, free_port())
    try:
        examples.new_repository(world.config)
        world.prepare()
        yield world
    finally:
        world.end()
        shutil.rmtree(home, ignore_errors=True)


def is_root() -> bool:
    """Whether accounts can be changed at all."""
    return os.geteuid() == 0
