"""What an encrypted file says of itself: for whom it is encrypted, which values are, and the seal over all."""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from reconciler.host.sops import patterns
from reconciler.host.sops.values import KEY_BYTES, Kind, Value, decrypt_value, encrypt_value
from reconciler.model.errors import SecretsUnreadable

FORMAT_VERSION = "3.9.0"
"""The version of the format, as ``sops`` counts it, that files made here are in."""
DEFAULT_SUFFIX = "_unencrypted"
METADATA_KEY = "sops"

_RULES = ("unencrypted_suffix", "encrypted_suffix", "unencrypted_regex", "encrypted_regex")
_OTHER_RULES = ("unencrypted_comment_regex", "encrypted_comment_regex")
_OTHER_KEYS = ("kms", "gcp_kms", "azure_kv", "hc_vault", "pgp")
# a code over encrypted values alone must never be equal to one over all
_ONLY_ENCRYPTED = hashlib.sha256(b"sops").digest()
_TRUE = frozenset({"1", "t", "T", "true", "TRUE", "True"})
_FALSE = frozenset({"", "0", "f", "F", "false", "FALSE", "False"})
_TIME = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:.]+(Z|[+-][0-9]{2}:[0-9]{2})")


@dataclass(frozen=True, slots=True)
class Rule:
    """Which values are encrypted: by the ending of one of their keys, or by a pattern in one of them."""

    name: str = "unencrypted_suffix"
    text: str = DEFAULT_SUFFIX

    def choosing(self, paths: Iterable[Sequence[str]]) -> Callable[[Sequence[str]], bool]:
        """Tells for each of these paths whether the value behind its keys is encrypted.

        Raises :class:`SecretsUnreadable` for a pattern that cannot be matched.
        """
        keys = frozenset(key for path in paths for key in path)
        if self.name.endswith("suffix"):
            matching = frozenset(key for key in keys if key.endswith(self.text))
        else:
            matching = patterns.matching(self.text, keys)
        otherwise = self.name.startswith("unencrypted")
        return lambda path: matching.isdisjoint(path) == otherwise


DEFAULT_RULE = Rule()


@dataclass(frozen=True, slots=True)
class Metadata:
    """The part of a file under the key ``sops``; ``wrapped`` has the data key by recipient, encrypted with age."""

    wrapped: tuple[tuple[str, str], ...]
    modified: str
    seal: str
    rule: Rule = DEFAULT_RULE
    only_encrypted: bool = False
    version: str = FORMAT_VERSION

    @property
    def recipients(self) -> tuple[str, ...]:
        """For whom the file is encrypted."""
        return tuple(recipient for recipient, _ in self.wrapped)

    def as_mapping(self) -> dict[str, Any]:
        """As it is written into a file."""
        return {
            "age": [{"recipient": recipient, "enc": text} for recipient, text in self.wrapped],
            "lastmodified": self.modified,
            "mac": self.seal,
            self.rule.name: self.rule.text,
            **({"mac_only_encrypted": True} if self.only_encrypted else {}),
            "version": self.version,
        }


def read_metadata(found: Mapping[str, Any]) -> Metadata:
    """Check the metadata of a file; :class:`SecretsUnreadable` for what is not understood, never a guess."""
    for key in _OTHER_RULES:
        if found.get(key):
            raise SecretsUnreadable(f"chooses what is encrypted by {key}, which is not supported")
    if found.get("key_groups") or str(found.get("shamir_threshold") or "0") != "0":
        raise SecretsUnreadable("splits its key over groups, which is not supported")
    rules = [Rule(name, str(found[name])) for name in _RULES if found.get(name)]
    if len(rules) > 1:
        raise SecretsUnreadable(f"has {rules[0].name} and {rules[1].name}, and only one of them can hold")
    rule = rules[0] if rules else DEFAULT_RULE
    wrapped = tuple(_wrapped(entry) for entry in _list(found.get("age")))
    if not wrapped:
        others = [key for key in _OTHER_KEYS if found.get(key)]
        raise SecretsUnreadable(f"is not encrypted for an age key{f', only with {others[0]}' if others else ''}")
    modified, seal = str(found.get("lastmodified") or ""), str(found.get("mac") or "")
    if not _TIME.fullmatch(modified) or not seal:
        raise SecretsUnreadable("has no message authentication code or no time of its last change")
    only = _boolean(found.get("mac_only_encrypted"))
    return Metadata(wrapped, modified, seal, rule, only, str(found.get("version") or FORMAT_VERSION))


def seal_of(values: Iterable[tuple[Value, bool]], *, only_encrypted: bool) -> str:
    """The code over all values in their order, each with whether it is encrypted; comments and nulls do not count."""
    digest = hashlib.sha512(_ONLY_ENCRYPTED if only_encrypted else b"")
    for value, encrypted in values:
        if value.kind not in (Kind.COMMENT, Kind.NULL) and (encrypted or not only_encrypted):
            digest.update(value.content)
    return digest.hexdigest().upper()


def check_seal(metadata: Metadata, key: bytes, computed: str) -> None:
    """Raise :class:`SecretsUnreadable` unless the file's code is the one that was computed."""
    try:
        written = decrypt_value(metadata.seal, key, metadata.modified.encode())
    except SecretsUnreadable:
        raise SecretsUnreadable("has a message authentication code that does not decrypt") from None
    if not hmac.compare_digest(written.content, computed.encode()):
        raise SecretsUnreadable("was changed by hand: its message authentication code does not fit its values")


def sealed(metadata: Metadata, key: bytes, computed: str) -> Metadata:
    """The metadata with a new code and the time of now."""
    modified = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    seal = encrypt_value(Value(Kind.TEXT, computed.encode()), key, modified.encode())
    return Metadata(metadata.wrapped, modified, seal, metadata.rule, metadata.only_encrypted, metadata.version)


def unwrap_key(metadata: Metadata, decrypt: Callable[[bytes], bytes | None]) -> bytes | None:
    """The data key, by the first of the file's recipients that ``decrypt`` has the key of; ``None`` without one."""
    for _, text in metadata.wrapped:
        key = decrypt(text.encode())
        if key is not None:
            if len(key) != KEY_BYTES:
                raise SecretsUnreadable(f"has a data key of {len(key)} bytes, and {KEY_BYTES} are needed")
            return key
    return None


def _wrapped(entry: object) -> tuple[str, str]:
    if not isinstance(entry, Mapping) or not entry.get("enc"):
        raise SecretsUnreadable("has an age recipient without its encrypted key")
    return str(entry.get("recipient") or ""), str(entry["enc"])


def _list(value: object) -> list[object]:
    return value if isinstance(value, list) else []


def _boolean(value: object) -> bool:
    text = "" if value is None else str(value)
    if text not in _TRUE | _FALSE:
        raise SecretsUnreadable(f"says mac_only_encrypted: {text[:20]}, which is neither true nor false")
    return text in _TRUE
