"""The agent's way to an ssh server: a key of its own, the server's key, and the settings that name both.

They lie in a folder of their own, because the agent's service does not see the home folders of accounts.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import os
import re
import shlex
import shutil
import socket
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from reconciler.host.files import write_whole
from reconciler.host.processes import run
from reconciler.model.errors import CommandFailed, HostError, UsageError

SCAN_SECONDS = 15
KEYGEN_SECONDS = 30.0
SSH_PORT = 22
FOLDER_MODE, KEY_MODE = 0o700, 0o600
ANOTHER_KEY = "name another key, or leave the option out to have one made"
PROGRAMS = ("ssh", "ssh-keygen", "ssh-keyscan")
OTHER_KNOWN_HOSTS = (Path("/etc/ssh/ssh_known_hosts"),)
"""What ssh reads besides; a server that is in there is known."""


FINGERPRINT = re.compile(r"SHA256:[A-Za-z0-9+/]{43}")


def refuse_no_fingerprint(text: str | None) -> None:
    """Raise :class:`UsageError` for what no key of a server can have as its fingerprint."""
    if text is not None and not FINGERPRINT.fullmatch(text):
        raise UsageError(
            f"--host-key {text} is no fingerprint",
            hint="write SHA256: and the 43 characters that `ssh-keygen -lf FILE` shows for the server's public key",
        )


@dataclass(frozen=True, slots=True)
class SshServer:
    """The server of an ssh address."""

    host: str
    port: int

    @classmethod
    def of(cls, url: str) -> SshServer:
        """The server that ``ssh://[user@]host[:port]/path`` or ``user@host:path`` leads to."""
        if "://" in url:
            parts = urlsplit(url)
            return cls(parts.hostname or "", parts.port or SSH_PORT)
        place = url.partition("@")[2]
        host = place[1:].partition("]")[0] if place.startswith("[") else place.partition(":")[0]
        return cls(host, SSH_PORT)

    @property
    def name(self) -> str:
        """What known_hosts calls it."""
        return self.host if self.port == SSH_PORT else f"[{self.host}]:{self.port}"


@dataclass(frozen=True, slots=True)
class HostKey:
    """One key that a server shows: its line for known_hosts and its fingerprint."""

    line: str
    kind: str
    fingerprint: str


@dataclass(frozen=True, slots=True)
class SshAccess:
    """The files in ``folder`` that lead to ``server``.

    ``identity`` is a private key to take over, ``trusted`` the fingerprint that the server's owner publishes.
    """

    folder: Path
    server: SshServer
    identity: Path | None = None
    trusted: str | None = None

    @property
    def key(self) -> Path:
        """The agent's private key."""
        return self.folder / "id_ed25519"

    @property
    def known_hosts(self) -> Path:
        """The servers that the agent trusts."""
        return self.folder / "known_hosts"

    @property
    def configuration(self) -> Path:
        """The settings that the agent's ssh reads, in place of those of an account."""
        return self.folder / "config"

    @property
    def public_key(self) -> str:
        """The line that the repository's server has to be given."""
        return self.key.with_suffix(".pub").read_text().strip()

    def missing(self) -> tuple[str, ...]:
        """Phrases for the key, the server's key and the settings.

        Raises :class:`HostError` when the server is not known and nobody has said which key is its own.
        """
        phrases = []
        if not self._is_known():
            phrases.append(f"trust {self.server.name} with the key {self._trusted_key().fingerprint}")
        if not self.key.exists():
            taken = f"take over the key {self.identity}" if self.identity else "make a deploy key"
            phrases.append(f"{taken} as {self.key}")
        if not self.configuration.exists():
            phrases.append(f"write {self.configuration}")
        return tuple(phrases)

    def provide(self) -> None:
        """Make what is missing; what is there stays as it is."""
        trusted = None if self._is_known() else self._trusted_key()
        self.folder.mkdir(parents=True, exist_ok=True)
        self.folder.chmod(FOLDER_MODE)
        if trusted is not None:
            known = self.known_hosts.read_text() if self.known_hosts.exists() else ""
            write_whole(self.known_hosts, f"{known}{trusted.line}\n", mode=0o644)
        if not self.key.exists():
            self._make_key()
        if not self.configuration.exists():
            write_whole(self.configuration, self._settings(), mode=0o644)

    def _make_key(self) -> None:
        if self.identity is None:
            comment = f"reconciler on {socket.gethostname()}"
            run(
                ("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", comment, "-f", str(self.key)),
                timeout=KEYGEN_SECONDS,
            )
            return
        try:
            write_whole(self.key.with_suffix(".pub"), public_half(self.identity))
            write_whole(self.key, self.identity.read_bytes(), mode=KEY_MODE)
        except OSError as error:
            raise HostError(f"{self.identity} cannot be taken over: {error.strerror}", hint=ANOTHER_KEY) from error

    def _settings(self) -> str:
        return (
            "# how the agent's ssh reaches servers; yours to change. A server that wants another key gets a\n"
            "# `Host` section of its own above this one: the first value that ssh finds for a setting counts.\n"
            "Host *\n"
            f"    IdentityFile {self.key}\n"
            f"    UserKnownHostsFile {self.known_hosts}\n"
        )

    def _is_known(self) -> bool:
        return any(known_keys(self.server, file) for file in (self.known_hosts, *OTHER_KNOWN_HOSTS))

    def _trusted_key(self) -> HostKey:
        """The key that the server shows and that was named as its own."""
        shown = scan(self.server)
        for key in shown:
            if key.fingerprint == self.trusted:
                return key
        listed = ", ".join(f"{key.fingerprint} ({key.kind})" for key in shown)
        if self.trusted is not None:
            raise HostError(
                f"{self.server.name} does not show the key {self.trusted}: it shows {listed}",
                hint="somebody else may answer in its place: ask the server's owner",
            )
        raise HostError(
            f"nobody has said yet that {self.server.name} is the server that it says it is: it shows {listed}",
            hint=f"compare with what its owner publishes, then run again with --host-key {shown[0].fingerprint}",
        )


