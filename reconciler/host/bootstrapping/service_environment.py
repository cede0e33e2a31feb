"""Variables of the agent's service: proxies, package indexes, certificate authorities."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from reconciler.host.files import write_whole

NAMES = (
    "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "all_proxy", "no_proxy",
    "UV_DEFAULT_INDEX", "UV_INDEX", "UV_INDEX_URL", "UV_EXTRA_INDEX_URL", "UV_INDEX_STRATEGY", "UV_FIND_LINKS",
    "UV_INSECURE_HOST", "UV_OFFLINE", "PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL", "PIP_FIND_LINKS", "PIP_TRUSTED_HOST",
    "PIP_CERT", "SSL_CERT_FILE", "SSL_CERT_DIR",
)  # fmt: skip
"""What a server needs to reach others; taken over from the environment that bootstrap runs in."""
MODE = 0o600
"""An index's address may hold a password."""
HEADER = "# variables of the reconciler's service, taken over by `reconciler bootstrap`; yours to change\n"


def read_variables(file: Path) -> dict[str, str]:
    """What a file says that systemd reads as ``EnvironmentFile=``; empty when there is none."""
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return {}
    found = {}
    for line in lines:
        name, equals, value = line.strip().partition("=")
        if equals and not name.startswith(("#", ";")):
            found[name.strip()] = "".join(shlex.split(value)) if value.startswith(('"', "'")) else value.strip()
    return found


@dataclass(frozen=True, slots=True)
class ServiceEnvironment:
    """The file of variables; an existing one is never changed."""

    file: Path
    environment: Mapping[str, str]

    def missing(self) -> tuple[str, ...]:
        """One phrase that names the variables, without their values."""
        values = self._values()
        return (f"write {self.file} with {', '.join(values)}",) if values and not self.file.exists() else ()

    def provide(self) -> None:
        """Write the file."""
        self.file.parent.mkdir(parents=True, exist_ok=True)
        write_whole(self.file, self.text(), mode=MODE)

    def text(self) -> str:
        """The file, as systemd reads it."""
        return HEADER + "".join(f"{name}={_quoted(value)}\n" for name, value in self._values().items())

    def _values(self) -> dict[str, str]:
        given = {name: self.environment.get(name, "") for name in NAMES}
        return {name: value for name, value in given.items() if value and value.isprintable()}


def _quoted(value: str) -> str:
    return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
