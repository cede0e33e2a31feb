"""One value of an encrypted file: what it is, and its encryption."""

from __future__ import annotations

import base64
import re
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum

from reconciler.model.errors import SecretsUnreadable

KEY_BYTES = 32
IV_BYTES = 32
TAG_BYTES = 16

_ENCRYPTED = re.compile(
    r"ENC\[AES256_GCM,data:(?P<data>[A-Za-z0-9+/]*=*),iv:(?P<iv>[A-Za-z0-9+/]+=*),"
    r"tag:(?P<tag>[A-Za-z0-9+/]+=*),type:(?P<kind>[a-z]+)\]"
)
_MARK = "ENC["


class Kind(StrEnum):
    """What a value is; the names are those of the format."""

    TEXT = "str"
    INTEGER = "int"
    FLOAT = "float"
    BOOLEAN = "bool"
    TIME = "time"
    BYTES = "bytes"
    COMMENT = "comment"
    NULL = "null"


_ENCRYPTED_KINDS = frozenset(kind.value for kind in Kind if kind is not Kind.NULL)


@dataclass(frozen=True, slots=True, repr=False)
class Value:
    """A value in the clear: ``content`` are the bytes that are encrypted and authenticated. Never printed."""

    kind: Kind
    content: bytes

    def __repr__(self) -> str:
        return f"Value({self.kind}, ***)"

    @property
    def text(self) -> str:
        """The value as text; raises :class:`UnicodeDecodeError` for bytes that are none."""
        return self.content.decode()

    @property
    def variable(self) -> str:
        """The value as an environment variable holds it: ``true`` and ``false`` in lower case."""
        return self.text.lower() if self.kind is Kind.BOOLEAN else self.text


def is_encrypted(text: str) -> bool:
    """Whether a text claims to be an encrypted value."""
    return text.startswith(_MARK)


def additional_data(path: Sequence[str]) -> bytes:
    """What binds a value to its place: the keys that lead to it; the items of a list share the place of the list."""
    return (":".join(path) + ":").encode()


def encrypt_value(value: Value, key: bytes, additional: bytes) -> str:
    """The encrypted form of a value; an empty text stays empty."""
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM  # noqa: PLC0415  50 ms, for those with secrets

    if value.kind is Kind.TEXT and not value.content:
        return ""
    iv = secrets.token_bytes(IV_BYTES)
    sealed = AESGCM(key).encrypt(iv, value.content, additional)
    data, tag = sealed[:-TAG_BYTES], sealed[-TAG_BYTES:]
    return f"ENC[AES256_GCM,data:{_encoded(data)},iv:{_encoded(iv)},tag:{_encoded(tag)},type:{value.kind}]"


def decrypt_value(text: str, key: bytes, additional: bytes) -> Value:
    """The value behind an encrypted form.

    Raises :class:`SecretsUnreadable`, which does not say where: the caller knows the place.
    """
    from cryptography.exceptions import InvalidTag  # noqa: PLC0415  50 ms, for those with secrets
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM  # noqa: PLC0415

    if not text:
        return Value(Kind.TEXT, b"")
    match = _ENCRYPTED.fullmatch(text)
    if match is None or match["kind"] not in _ENCRYPTED_KINDS:
        raise SecretsUnreadable("is not an encrypted value")
    try:
        data, iv, tag = (base64.b64decode(match[name], validate=True) for name in ("data", "iv", "tag"))
        content = AESGCM(key).decrypt(iv, data + tag, additional)
    except (InvalidTag, ValueError):
        raise SecretsUnreadable("does not decrypt: it was changed, or moved from another place") from None
    return _canonical(Kind(match["kind"]), content)


def boolean(value: bool) -> Value:
    """``True`` or ``False``, as the format writes them."""
    return Value(Kind.BOOLEAN, b"True" if value else b"False")


def number(text: str, kind: Kind) -> Value:
    """A number in the one spelling that is authenticated: no exponent, no needless digit.

    Raises :class:`ValueError` for what is no number.
    """
    if kind is Kind.INTEGER:
        return Value(kind, str(int(text)).encode())
    plain = format(Decimal(repr(float(text))), "f")
    return Value(kind, (plain.rstrip("0").rstrip(".") if "." in plain else plain).encode())


def _canonical(kind: Kind, content: bytes) -> Value:
    try:
        if kind in (Kind.INTEGER, Kind.FLOAT):
            return number(content.decode(), kind)
        if kind is Kind.BOOLEAN:
            return boolean(content.decode().lower() == "true")
        if kind is not Kind.BYTES:
            content.decode()
    except ValueError:
        raise SecretsUnreadable(f"is said to be a {kind}, and is none") from None
    return Value(kind, content)


def _encoded(content: bytes) -> str:
    return base64.b64encode(content).decode()
