"""``ansible-pull`` and pyinfra at the same job, each on a server of its own."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path

from bench.hand_made import HandMade
from bench.measuring import command
from reconciler.host.nginx import find_nginx


@dataclass(frozen=True)
class AnsiblePull:
    """``ansible-pull`` with the playbook ``local.yml`` of the repository."""

    server: HandMade
    programs: Path

    def deploy(self, *options: str) -> None:
        """One run; ``-o`` ends it where the repository has nothing new."""
        values = {**settings(self.server), "ansible_python_interpreter": str(self.programs / "python")}
        given = [argument for name, value in values.items() for argument in ("-e", f"{name}={value}")]
        origin, pull = str(self.server.origin), str(self.server.home / "pull")
        arguments = ("-U", origin, "-d", pull, "-i", "localhost,", *given, *options, "local.yml")
        command((self.programs / "ansible-pull", *arguments), cwd=self.server.home, env=_environment(self))


@dataclass(frozen=True)
class Pyinfra:
    """pyinfra with ``@local`` and the script ``deploy.py`` of the repository."""

    server: HandMade
    programs: Path

    def deploy(self) -> None:
        """One run."""
        given = [
            argument for name, value in settings(self.server).items() for argument in ("--data", f"{name}={value}")
        ]
        command(
            (self.programs / "pyinfra", "-y", *given, "@local", "deploy.py"),
            cwd=self.server.origin,
            env=_environment(self),
        )


def settings(server: HandMade) -> dict[str, str]:
    """What the playbook and the script need to know of a server."""
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    return {
        "home": str(server.home),
        "origin": str(server.origin),
        "http_port": str(server.port),
        "nginx": str(find_nginx()),
        "python": sys.executable,
        "packages": f"{server.home}/environment/lib/python{version}/site-packages",
    }


def _environment(tool: AnsiblePull | Pyinfra) -> dict[str, str]:
    own = {
        "PATH": f"{tool.programs}:{os.environ['PATH']}",
        "ANSIBLE_HOME": str(tool.server.home / ".ansible"),
        "ANSIBLE_LOCALHOST_WARNING": "false",
        "LC_ALL": "C.UTF-8",
    }
    return {**os.environ, **own}
