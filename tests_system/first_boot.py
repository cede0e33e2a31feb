"""What a provider and a repository's server have prepared before a server is switched on for the first time."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from image import CHECKOUT
from story import GIT_USER, URL

COMMAND_SECONDS = 30.0
SEED = "var/lib/cloud/seed/nocloud"
GIT_NUMBER = 990
"""The account of the repository's server, which is the same machine here."""
PROVIDER = """datasource_list: [NoCloud, None]
# the key of the repositories' server is known before the first boot
ssh_deletekeys: false
network: {config: disabled}
locale: C.UTF-8
"""
WHO = {
    name: value
    for role in ("AUTHOR", "COMMITTER")
    for name, value in ((f"GIT_{role}_NAME", "Developer"), (f"GIT_{role}_EMAIL", "developer@example.com"))
}


@dataclass(frozen=True)
class Keys:
    """A deploy key and the known hosts of the person who makes the user-data, in files."""

    folder: Path
    image: Path

    @property
    def deploy_key(self) -> Path:
        """The private half, made when it is asked for."""
        file = self.folder / "deploy-key"
        if not file.exists():
            _run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "deploy", "-f", str(file))
        return file

    @property
    def known_hosts(self) -> Path:
        """The key of the repositories' server."""
        file = self.folder / "known-hosts"
        shown = (self.image / "etc/ssh/ssh_host_ed25519_key.pub").read_text().split()
        file.write_text(f"localhost {shown[0]} {shown[1]}\n")
        return file


def user_data(keys: Keys, package: str, *options: str) -> str:
    """What ``reconciler init --cloud-init`` prints on the person's machine."""
    given = ("--repository", URL, "--package", package, "--deploy-key", str(keys.deploy_key))
    known = ("--known-hosts", str(keys.known_hosts))
    return _run(sys.executable, "-m", "reconciler.cli.main", "init", "--cloud-init", *given, *known, *options)


def seed(changes: Path, data: str) -> None:
    """What a provider gives a server: user-data, a name, and a cloud-init that looks for both."""
    files = {
        f"{SEED}/user-data": data,
        f"{SEED}/meta-data": "instance-id: first\nlocal-hostname: server\n",
        "etc/cloud/ds-identify.cfg": "policy: search,found=all,maybe=none,notfound=disabled\n",
        "etc/cloud/cloud.cfg.d/90-provider.cfg": PROVIDER,
    }
    for name, text in files.items():
        (changes / name).parent.mkdir(parents=True, exist_ok=True)
        (changes / name).write_text(text)


def serve_git(changes: Path, image: Path, keys: Keys, files: Mapping[str, str]) -> None:
    """The repositories' server: an account that git runs as, with one repository, and lets the deploy key in."""
    account = {
        "passwd": f"{GIT_USER}:x:{GIT_NUMBER}:{GIT_NUMBER}::/srv/git:/usr/bin/git-shell\n",
        "group": f"{GIT_USER}:x:{GIT_NUMBER}:\n",
        "shadow": f"{GIT_USER}:*:19000:0:99999:7:::\n",
    }
    (changes / "etc").mkdir(exist_ok=True)
    for name, line in account.items():
        shutil.copy(image / "etc" / name, changes / "etc" / name)
        with (changes / "etc" / name).open("a") as file:
            file.write(line)
    home = changes / "srv/git"
    for name, text in files.items():
        (home / "deploy" / name).parent.mkdir(parents=True, exist_ok=True)
        (home / "deploy" / name).write_text(text)
    tree = ("git", "-C", str(home / "deploy"))
    _run(*tree, "init", "--quiet", "--initial-branch=main")
    _run(*tree, "add", "--all")
    _run(*tree, "commit", "--quiet", "--message", "First")
    _run("git", "clone", "--quiet", "--bare", str(home / "deploy"), str(home / "deploy.git"))
    (home / ".ssh").mkdir(mode=0o700)
    shutil.copy(keys.deploy_key.with_suffix(".pub"), home / ".ssh/authorized_keys")
    for path in (home, *home.rglob("*")):
        os.chown(path, GIT_NUMBER, GIT_NUMBER, follow_symlinks=False)


def _run(*command: str) -> str:
    environment = {**os.environ, **WHO, "PYTHONPATH": str(CHECKOUT), "GIT_CONFIG_GLOBAL": os.devnull}
    done = subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=COMMAND_SECONDS, check=False
    )
    assert done.returncode == 0, f"{command}: {done.stderr}"
    return done.stdout
