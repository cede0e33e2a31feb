"""Encrypted files as a whole: decrypt and check, encrypt, and encrypt again what was edited."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

from reconciler.host.sops.documents import Document, Leaf, read_document
from reconciler.host.sops.metadata import (
    Metadata,
    Rule,
    check_seal,
    read_metadata,
    seal_of,
    sealed,
    unwrap_key,
)
from reconciler.host.sops.values import (
    KEY_BYTES,
    Kind,
    Value,
    additional_data,
    decrypt_value,
    encrypt_value,
    is_encrypted,
)
from reconciler.model.errors import SecretsUnreadable

Unwrap = Callable[[bytes], bytes | None]
"""Decrypts a data key with the age keys of this host; ``None`` when it is meant for others."""
Wrap = Callable[[bytes, str], str]
"""Encrypts a data key for one recipient."""


@dataclass(frozen=True, slots=True, repr=False)
class Decrypted:
    """A file in the clear: ``values`` by place, in the order of the file."""

    name: str
    document: Document
    metadata: Metadata
    key: bytes
    values: tuple[Value, ...]

    @property
    def by_keys(self) -> Mapping[tuple[str, ...], Value]:
        """All values but comments and those in lists, by the keys that lead to them."""
        pairs = zip(self.document.leaves, self.values, strict=True)
        return {leaf.path: value for leaf, value in pairs if leaf.path == leaf.place}

    @property
    def text(self) -> str:
        """The whole file in the clear, without its metadata."""
        changed = {
            position: value
            for position, (leaf, value) in enumerate(zip(self.document.leaves, self.values, strict=True))
            if value is not leaf.value
        }
        return self.document.written(changed, None)


def decrypt_file(name: str, content: bytes, unwrap: Unwrap) -> Decrypted:
    """Decrypt and check a file; raises :class:`SecretsUnreadable` whose sentence goes on after the file's name."""
    document = read_document(name, content)
    if document.metadata is None:
        raise SecretsUnreadable("is not encrypted", hint="run `reconciler secrets encrypt` on it")
    metadata = read_metadata(document.metadata)
    key = unwrap_key(metadata, unwrap)
    if key is None:
        raise SecretsUnreadable(
            f"is encrypted for {' and '.join(metadata.recipients)}, and none of them is this key",
            hint="give this host the age key of one of them, or encrypt the file for this host's key too",
        )
    values = tuple(_decrypted(document, metadata.rule, key))
    check_seal(metadata, key, _computed(document, values, metadata))
    return Decrypted(name, document, metadata, key, values)


def encrypt_file(
    name: str, content: bytes, recipients: Sequence[str], wrap: Wrap, rule: Rule, *, only_encrypted: bool = False
) -> str:
    """The encrypted form of a file in the clear; raises :class:`SecretsUnreadable`."""
    document = read_document(name, content)
    if document.metadata is not None:
        raise SecretsUnreadable("is encrypted already", hint="run `reconciler secrets edit` on it")
    key = secrets.token_bytes(KEY_BYTES)
    wrapped = tuple((recipient, wrap(key, recipient)) for recipient in recipients)
    return _encrypted(document, Metadata(wrapped, "", "", rule, only_encrypted), key, {})


def encrypt_again(before: Decrypted, content: bytes) -> str:
    """The encrypted form of an edited file: same data key, and same ciphertext for what has not changed."""
    document = read_document(before.name, content)
    if document.metadata is not None:
        raise SecretsUnreadable("has a key sops, which is the place of its metadata")
    known: dict[tuple[tuple[str, ...], Kind, bytes], list[str]] = {}
    for leaf, value in zip(before.document.leaves, before.values, strict=True):
        if value is not leaf.value:
            known.setdefault((leaf.path, value.kind, value.content), []).append(leaf.value.text)
    return _encrypted(document, before.metadata, before.key, known)


def _encrypted(
    document: Document,
    metadata: Metadata,
    key: bytes,
    known: Mapping[tuple[tuple[str, ...], Kind, bytes], list[str]],
) -> str:
    values: dict[int, str | Value] = {}
    encrypts = metadata.rule.choosing(leaf.path for leaf in document.leaves)
    for position, leaf in enumerate(document.leaves):
        value = leaf.value
        if value.kind is Kind.NULL or not value.content:
            continue
        if not encrypts(leaf.path):
            if leaf.ambiguous:
                raise SecretsUnreadable(f"has a value at {_shown(leaf)} that programs read differently; quote it")
            continue
        if is_encrypted(value.text):
            raise SecretsUnreadable(f"has a value at {_shown(leaf)} that looks encrypted already")
        again = known.get((leaf.path, value.kind, value.content))
        if leaf.ambiguous and value.kind is Kind.FLOAT and not again:
            raise SecretsUnreadable(f"has a number at {_shown(leaf)} that is too long to be exact; quote it")
        values[position] = again.pop(0) if again else encrypt_value(value, key, additional_data(leaf.path))
    computed = _computed(document, [leaf.value for leaf in document.leaves], metadata)
    return document.written(values, sealed(metadata, key, computed).as_mapping())


def _computed(document: Document, values: Sequence[Value], metadata: Metadata) -> str:
    pairs = zip(document.leaves, values, strict=True)
    encrypts = metadata.rule.choosing(leaf.path for leaf in document.leaves)
    marked = ((value, encrypts(leaf.path)) for leaf, value in pairs)
    return seal_of(marked, only_encrypted=metadata.only_encrypted)


def _decrypted(document: Document, rule: Rule, key: bytes) -> Iterator[Value]:
    paths = {leaf.path[:length] for leaf in document.leaves for length in range(len(leaf.path) + 1)}
    encrypts = rule.choosing(leaf.path for leaf in document.leaves)
    for leaf in document.leaves:
        value = leaf.value
        if value.kind is Kind.COMMENT:
            yield _comment(leaf, key, paths) if is_encrypted(value.text) else value
        elif value.kind is Kind.NULL or not encrypts(leaf.path):
            yield value
        elif value.kind is not Kind.TEXT:
            raise SecretsUnreadable(f"has a value at {_shown(leaf)} that is not encrypted and should be")
        else:
            try:
                clear = decrypt_value(value.text, key, additional_data(leaf.path))
            except SecretsUnreadable as error:
                raise SecretsUnreadable(f"has a value at {_shown(leaf)} that {error}") from None
            yield clear if value.content else value


def _comment(leaf: Leaf, key: bytes, paths: set[tuple[str, ...]]) -> Value:
    """A comment in the clear; programs differ in which block a comment belongs to, and it is not authenticated."""
    for path in (leaf.path, *sorted(paths)):
        with suppress(SecretsUnreadable):
            return decrypt_value(leaf.value.text, key, additional_data(path))
    return leaf.value


def _shown(leaf: Leaf) -> str:
    return "a comment" if leaf.value.kind is Kind.COMMENT else ".".join(leaf.place)
