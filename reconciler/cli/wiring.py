"""The one place that wires: from a configuration file to a layout, a journal and an engine.

Imports what git, nginx or uWSGI need only when a command asks for an engine, so that the others start at once.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from reconciler.host.configuration_memory import keep, recall
from reconciler.host.files import write_whole
from reconciler.host.layout import Layout
from reconciler.host.system_layout import SystemLayout
from reconciler.model.errors import ConfigurationError, JournalDamaged

if TYPE_CHECKING:
    from reconciler.engine.engine import Engine
    from reconciler.engine.progress import Progress
    from reconciler.host.distribution_uwsgi import DistributionUwsgi
    from reconciler.host.journal import Journal
    from reconciler.host.nginx_server import NginxServer
    from reconciler.host.package_installing import SystemPackages
    from reconciler.host.services import Host
    from reconciler.host.tenants import Tenants
    from reconciler.host.uwsgi import Emperor
    from reconciler.model.configuration import Configuration

CONFIGURATION_VARIABLE = "RECONCILER_CONFIG"
DEFAULT_CONFIGURATION = Path("/etc/reconciler/agent.yaml")
CONFIGURATION_LIMIT_BYTES = 1024 * 1024
TOKEN_BYTES = 16
LOOPBACK = "127.0.0.1"
"""Where the agent asks nginx in the system profile."""


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
        return cls(file, configuration, _layout(configuration, file), None if known else text)

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

    @property
    def age_key(self) -> Path:
        """The file of this host's age key."""
        return self.file.parent.absolute() / self.configuration.secrets.age_key

    @property
    def allowed_signers(self) -> Path | None:
        """The list of keys that guards the config repository."""
        file = self.configuration.repository.allowed_signers
        return None if file is None else self.file.parent.absolute() / file

    def journal(self, *, write: bool = False) -> Journal:
        """The journal, for reading unless asked otherwise."""
        from reconciler.host.journal import Journal  # noqa: PLC0415  `validate` and `schema` have no journal

        return Journal.open(self.layout.journal) if write else Journal.read(self.layout.journal)

    def _journal_to_look(self) -> Journal:
        from reconciler.host.journal import Journal  # noqa: PLC0415

        return Journal.read(self.layout.journal) if self.layout.journal.exists() else Journal.empty()

    def _journal_to_work(self, *, thorough: bool) -> tuple[Journal, str | None]:
        """The journal for writing, and what is to be told of it: who holds the state lock may begin it anew."""
        from reconciler.host.journal import Journal  # noqa: PLC0415
        from reconciler.host.locking import holder_of  # noqa: PLC0415

        try:
            if not thorough:
                return Journal.open(self.layout.journal), None
        except JournalDamaged:
            holder = holder_of(self.layout)
            if holder is None or holder.process != os.getpid():
                raise
        from reconciler.host.journal.renewing import open_or_renew  # noqa: PLC0415  a sound journal is only opened

        journal, renewed = open_or_renew(self.layout.journal, thorough=thorough)
        return journal, None if renewed is None else renewed.message

    def stop_serving(self) -> None:
        """End nginx and the Emperor of this installation, and every app with them."""
        nginx, emperor, _ = self._servers()
        nginx.stop()
        emperor.stop()

    def _servers(self) -> tuple[NginxServer, Emperor, Tenants]:
        """nginx, the Emperor, and who runs the apps, as the profile has them."""
        from reconciler.host.nginx import Nginx, find_nginx  # noqa: PLC0415  brings what only a pass needs
        from reconciler.host.tenants import OwnAccount  # noqa: PLC0415
        from reconciler.host.uwsgi import Emperor, find_uwsgi  # noqa: PLC0415

        layout, token = self.layout, host_token(self.layout)
        if not isinstance(layout, SystemLayout):
            http = self.configuration.http
            nginx = Nginx(layout, find_nginx(), http.address, http.port, token, http.tls_port)
            return nginx, Emperor(layout, find_uwsgi()), OwnAccount()
        from reconciler.host.allowance import Allowance  # noqa: PLC0415
        from reconciler.host.nginx_binary import find_system_nginx  # noqa: PLC0415
        from reconciler.host.system_emperor import SystemEmperor  # noqa: PLC0415
        from reconciler.host.system_nginx import SystemNginx  # noqa: PLC0415
        from reconciler.host.system_tenants import OwnAccounts  # noqa: PLC0415

        system = SystemNginx(layout, find_system_nginx(), token)
        allowance = Allowance.of(self.configuration.limits)
        return system, SystemEmperor(layout, find_uwsgi(), allowance), OwnAccounts(layout, system.group)

    def _packages(self) -> SystemPackages:
        from reconciler.host.package_installing import SystemPackages, find_apt  # noqa: PLC0415

        system = self.configuration.profile == "system"
        return SystemPackages(self.layout.dpkg_status, find_apt(self.layout.logs) if system else None)

    def _distribution_uwsgi(self) -> Callable[[], DistributionUwsgi] | None:
        from reconciler.host.distribution_uwsgi import find_distribution_uwsgi  # noqa: PLC0415

        return find_distribution_uwsgi if self.configuration.uwsgi == "distribution" else None

    @contextmanager
    def engine(
        self, progress: Progress | None = None, *, looking: bool = False, thorough: bool = False
    ) -> Iterator[Engine]:
        """An engine over this host, with everything it holds open closed afterwards.

        ``looking`` is for one who only plans: nothing is written to the journal, which may lie on a read-only disk.
        ``thorough`` looks at every page of the journal first.
        """
        from reconciler.engine.engine import Engine  # noqa: PLC0415  brings git, Jinja2 and SQLite: 250 ms
        from reconciler.engine.progress import Silence  # noqa: PLC0415
        from reconciler.engine.reading import Places, Reader  # noqa: PLC0415

        layout = self.layout
        if isinstance(layout, SystemLayout):
            _prepare_system(layout)
        if not (looking and layout.journal.exists()):
            layout.create()
        if self.unknown is not None:
            keep(layout, self.unknown, self.configuration)
        journal, news = (self._journal_to_look(), None) if looking else self._journal_to_work(thorough=thorough)
        with journal:
            host = self._host()
            labels = dict(self.configuration.host.labels)
            places = Places(self.age_key, self.allowed_signers)
            reader = Reader(self.configuration, host, journal, self.config_address, labels, places)
            try:
                yield Engine(host, journal, reader, progress or Silence(), journal_news=news)
            finally:
                reader.polls.close()
                host.mirrors.close()

    def _host(self) -> Host:
        """What a pass works with, as the profile has it."""
        from reconciler.host.allowance import Allowance  # noqa: PLC0415
        from reconciler.host.git import CheckoutLimits, Mirrors  # noqa: PLC0415
        from reconciler.host.interpreters import Interpreters, for_every_account  # noqa: PLC0415
        from reconciler.host.services import Host  # noqa: PLC0415

        layout, http, limits = self.layout, self.configuration.http, self.configuration.limits
        nginx, emperor, tenants = self._servers()
        system = self.configuration.profile == "system"
        return Host(
            layout=layout,
            mirrors=Mirrors(layout.mirrors, CheckoutLimits(limits.checkout_files, limits.checkout_bytes)),
            interpreters=Interpreters(
                layout.cache / "interpreters.json", usable=for_every_account if system else None
            ),
            nginx=nginx,
            emperor=emperor,
            tenants=tenants,
            address=LOOPBACK if system else http.address,
            port=None if system else http.port,
            token=host_token(layout),
            packages=self._packages(),
            allowance=Allowance.of(limits),
            python_mirror=self.configuration.python.mirror,
            distribution_uwsgi=self._distribution_uwsgi(),
            tls_port=None if system else http.tls_port,
        )


def _read(file: Path, text: bytes) -> Configuration:
    from reconciler.model.configuration_reading import read_configuration  # noqa: PLC0415  pydantic costs 100 ms

    return read_configuration(text[: CONFIGURATION_LIMIT_BYTES + 1], file=str(file))


def _prepare_system(layout: SystemLayout) -> None:
    """Refuse to work without root's rights, and lead git's ssh to the keys of this host's agent."""
    if os.geteuid() != 0:
        raise ConfigurationError("the system profile needs root", hint="run this command with sudo")
    if layout.ssh_configuration.exists() and not {"GIT_SSH", "GIT_SSH_COMMAND"} & os.environ.keys():
        os.environ["GIT_SSH_COMMAND"] = f"ssh -F {layout.ssh_configuration}"


def _layout(configuration: Configuration, file: Path) -> Layout:
    if configuration.profile == "system":
        return SystemLayout.at()
    root = (file.parent / configuration.root).absolute()
    return Layout(Path(os.path.normpath(root)))


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
