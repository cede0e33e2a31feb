"""A state folder with a real nginx and a real Emperor, and small apps to serve; everything that starts is stopped."""

from __future__ import annotations

import contextlib
import shutil
import signal
import socket
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import httpx

from reconciler.host.layout import Layout
from reconciler.host.nginx import Nginx, find_nginx
from reconciler.host.probing import PLAIN
from reconciler.host.releases import lay_out_release, switch, write_vassal
from reconciler.host.templates import default_template
from reconciler.host.uwsgi import Emperor, find_uwsgi, render_environment, wait_until_ready
from reconciler.model.rendering import render

TOKEN = "0123456789abcdef"
ADDRESS = "127.0.0.1"

APP = """
import json, os, time

def app(environ, start_response):
    path = environ["PATH_INFO"]
    if path == "/slow":
        time.sleep(1.0)
    status = "500 Internal Server Error" if path == "/broken" else "200 OK"
    start_response(status, [("Content-Type", "application/json")])
    names = [name for name in os.environ if name.startswith(("TEST_", "RECONCILER_"))]
    asked = {name: str(value) for name, value in environ.items() if name.startswith(("HTTP_", "SERVER_"))}
    return [json.dumps({"environment": {name: os.environ[name] for name in names}, "asked": asked}).encode()]
"""


@contextlib.contextmanager
def state_folder() -> Iterator[Layout]:
    """An empty layout below a folder whose path is short enough for sockets."""
    root = Path(tempfile.mkdtemp(prefix="r-"))
    try:
        layout = Layout(root)
        layout.create()
        yield layout
    finally:
        shutil.rmtree(root, ignore_errors=True)


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.socket() as trial:
        trial.bind((ADDRESS, 0))
        return int(trial.getsockname()[1])


@dataclass(frozen=True)
class Served:
    """One state folder's nginx and Emperor, not started yet."""

    layout: Layout
    nginx: Nginx
    emperor: Emperor

    def site(self, app: str, names: tuple[str, ...] = (), **context: object) -> dict[str, str]:
        """The rendered site file of an app."""
        public = self.layout.public_link(app)
        values: dict[str, object] = {
            "app": app,
            "listen": [f"{ADDRESS}:{self.nginx.port}"],
            "server_names": list(names),
            "default_server": not names,
            "client_max_body_size": "1m",
            "access_log": str(self.layout.logs / f"{app}.access.log"),
            "error_log": str(self.layout.logs / f"{app}.error.log"),
            "static": [],
            "old_assets": str(self.layout.old_assets(app)),
            "uwsgi_socket": f"{public}/web",
            "http2": False,
            "tls": None,
            "acme": None,
            "features": sorted(self.nginx.capabilities()),
        }
        return {f"{app}.conf": render(default_template("site.conf.j2"), {**values, **context}, name="site.conf.j2")}

    def write(
        self,
        vassal: str,
        source: str = APP,
        *,
        release: str = "r1",
        env: Mapping[str, str] | None = None,
        options: Mapping[str, list[str]] | None = None,
    ) -> int:
        """Write an app and its vassal; returns the size of the app's log before that."""
        folder = self.layout.root / "apps" / vassal / release
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "wsgi.py").write_text(source)
        context: dict[str, object] = {
            "vassal": vassal,
            "app": vassal,
            "release": release,
            "chdir": str(folder),
            "module": "wsgi:app",
            "virtualenv": sys.prefix,
            "processes": 2,
            "threads": 2,
            "options": options or {},
            "web_socket": str(self.layout.socket(vassal, "web")),
            "http_socket": str(self.layout.socket(vassal, "http")),
            "stats_socket": str(self.layout.socket(vassal, "stats")),
            "log": str(self.layout.app_log(vassal)),
        }
        ini = render(default_template("vassal.ini.j2"), context, name="vassal.ini.j2")
        log = self.layout.app_log(vassal)
        position = log.stat().st_size if log.exists() else 0
        write_vassal(self.layout, vassal, ini, render_environment(env or {}, find_uwsgi()))
        return position

    def wait(self, vassal: str, position: int = 0, *, release: str = "r1", seconds: float = 20) -> None:
        """Wait until the vassal is ready."""
        wait_until_ready(
            self.emperor,
            vassal,
            stats=self.layout.socket(vassal, "stats"),
            http=self.layout.socket(vassal, "http"),
            log=self.layout.app_log(vassal),
            log_position=position,
            release=release,
            deadline=time.monotonic() + seconds,
        )

    def start(
        self, vassal: str, source: str = APP, release: str = "r1", env: Mapping[str, str] | None = None
    ) -> None:
        """Write a vassal and wait until it is ready."""
        self.emperor.ensure_running()
        self.wait(vassal, self.write(vassal, source, release=release, env=env), release=release)

    def publish(self, app: str, vassal: str, release: str, static: Path | None = None) -> None:
        """Lead the app's public path to a vassal."""
        static = static or self.layout.root / "apps"
        web = self.layout.socket(vassal, "web")
        lay_out_release(self.layout, app, release, web=web, static=static, folder=self.layout.root / "apps")
        switch(self.layout, app, release)

    def get(self, path: str, host: str = "a.example.com", **headers: str) -> httpx.Response:
        """A request through nginx."""
        sent = {"Host": host, "Accept-Encoding": "identity", **headers}
        # the raw path, because a client that tidies up ".." would hide what nginx does about it
        request = httpx.Request(
            "GET", f"http://{ADDRESS}:{self.nginx.port}", headers=sent, extensions={"target": path.encode()}
        )
        with httpx.Client(trust_env=False, verify=PLAIN) as client:
            return client.send(request)

    def ask(self, vassal: str, path: str = "/") -> httpx.Response:
        """A request to a vassal's own socket."""
        transport = httpx.HTTPTransport(uds=str(self.layout.socket(vassal, "http")), verify=PLAIN)
        with httpx.Client(transport=transport, trust_env=False, timeout=20) as client:
            return client.get(f"http://localhost{path}")


@contextlib.contextmanager
def serving() -> Iterator[Served]:
    """A state folder whose daemons are stopped at the end."""
    with state_folder() as layout:
        nginx = Nginx(layout, find_nginx(), ADDRESS, free_port(), TOKEN)
        emperor = Emperor(layout, find_uwsgi())
        try:
            yield Served(layout, nginx, emperor)
        finally:
            nginx.stop()
            # the Emperor takes two seconds to end by itself; killed, it takes its vassals with it
            emperor._daemon.stop(signal.SIGKILL, 10)


def eventually(condition: Callable[[], bool], what: str, seconds: float = 20) -> None:
    """Wait for a condition, and fail with ``what`` when it does not come true."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"{what} did not happen within {seconds} s")
        time.sleep(0.01)
