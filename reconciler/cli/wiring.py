"""The one place that wires: from a configuration file to a layout, a journal and an engine.

Imports what git, nginx or uWSGI need only when a command asks for an engine, so that the others start at once.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from reconciler.host.configuration_memory import keep, recall
from reconciler.host.files import write_whole
from reconciler.host.layout import Layout
from reconciler.model.errors import ConfigurationError

if TYPE_CHECKING:
    from reconciler.engine.engine import Engine
    from reconciler.engine.progress import Progress
    from reconciler.host.journal import Journal
    from reconciler.model.configuration import Configuration

CONFIGURATION_VARIABLE = "RECONCILER_CONFIG"
DEFAULT_CONFIGURATION = Path("/etc/reconciler/agent.yaml")
CONFIGURATION_LIMIT_BYTES = 1024 * 1024
TOKEN_BYTES = 16


def find_configuration(given: Path | None) -> Path:
    """The configuration file: ``-c FILE``, else ``RECONCILER_CONFIG``, else the one in ``/etc``."""
    if given is not None:
        return given
    named = os.environ.get(CONFIGURATION_VARIABLE)
    return Path(named) if named else DEFAULT_CONFIGURATION


@dataclass(frozen=True, slots=True)
class Installation:
    """A configuration and the folders that it leads to; ``unknown`` is its text where it had to be checked."""

    file: Path
    configuration: Configuration
    layout: Layout
    unknown: bytes | None = None

    @classmethod
    def load(cls, given: Path | None) -> Installation:
        """Read the configuration; its relative paths start at its own folder."""
        file = find_configuration(given)
        try:
            text = file.read_bytes()
        except FileNotFoundError as error:
            raise ConfigurationError(
                f"there is no configuration at {file}",
                hint="name one with -c FILE, or make one with `reconciler init DIR`",
            ) from error
        except OSError as error:
            raise ConfigurationError(f"{file} cannot be read: {error.strerror}") from error
        known = recall(file, text)
        configuration = known or _read(file, text)
        root = (file.parent / configuration.root).absolute()
        return cls(file, configuration, Layout(Path(os.path.normpath(root))), None if known else text)

    @property
    def host_name(self) -> str:
        """The name of this host."""
        return self.configuration.host.name or socket.gethostname()

    @property
    def config_address(self) -> str:
        """The address of the config repository; a relative path starts at the configuration's folder."""
        url = self.configuration.repository.url
        if "://" in url or url.startswith("/") or _is_ssh(url):
            return url
        return os.path.normpath(self.file.parent.absolute() / url)

    def journal(self, *, write: bool = False) -> Journal:
        """The journal, for reading unless asked otherwise."""
        from reconciler.host.journal import Journal  # noqa: PLC0415  `validate` and `schema` have no journal

        return Journal.open(self.layout.journal) if write else Journal.read(self.layout.journal)

    def stop_serving(self) -> None:
        """End nginx and the Emperor of this installation, and every app with them."""
        from reconciler.host.nginx import Nginx, find_nginx  # noqa: PLC0415  only `demo --stop` and tests end them
        from reconciler.host.uwsgi import Emperor, find_uwsgi  # noqa: PLC0415

        http = self.configuration.http
        Nginx(self.layout, find_nginx(), http.address, http.port, host_token(self.layout)).stop()
        Emperor(self.layout, find_uwsgi()).stop()

    @contextmanager
    def engine(self, progress: Progress | None = None) -> Iterator[Engine]:
        """An engine over this host, with everything it holds open closed afterwards."""
        from reconciler.engine.engine import Engine  # noqa: PLC0415  brings git, Jinja2 and SQLite: 250 ms
        from reconciler.engine.progress import Silence  # noqa: PLC0415
        from reconciler.engine.reading import Reader  # noqa: PLC0415
        from reconciler.host.git import Mirrors  # noqa: PLC0415
        from reconciler.host.interpreters import Interpreters  # noqa: PLC0415
        from reconciler.host.nginx import Nginx, find_nginx  # noqa: PLC0415
        from reconciler.host.services import Host  # noqa: PLC0415
        from reconciler.host.uwsgi import Emperor, find_uwsgi  # noqa: PLC0415

        layout, http = self.layout, self.configuration.http
        layout.create()
        if self.unknown is not None:
            keep(layout, self.unknown, self.configuration)
        with self.journal(write=True) as journal:
            token = host_token(layout)
            mirrors = Mirrors(layout.mirrors)
            host = Host(
                layout,
                mirrors,
                Interpreters(layout.cache / "interpreters.json"),
                Nginx(layout, find_nginx(), http.address, http.port, token),
                Emperor(layout, find_uwsgi()),
                http.address,
                http.port,
                token,
            )
            labels = dict(self.configuration.host.labels)
            reader = Reader(self.configuration, host, journal, self.config_address, labels)
            try:
                yield Engine(host, journal, reader, progress or Silence())
            finally:
                mirrors.close()


def _read(file: Path, text: bytes) -> Configuration:
    from reconciler.model.configuration_reading import read_configuration  # noqa: PLC0415  pydantic costs 100 ms

    return read_configuration(text[: CONFIGURATION_LIMIT_BYTES + 1], file=str(file))


def host_token(layout: Layout) -> str:
    """What the agent shows to nginx to be told which release answered; made once per state folder."""
    file = layout.root / "probe-token"
    try:
        return file.read_text("ascii").strip()
    except FileNotFoundError:
        token = os.urandom(TOKEN_BYTES).hex()
        write_whole(file, f"{token}\n", mode=0o600)
        return token


def _is_ssh(url: str) -> bool:
    host, colon, _ = url.partition(":")
    return bool(colon) and "@" in host and "/" not in host
