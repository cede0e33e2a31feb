"""The age key of this host: where it lies, who may read it, and what it decrypts."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from reconciler.host.files import write_once
from reconciler.host.sealing import KEY_MODE, check_private
from reconciler.model.errors import HostError, UsageError

if TYPE_CHECKING:
    from pyrage.x25519 import Identity

_PREFIX = "AGE-SECRET-KEY-1"


def read_identities(file: Path) -> list[Identity]:
    """The keys in a file, one on each line; raises :class:`HostError`, also for a file that others may read."""
    from pyrage import IdentityError  # noqa: PLC0415  only those with secrets need it
    from pyrage.x25519 import Identity  # noqa: PLC0415

    if not file.exists():
        raise HostError(
            f"there is no age key at {file}",
            hint="make one with `reconciler secrets keygen`, or name another in secrets.ageKey of agent.yaml",
        )
    check_private(file, "the age key")
    lines = [line.strip() for line in file.read_text("utf-8", "replace").splitlines()]
    try:
        found = [Identity.from_str(line) for line in lines if line.startswith(_PREFIX)]
    except IdentityError:
        found = []
    if not found:
        raise HostError(f"{file} has no age key in it", hint=f"it needs a line that begins with {_PREFIX}")
    return found


def unwrapping(file: Path) -> Callable[[bytes], bytes | None]:
    """A function that decrypts with the keys in a file; it gives ``None`` for what is meant for other keys."""
    import pyrage  # noqa: PLC0415  only those with secrets need it

    identities = read_identities(file)

    def unwrap(encrypted: bytes) -> bytes | None:
        try:
            return bytes(pyrage.decrypt(encrypted, identities))
        except pyrage.DecryptError:
            return None

    return unwrap


def wrap(key: bytes, recipient: str) -> str:
    """A data key, encrypted for one recipient; raises :class:`UsageError` for one that is no age key."""
    import pyrage  # noqa: PLC0415  only those with secrets need it

    return str(pyrage.encrypt(key, [_recipient(recipient)], armored=True), "ascii")


def check_recipient(recipient: str) -> str:
    """The recipient; raises :class:`UsageError` for one that is no age key."""
    _recipient(recipient)
    return recipient


def make_key(file: Path) -> str:
    """Make a key that only this account can read; returns its recipient. Raises :class:`UsageError` where one is."""
    from pyrage.x25519 import Identity  # noqa: PLC0415  only those with secrets need it

    identity = Identity.generate()
    recipient = str(identity.to_public())
    created = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    file.parent.mkdir(parents=True, exist_ok=True)
    if not write_once(file, f"# created: {created}\n# public key: {recipient}\n{identity}\n", mode=KEY_MODE):
        raise UsageError(f"{file} exists already", hint="what is encrypted for it would be lost; name another file")
    return recipient


def _recipient(text: str) -> object:
    from pyrage import RecipientError  # noqa: PLC0415  only those with secrets need it
    from pyrage.x25519 import Recipient  # noqa: PLC0415

    try:
        return Recipient.from_str(text)
    except RecipientError:
        hint = "write the public key that `reconciler secrets keygen` prints; it begins with age1"
        raise UsageError(f"{text[:80]!r} is not the recipient of an age key", hint=hint) from None
