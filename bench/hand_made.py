"""A server as people make it by hand: one nginx, one uWSGI Emperor, one site file and one vassal file."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import examples
from bench.asking import await_text, stop_below
from reconciler.host.nginx import find_nginx
from reconciler.host.uwsgi import find_uwsgi
from world import free_port

TEMPLATES = Path(__file__).parent / "by_hand"
HOST = "blog.example.com"
NGINX = """\
{user}pid {home}/nginx.pid;
error_log {home}/nginx.log;
worker_processes 2;
events {{ worker_connections 4096; }}
http {{
    access_log off;
    client_body_temp_path {home}/body;
    uwsgi_temp_path {home}/temp;
    proxy_temp_path {home}/temp;
    fastcgi_temp_path {home}/temp;
    scgi_temp_path {home}/temp;
    include {home}/sites/*.conf;
}}
"""
PARAMETERS = {
    "QUERY_STRING": "$query_string",
    "REQUEST_METHOD": "$request_method",
    "CONTENT_TYPE": "$content_type",
    "CONTENT_LENGTH": "$content_length",
    "REQUEST_URI": "$request_uri",
    "PATH_INFO": "$document_uri",
    "SERVER_PROTOCOL": "$server_protocol",
    "REMOTE_ADDR": "$remote_addr",
    "SERVER_PORT": "$server_port",
    "SERVER_NAME": "$server_name",
}
WRAPPER = """\
#!/bin/sh
# uWSGI passes more than the name of the vassal when it starts itself again
for configuration do :; done
exec {uwsgi} --ini "$configuration"
"""
START_SECONDS = 20.0


@dataclass(frozen=True)
class HandMade:
    """The folder of one such server, and the repository that is deployed to it."""

    home: Path
    port: int

    @property
    def origin(self) -> Path:
        """The repository: the app, the playbook, the deploy script and their templates."""
        return self.home / "origin"

    @property
    def vassal(self) -> Path:
        """The one file of the app's uWSGI."""
        return self.home / "vassals" / "blog.ini"

    def commit(self, files: Mapping[str, str | None]) -> str:
        """Change the repository."""
        return examples.write_and_commit(self.origin, files, "Change")

    def start(self) -> None:
        """Start nginx and the Emperor."""
        for folder in ("sites", "vassals", "static", "temp"):
            (self.home / folder).mkdir(exist_ok=True)
        # its workers, who are nobody by themselves, have to reach into the folder
        user = "user root;\n" if os.geteuid() == 0 else ""
        (self.home / "nginx.conf").write_text(NGINX.format(home=self.home, user=user))
        parameters = "".join(f"uwsgi_param {name} {value};\n" for name, value in PARAMETERS.items())
        (self.home / "uwsgi_params").write_text(parameters)
        subprocess.run([find_nginx(), "-c", self.home / "nginx.conf"], check=True, timeout=START_SECONDS)
        wrapper = self.home / "uwsgi"
        wrapper.write_text(WRAPPER.format(uwsgi=find_uwsgi()))
        wrapper.chmod(0o755)
        options = ("--emperor", str(self.home / "vassals"), "--emperor-freq", "1", "--emperor-wrapper", str(wrapper))
        log = (self.home / "emperor.log").open("wb")
        with log:
            subprocess.Popen(
                (find_uwsgi(), *options), stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )

    def reload_nginx(self) -> None:
        """Let nginx read its site files."""
        command = (find_nginx(), "-s", "reload", "-c", self.home / "nginx.conf")
        subprocess.run(command, check=True, timeout=START_SECONDS, capture_output=True)

    def forget(self) -> None:
        """Back to a server on which nothing was ever deployed."""
        self.vassal.unlink(missing_ok=True)
        deadline = time.monotonic() + START_SECONDS
        while (self.home / "blog.sock").exists() and self.answers() and time.monotonic() < deadline:
            time.sleep(0.05)
        (self.home / "sites" / "blog.conf").unlink(missing_ok=True)
        for folder in ("source", "environment", "static", "pull"):
            shutil.rmtree(self.home / folder, ignore_errors=True)
        (self.home / "static").mkdir()

    def answers(self) -> bool:
        """Whether the app serves."""
        with suppress(TimeoutError):
            await_text(self.port, HOST, "", seconds=0.0)
            return True
        return False


@contextmanager
def hand_made(files: Mapping[str, str]) -> Iterator[HandMade]:
    """Such a server with ``files`` in its repository; stopped at the end."""
    home = Path(tempfile.mkdtemp(prefix="rh-"))
    server = HandMade(home, free_port())
    try:
        examples.new_repository(server.origin)
        for template in TEMPLATES.iterdir():
            if template.is_file():
                shutil.copy(template, server.origin)
        server.commit(dict(files))
        server.start()
        yield server
    finally:
        stop_below(home)
        shutil.rmtree(home, ignore_errors=True)
