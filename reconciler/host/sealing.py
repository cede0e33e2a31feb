"""The key of a state folder, and hashes that say whether a secret is another one without saying what it is."""

from __future__ import annotations

import functools
import hashlib
import hmac
import os
import stat
from dataclasses import dataclass
from pathlib import Path

from reconciler.host.files import write_once
from reconciler.model.errors import HostError

KEY_BYTES = 32
KEY_MODE = 0o600


@dataclass(frozen=True, slots=True, repr=False)
class Seal:
    """Makes keyed hashes. Without the key nobody can try out values against one."""

    _key: bytes

    def hash(self, app: str, name: str, value: str) -> str:
        """64 hexadecimal digits for one variable of one app."""
        text = "\0".join((app, name, value)).encode("utf-8", "surrogatepass")
        return hmac.new(self._key, text, hashlib.sha256).hexdigest()


@functools.lru_cache(maxsize=64)
def seal_of(root: Path) -> Seal:
    """The seal of a state folder; its key is made once, for the first app that has secrets.

    Raises :class:`HostError` when others could read or replace the key.
    """
    file = root / "seal-key"
    if not file.exists():
        write_once(file, os.urandom(KEY_BYTES).hex() + "\n", mode=KEY_MODE)
    check_private(file, "the key of the state folder")
    key = bytes.fromhex(file.read_text("ascii"))
    if len(key) != KEY_BYTES:
        raise HostError(
            f"{file} is not a key of {KEY_BYTES} bytes", hint="restore it, or remove it to make a new one"
        )
    return Seal(key)


def check_private(file: Path, what: str) -> None:
    """Raise :class:`HostError` unless only this account (or root) can read and write a file."""
    try:
        status = file.stat()
    except OSError as error:
        raise HostError(f"{what}, {file}, cannot be read: {error.strerror}", hint="check its path") from error
    mode = stat.S_IMODE(status.st_mode)
    if not stat.S_ISREG(status.st_mode):
        raise HostError(f"{what}, {file}, is not a file")
    if mode & 0o077:
        raise HostError(
            f"{what}, {file}, has the mode {mode:04o}, so that others may read it", hint=f"run `chmod 600 {file}`"
        )
    if status.st_uid not in (os.geteuid(), 0):
        raise HostError(f"{what}, {file}, belongs to another account", hint="give it to the agent's account")
