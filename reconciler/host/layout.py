"""Where everything lies on this host."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from reconciler.model.stage import OUTPUT_DIGITS

SOCKET_PATH_BYTES = 107
"""The longest path of a unix socket that Linux takes (``sun_path`` has 108 bytes with the final NUL)."""


@dataclass(frozen=True, slots=True)
class Layout:
    """The folders and files of the embedded profile, all below ``root`` (an absolute path)."""

    root: Path

    @property
    def journal(self) -> Path:
        """The SQLite file that remembers what was applied."""
        return self.root / "journal.sqlite3"

    @property
    def lock(self) -> Path:
        """Held by the one reconciler that may change this state folder."""
        return self.root / "lock"

    @property
    def mirrors(self) -> Path:
        """Bare clones, one per repository."""
        return self.root / "mirrors"

    @property
    def cache(self) -> Path:
        """What can be thrown away at any time, such as uv's cache."""
        return self.root / "cache"

    @property
    def store(self) -> Path:
        """Immutable outputs: ``store/<stage>/<digest>``."""
        return self.root / "store"

    def output(self, stage: str, digest: str) -> Path:
        """The output of one stage; its name is the beginning of the digest."""
        return self.store / stage / digest[:OUTPUT_DIGITS]

    @property
    def indexes(self) -> Path:
        """What the files of every output were when it was made; a cache, made anew where it is missing."""
        return self.store / "index"

    def set_aside(self, app: str) -> Path:
        """Files that nobody applied, taken out of the app's release; a folder for each time."""
        return self.root / "set-aside" / app

    @property
    def public(self) -> Path:
        """One link per app, to the release that serves."""
        return self.root / "public"

    def public_link(self, app: str) -> Path:
        """The link through which nginx reaches the app's socket and static files."""
        return self.public / app

    def release(self, app: str, release: str) -> Path:
        """The folder of links that makes up one release."""
        return self.root / "releases" / app / release

    @property
    def releases(self) -> Path:
        """One folder per app, with a folder of links for each release that has a vassal."""
        return self.root / "releases"

    @property
    def assets(self) -> Path:
        """One folder per app: the fingerprinted files of its last releases."""
        return self.root / "assets"

    def old_assets(self, app: str) -> Path:
        """Where pages that are still open in browsers find the fingerprinted files of the app's last releases."""
        return self.assets / app

    def shared(self, app: str) -> Path:
        """The app's files that live longer than a release."""
        return self.root / "shared" / app

    @property
    def run(self) -> Path:
        """Sockets and pid files."""
        return self.root / "run"

    @property
    def control(self) -> Path:
        """The socket through which commands speak to the agent."""
        return self.run / "control.sock"

    def socket(self, vassal: str, kind: str) -> Path:
        """A socket of a vassal; ``kind`` is ``web`` (uwsgi protocol), ``http`` or ``stats``."""
        return self.run / f"{vassal}.{kind}"

    def sockets(self) -> list[tuple[str, str, Path]]:
        """What lies where sockets do: the vassal, the kind, the path."""
        return [(*vassal_and_kind(name), self.run / name) for name in names_in(self.run)]

    @property
    def wrapper(self) -> Path:
        """The program that the Emperor starts in place of uWSGI."""
        return self.run / "vassal-wrapper"

    @property
    def nginx_main(self) -> Path:
        """The file in which nginx finds everything else of the reconciler."""
        return self.nginx / "nginx.conf"

    @property
    def nginx_control(self) -> Path:
        """The socket on which nginx says which files it has read."""
        return self.run / "nginx.control"

    @property
    def emperor_stats(self) -> Path:
        """The socket on which the Emperor tells about its vassals."""
        return self.run / "emperor.stats"

    @property
    def vassals(self) -> Path:
        """The folder that the Emperor watches: ``<vassal>.ini`` and ``<vassal>.env``."""
        return self.root / "vassals"

    @property
    def nginx(self) -> Path:
        """nginx.conf and the folder ``sites``."""
        return self.root / "nginx"

    @property
    def sites(self) -> Path:
        """One file per app, included by nginx.conf."""
        return self.nginx / "sites"

    def site(self, app: str) -> Path:
        """The site file of one app."""
        return self.sites / f"{app}.conf"

    @property
    def pairs(self) -> Path:
        """The certificates that nginx serves with, each with its key."""
        return self.nginx / "tls"

    def pair(self, app: str) -> Path:
        """The certificate and the key that nginx serves an app with, in one file."""
        return self.pairs / f"{app}.pem"

    @property
    def acme(self) -> Path:
        """What certbot keeps, and what it shows to the certificate authority."""
        return self.root / "acme"

    @property
    def challenges(self) -> Path:
        """The folder whose ``.well-known/acme-challenge`` nginx shows to the certificate authority."""
        return self.acme / "webroot"

    @property
    def certbot(self) -> Path:
        """certbot's own folder: its account, the certificates, their keys."""
        return self.acme / "certbot"

    @property
    def logs(self) -> Path:
        """The logs of the apps, nginx and the Emperor."""
        return self.root / "logs"

    def app_log(self, app: str) -> Path:
        """What the app and its uWSGI processes print."""
        return self.logs / f"{app}.log"

    def hooks_log(self, app: str) -> Path:
        """What the app's hooks print, each run between two lines that say which it was and how it ended."""
        return self.logs / f"{app}.hooks.log"

    def access_log(self, app: str) -> Path:
        """The requests that nginx answered for the app."""
        return self.logs / f"{app}.access.log"

    def error_log(self, app: str) -> Path:
        """What nginx complained about for the app."""
        return self.logs / f"{app}.error.log"

    @property
    def dpkg_status(self) -> Path:
        """Where dpkg keeps what it has installed, on a host that has it."""
        return Path("/var/lib/dpkg/status")

    @property
    def working_folders(self) -> tuple[Path, ...]:
        """Where a killed pass may leave temporary files, besides the store and the releases."""
        return (self.cache, self.public, self.vassals, self.nginx, self.sites, self.run, self.logs)

    @property
    def commands(self) -> Path:
        """The names of the apps' commands that run now."""
        return self.run / "commands"

    def create(self) -> None:
        """Make the folders that are missing."""
        for folder in (
            self.mirrors,
            self.cache,
            self.store,
            self.public,
            self.run,
            self.commands,
            self.vassals,
            self.sites,
            self.logs,
        ):
            folder.mkdir(parents=True, exist_ok=True)


def vassal_and_kind(name: str) -> tuple[str, str]:
    """The two parts of the name of a socket's file."""
    vassal, _, kind = name.rpartition(".")
    return vassal, kind


def names_in(folder: Path) -> list[str]:
    """What a folder has, in no order."""
    return os.listdir(folder)  # noqa: PTH208 - names are asked for, of folders with thousands of them
