"""What all formats have in common: values at places, in order, and a way to write others in their stead."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any, Protocol

from reconciler.host.sops.values import Value
from reconciler.model.errors import SecretsUnreadable

FILE_BYTES = 256 * 1024
DEPTH = 50
"""How deep values may lie in each other."""
EXACT_DIGITS = 15
"""A longer integer is not the same in every program that reads it."""
FLOAT_DIGITS = 17
"""No floating point number needs more."""


@dataclass(frozen=True, slots=True)
class Leaf:
    """A value as it is written: ``path`` are the keys that lead to it, ``place`` has the numbers of list items too.

    ``ambiguous`` says that programs disagree about what is written.
    """

    path: tuple[str, ...]
    place: tuple[str, ...]
    value: Value
    ambiguous: bool = False


class Document(Protocol):
    """A parsed file."""

    @property
    def leaves(self) -> Sequence[Leaf]:
        """All values, in the order of the file, without those of the metadata; comments where they are kept."""

    @property
    def metadata(self) -> Mapping[str, Any] | None:
        """What is written under the key ``sops``; ``None`` in a file that is not encrypted."""

    def written(self, values: Mapping[int, str | Value], metadata: Mapping[str, Any] | None) -> str:
        """The file with other values, by the number of their leaf: encrypted text, or values in the clear."""


def read_document(name: str, content: bytes) -> Document:
    """Parse a file in the format that its name ends with; raises :class:`SecretsUnreadable`."""
    if len(content) > FILE_BYTES:
        raise SecretsUnreadable(f"has {len(content):,} bytes, and {FILE_BYTES:,} are the limit")
    try:
        text = content.decode()
    except UnicodeDecodeError:
        raise SecretsUnreadable("is not UTF-8 text") from None
    ending = PurePosixPath(name).suffix or PurePosixPath(name).name
    try:
        if ending in (".yaml", ".yml"):
            from reconciler.host.sops.yaml_format import YamlDocument  # noqa: PLC0415  one format is enough

            return YamlDocument(text)
        if ending == ".json":
            from reconciler.host.sops.json_format import JsonDocument  # noqa: PLC0415

            return JsonDocument(text)
        if ending == ".env":
            from reconciler.host.sops.dotenv_format import DotenvDocument  # noqa: PLC0415

            return DotenvDocument(text)
    except RecursionError:
        raise SecretsUnreadable(f"has values that lie more than {DEPTH} deep") from None
    raise SecretsUnreadable("has no format that is known; its name ends with .yaml, .yml, .json or .env")
