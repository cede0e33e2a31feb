"""A small world for tests: a config repository, an agent's configuration, real nginx and uWSGI, a way to ask them."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

import built
import canary
import examples
from reconciler.cli.wiring import Installation
from reconciler.engine.engine import Engine
from reconciler.engine.results import AppResult, PassResult
from reconciler.host.locking import state_lock
from reconciler.host.probing import PLAIN

ANSWER_SECONDS = 10.0

WSGI = '''"""A WSGI application without dependencies."""
import os

GREETING = {greeting!r}


def app(environ, start_response):
    if environ["PATH_INFO"] == "/missing":
        start_response("404 Not Found", [("Content-Type", "text/plain")])
        return [b"nothing here"]
    start_response("200 OK", [("Content-Type", "text/plain"), ("X-Greeting", GREETING)])
    return [f"{{GREETING}} {{os.environ.get('COLOUR', '')}}".strip().encode()]
'''


def wsgi_app(greeting: str) -> str:
    """The source of an app that greets."""
    return WSGI.format(greeting=greeting)


def manifest(name: str, **spec: Any) -> str:
    """A manifest of an app in ``apps/<name>`` of the config repository; ``spec`` replaces or adds top-level keys."""
    import yaml

    values: dict[str, Any] = {
        "source": {"repository": ".", "directory": f"apps/{name}"},
        "uwsgi": {"module": "wsgi:app", "processes": 1, "threads": 2},
        "nginx": {"serverNames": [f"{name}.example.com"]},
    }
    for key, value in spec.items():
        values[key] = {**values[key], **value} if key in values and isinstance(value, dict) else value
    document = {"apiVersion": "reconciler/v1", "kind": "App", "metadata": {"name": name}, "spec": values}
    return yaml.safe_dump(document, sort_keys=False)


def free_port() -> int:
    """A port on loopback that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass
class World:
    """One host in a temporary folder."""

    home: Path
    port: int = field(default_factory=free_port)
    canary: bool = False
    """Whether apps that :meth:`add_app` adds have the secret that is searched for everywhere."""
    tls_port: int = field(default_factory=free_port)

    @property
    def config(self) -> Path:
        """The working tree of the config repository."""
        return self.home / "c"

    @property
    def root(self) -> Path:
        """The agent's state folder."""
        return self.home / "v"

    @property
    def agent_file(self) -> Path:
        """The agent's configuration."""
        return self.home / "agent.yaml"

    def configure(self, **more: str) -> None:
        """Write agent.yaml; ``more`` adds or replaces top-level keys, as YAML flow text."""
        values = {
            "profile": "embedded",
            "root": "./v",
            "repository": "{url: ./c, branch: main, interval: 1s}",
            "http": f"{{address: 127.0.0.1, port: {self.port}, tlsPort: {self.tls_port}}}",
            **more,
        }
        self.agent_file.write_text("".join(f"{key}: {value}\n" for key, value in values.items()))

    def commit(self, files: Mapping[str, str | None], message: str = "Change") -> str:
        """Write files (``None`` removes one) and commit them."""
        return examples.write_and_commit(self.config, files, message)

    def add_app(
        self, name: str, greeting: str = "hello", *, files: Mapping[str, str] | None = None, **spec: Any
    ) -> str:
        """Commit an app and its manifest."""
        own = {f"apps/{name}/{path}": text for path, text in (files or {}).items()}
        if self.canary and "secrets" not in spec and (secret := canary.provide(self.home)):
            own |= secret
            spec["secrets"] = canary.REFERENCES
        return self.commit(
            {f"apps/{name}/wsgi.py": wsgi_app(greeting), f"manifests/{name}.yaml": manifest(name, **spec), **own},
            f"Add {name}",
        )

    @contextmanager
    def engine(self) -> Iterator[Engine]:
        """An engine as ``reconciler once`` makes it."""
        installation = Installation.load(self.agent_file)
        installation.layout.create()
        with state_lock(installation.layout), installation.engine() as engine:
            yield engine

    def once(self) -> PassResult:
        """One pass, by a new engine."""
        with self.engine() as engine:
            return shown(engine.reconcile("test"))

    def plan(self) -> PassResult:
        """What a pass would do."""
        with Installation.load(self.agent_file).engine(looking=True) as engine:
            return shown(engine.plan())

    def get(self, path: str = "/", host: str = "", **headers: str) -> httpx.Response:
        """Ask nginx as a visitor would."""
        with httpx.Client(trust_env=False, timeout=ANSWER_SECONDS, verify=PLAIN) as client:
            return client.get(f"http://127.0.0.1:{self.port}{path}", headers={"Host": host or "localhost", **headers})

    def text(self, host: str, path: str = "/") -> str:
        """The page of an app."""
        return self.get(path, host).text

    def unsettle(self) -> None:
        """Take away what was built before, unless a pass has made it its own: an agent tells what nobody made."""
        if not (self.root / "journal.sqlite3").exists():
            shutil.rmtree(self.root, ignore_errors=True)

    def stop(self) -> None:
        """End nginx and the Emperor of this world."""
        installation = Installation.load(self.agent_file)
        if installation.layout.run.is_dir():
            installation.stop_serving()

    def end(self) -> None:
        """End every process of this world at once; waiting for graceful ends would take seconds of each test."""
        sessions = set()
        told = False
        for record in (self.root / "run" / "emperor.pid", self.root / "run" / "nginx.daemon"):
            if record.exists() and (words := record.read_text().split()) and not _given_away(*words[:2]):
                sessions.add(int(words[0]))
        for process in Path("/proc").iterdir():
            if not process.name.isdecimal() or int(process.name) == os.getpid():
                continue
            with suppress(OSError, ValueError, IndexError):
                session = int((process / "stat").read_text().rpartition(")")[2].split()[3])
                arguments = (process / "cmdline").read_bytes()
                ours = f"{self.home}/".encode() in arguments
                if ours or session in sessions:
                    told |= canary.MARK.encode() in arguments
                    os.kill(int(process.name), signal.SIGKILL)
        assert not told, "a process has the canary among its arguments"


def _given_away(pid: str, started: str) -> bool:
    """Whether the number of a daemon that ended is another process's by now, maybe one of another world's."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19] != started
    except OSError:
        return False


def shown(result: PassResult) -> PassResult:
    """The result, once nothing that is shown of it is secret."""
    canary.refuse(f"{result!r} {[app.as_json(with_diff=True) for app in result.apps]}", "the result of a pass")
    return result


def ran(result: AppResult) -> set[str]:
    """The stages that had work."""
    return {change.stage.value for change in result.plan.changes if change.needed}


def of(result: PassResult, app: str) -> AppResult:
    """One app's part of a pass."""
    return next(entry for entry in result.apps if entry.app == app)


@contextmanager
def new_world(*, settled: bool = False) -> Iterator[World]:
    """A world that ends with everything in it; its path is short, because unix sockets need that.

    On a ``settled`` one the environment of an app without requirements is there already.
    """
    home = Path(tempfile.mkdtemp(prefix="rw-"))
    world = World(home)
    try:
        examples.new_repository(world.config)
        world.configure()
        if settled:
            built.provide(world.root)
        yield world
        world.end()
        if settled:
            built.keep(world.root)
        canary.search(world.root)
    finally:
        world.end()
        shutil.rmtree(home, ignore_errors=True)
