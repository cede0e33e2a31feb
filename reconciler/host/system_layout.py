"""Where everything lies in the system profile: the folders of the file system hierarchy standard.

The agent runs as root, every app as an account of its own. A folder that accounts walk through can be entered, not
listed (0711); what belongs to one app has that app's group; what only the agent may see has mode 0700 or 0600.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from reconciler.host.layout import Layout, names_in, vassal_and_kind
from reconciler.model.stage import STORED

ROOT = Path("/")
WALKED_THROUGH = 0o711
PUBLIC = 0o755
PRIVATE = 0o700
AGENT_ONLY = 0o600
WHOLE_APP = "app"
"""The name of the sockets of an app that has one vassal, whatever release it runs."""


@dataclass(frozen=True, slots=True)
class SystemLayout(Layout):
    """The folders of the system profile; ``prefix`` is put before all of them, ``/`` on a real host."""

    prefix: Path = ROOT

    @classmethod
    def at(cls, prefix: Path = ROOT) -> SystemLayout:
        """The layout of a host whose root folder is ``prefix``."""
        return cls(prefix / "var/lib/reconciler", prefix)

    @property
    def cache(self) -> Path:
        """What can be thrown away at any time, such as uv's caches."""
        return self.prefix / "var/cache/reconciler"

    @property
    def logs(self) -> Path:
        """The logs of the apps, nginx's for their sites, and the Emperor's."""
        return self.prefix / "var/log/reconciler"

    @property
    def run(self) -> Path:
        """Sockets and pid files; a reboot empties it."""
        return self.prefix / "run/reconciler"

    @property
    def app_runs(self) -> Path:
        """One folder of sockets per app, in which no other app can make any."""
        return self.run / "apps"

    def app_run(self, app: str) -> Path:
        """The folder of one app's sockets."""
        return self.app_runs / app

    def socket(self, vassal: str, kind: str) -> Path:
        """A socket of a vassal, in its app's own folder and without its name: a path has at most 107 bytes."""
        app, _, release = vassal.partition(".")
        return self.app_run(app) / f"{release or WHOLE_APP}.{kind}"

    def sockets(self) -> list[tuple[str, str, Path]]:
        """What lies where sockets do: the vassal, the kind, the path."""
        found = []
        for app in names_in(self.app_runs):
            for name in names_in(self.app_run(app)):
                release, kind = vassal_and_kind(name)
                vassal = app if release == WHOLE_APP else f"{app}.{release}"
                found.append((vassal, kind, self.app_run(app) / name))
        return found

    @property
    def wrapper(self) -> Path:
        """The program that starts uWSGI for an app, as its account; outside of ``run``, because a reboot needs it."""
        return self.root / "vassal-wrapper"

    @property
    def starter(self) -> Path:
        """The program that the Emperor starts as root: it makes a vassal's confines, and ends in the wrapper."""
        return self.root / "vassal-start"

    @property
    def temporary(self) -> Path:
        """A folder for each app, which it sees as ``/tmp`` and as ``/var/tmp``."""
        return self.root / "tmp"

    @property
    def nginx_home(self) -> Path:
        """nginx's own folder, which the distribution fills."""
        return self.prefix / "etc/nginx"

    @property
    def nginx(self) -> Path:
        """The reconciler's part of nginx's folder: the generation and the sites."""
        return self.nginx_home / "reconciler"

    @property
    def nginx_main(self) -> Path:
        """The file that the distribution's nginx.conf includes."""
        return self.nginx_home / "conf.d/reconciler.conf"

    @property
    def ssh_configuration(self) -> Path:
        """What ssh is told for git; beside it lie the keys and the hosts that are known."""
        return self.prefix / "etc/reconciler/ssh/config"

    @property
    def emperor_configuration(self) -> Path:
        """What the Emperor's unit starts uWSGI with."""
        return self.prefix / "etc/reconciler/emperor.ini"

    @property
    def tmpfiles(self) -> Path:
        """Where systemd is told which folders to make anew after a reboot."""
        return self.prefix / "etc/tmpfiles.d"

    @property
    def dpkg_status(self) -> Path:
        """Where dpkg keeps what it has installed."""
        return self.prefix / "var/lib/dpkg/status"

    @property
    def working_folders(self) -> tuple[Path, ...]:
        """Where a killed pass may leave temporary files, besides the store and the releases."""
        ours = (self.root, self.cache, self.public, self.vassals, self.nginx, self.sites, self.run, self.logs)
        return (*ours, self.nginx_home, self.nginx_main.parent, self.tmpfiles)

    def create(self) -> None:
        """Make the folders that are missing, and give each the mode that keeps apps apart."""
        folders = {
            self.root: PUBLIC,
            self.mirrors: PRIVATE,
            self.cache: WALKED_THROUGH,
            self.store: WALKED_THROUGH,
            **{self.store / stage: WALKED_THROUGH for stage in STORED},
            self.indexes: PRIVATE,
            self.public: PUBLIC,
            self.releases: PUBLIC,
            self.assets: PUBLIC,
            self.acme: WALKED_THROUGH,
            self.challenges: PUBLIC,
            self.root / "shared": WALKED_THROUGH,
            self.temporary: WALKED_THROUGH,
            self.run: PUBLIC,
            self.app_runs: PUBLIC,
            self.vassals: WALKED_THROUGH,
            self.nginx: PUBLIC,
            self.sites: PUBLIC,
            self.logs: WALKED_THROUGH,
        }
        for folder, mode in folders.items():
            folder.mkdir(parents=True, exist_ok=True)
            if folder.stat().st_mode & 0o7777 != mode:
                folder.chmod(mode)
        # the one holds every environment variable of every app; whoever can open the other could hold it
        for file in (self.journal, self.lock):
            os.close(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, AGENT_ONLY))
