"""The people and things of the story: the developer, the repositories behind sshd, the apps, the operator."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from container import COMMAND_SECONDS, Container, Ended, wait_for

GIT_USER = "git"
CONFIG = "/srv/git/deploy.git"
SHOP = "/srv/git/shop.git"
URL = "ssh://git@localhost/srv/git/deploy.git"
SHOP_URL = "ssh://git@localhost/srv/git/shop.git"
BOOTSTRAP_SECONDS = 180.0
SETTLED_SECONDS = 60.0

PAGE = """import os

def app(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return ["{greeting} from {{}}".format(os.getuid()).encode()]
"""

BLOG = """apiVersion: reconciler/v1
kind: App
metadata: {name: blog}
spec:
  source: {repository: ".", directory: apps/blog}
  uwsgi: {module: "wsgi:app", processes: 1}
  nginx: {serverNames: [blog.example.com]}
"""

SHOP_MANIFEST = f"""apiVersion: reconciler/v1
kind: App
metadata: {{name: shop}}
spec:
  source: {{repository: "{SHOP_URL}"}}
  build: {{requirements: requirements.txt}}
  uwsgi: {{module: "shop:app", processes: 1}}
  nginx: {{serverNames: [shop.example.com]}}
"""

SHOP_APP = """from flask import Flask

app = Flask(__name__)


@app.get("/")
def front():
    return "{greeting}"
"""


def page(greeting: str) -> str:
    """An app without requirements that greets, and says under which account it runs."""
    return PAGE.format(greeting=greeting)


def programs(container: Container, account: str) -> set[str]:
    """The programs that an account runs, by the names of their files."""
    own = f'[ "$(stat -c %U $pid 2>/dev/null)" = {account} ] && readlink $pid/exe'
    listed = container.run("sh", "-c", f"for pid in /proc/[0-9]*; do {own}; done; true").out
    return {line.rpartition("/")[2] for line in listed.splitlines()}


@dataclass(frozen=True)
class Developer:
    """Commits in working trees inside the container, and pushes to the bare repositories; the git account does it."""

    container: Container

    def start(self, repository: str, files: Mapping[str, str]) -> None:
        """Make a bare repository, with a first commit."""
        self._git("/srv/git", "init", "--quiet", "--bare", "--initial-branch=main", repository)
        self._git("/srv/git", "init", "--quiet", "--initial-branch=main", _tree(repository))
        self.commit(repository, files)

    def commit(self, repository: str, files: Mapping[str, str]) -> None:
        """Write files, commit them and push to main."""
        tree = _tree(repository)
        for name, text in files.items():
            self.container.write(f"{tree}/{name}", text)
        self.container.must("chown", "-R", f"{GIT_USER}:{GIT_USER}", tree)
        self._git(tree, "add", "--all")
        self._git(tree, "commit", "--quiet", "--message", "Change")
        self._git(tree, "push", "--quiet", repository, "main:main")

    def revert(self, repository: str) -> None:
        """Take the last commit back, and push."""
        self._git(_tree(repository), "revert", "--no-edit", "HEAD")
        self._git(_tree(repository), "push", "--quiet", repository, "main:main")

    def _git(self, tree: str, *arguments: str) -> None:
        who = ("-c", "user.name=Developer", "-c", "user.email=developer@example.com")
        self.container.must("git", *who, "-C", tree, *arguments, user=GIT_USER)


def _tree(repository: str) -> str:
    """The working tree beside a bare repository."""
    return repository.removesuffix(".git")


@dataclass(frozen=True)
class Operator:
    """Runs the reconciler in the container as root."""

    container: Container
    program: str = "/opt/reconciler/bin/reconciler"

    def reconciler(self, *arguments: str, seconds: float = COMMAND_SECONDS) -> Ended:
        """Run a command of the reconciler."""
        # what a person's shell would have there: the way to the package index
        index = {"UV_FIND_LINKS": "/srv/wheels", "UV_OFFLINE": "1"}
        return self.container.run(self.program, *arguments, seconds=seconds, env=index)

    def bootstrap(self, *options: str, url: str = URL) -> Ended:
        """``reconciler bootstrap``."""
        return self.reconciler("bootstrap", url, *options, seconds=BOOTSTRAP_SECONDS)

    def status(self) -> dict[str, Any]:
        """``reconciler status --json``, by app."""
        ended = self.reconciler("status", "--json")
        assert ended.out, str(ended)
        return {app["app"]: app for app in json.loads(ended.out)["apps"]}

    def releases(self) -> dict[str, str]:
        """The release of every app that serves."""
        return {name: app["release"] for name, app in self.status().items()}

    def deploys(self) -> int:
        """How often anything was deployed, by the journal."""
        return sum(
            len(json.loads(self.reconciler("history", app, "--json").out)["attempts"]) for app in self.status()
        )

    def agent(self, what: str) -> str:
        """A property of the agent's service."""
        return self.container.must("systemctl", "show", "--value", "--property", what, "reconciler.service")

    def told(self, event: str) -> int:
        """How often the agent has told of an event since the boot."""
        lines = self.container.must("journalctl", "--unit=reconciler", "--output=cat", "--boot")
        return sum(f'"event": "{event}"' in line for line in lines.splitlines())

    def wait_until_active(self, *units: str) -> None:
        """Wait until services run."""
        for unit in units:
            wait_for(
                f"{unit} to run",
                lambda unit=unit: self.container.run("systemctl", "is-active", unit).out.strip() == "active",  # type: ignore[misc]
                SETTLED_SECONDS,
            )