def public_half(key: Path) -> str:
    """The line for the repository's server; raises :class:`HostError` unless ``key`` is one without a passphrase."""
    try:
        return run(("ssh-keygen", "-y", "-P", "", "-f", str(key)), timeout=KEYGEN_SECONDS).text
    except CommandFailed as error:
        raise HostError(f"{key} is no private key that can be used without a passphrase", hint=ANOTHER_KEY) from error


def known_keys(server: SshServer, file: Path) -> str:
    """The lines that a file of known hosts has for a server; empty when it has none, or is not there."""
    if not file.is_file():
        return ""
    try:
        listed = run(("ssh-keygen", "-F", server.name, "-f", str(file)), timeout=KEYGEN_SECONDS).text
    except CommandFailed:
        return ""
    return "".join(f"{line}\n" for line in listed.splitlines() if line and not line.startswith("#"))


def scan(server: SshServer) -> tuple[HostKey, ...]:
    """The keys that a server shows, ed25519 first; raises :class:`HostError` when it shows none."""
    command = ("ssh-keyscan", "-T", str(SCAN_SECONDS), "-p", str(server.port), "--", server.host)
    try:
        listed = run(command, timeout=2 * SCAN_SECONDS).text
    except CommandFailed:
        listed = ""
    keys = []
    for line in listed.splitlines():
        _, kind, blob, *_ = [*line.split(), "", "", ""]
        try:
            digest = hashlib.sha256(base64.b64decode(blob, validate=True)).digest()
        except binascii.Error:
            continue
        if blob and not line.startswith("#"):
            keys.append(HostKey(line, kind, "SHA256:" + base64.b64encode(digest).decode().rstrip("=")))
    if not keys:
        raise HostError(
            f"no ssh server answers at {server.host} port {server.port}",
            hint="check the address, the server and the network between",
        )
    return tuple(sorted(keys, key=lambda key: (key.kind != "ssh-ed25519", key.kind)))


def lacks_ssh() -> bool:
    """Whether ssh's programs have to be installed first."""
    return any(shutil.which(program) is None for program in PROGRAMS)


def use(configuration: Path) -> None:
    """Let git of this process reach servers as the agent's service does, unless somebody chose another way."""
    if configuration.exists() and not os.environ.get("GIT_SSH_COMMAND") and not os.environ.get("GIT_SSH"):
        os.environ["GIT_SSH_COMMAND"] = f"ssh -F {shlex.quote(str(configuration))}"
