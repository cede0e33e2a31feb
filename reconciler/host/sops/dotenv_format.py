r"""Encrypted files of environment variables: a line ``NAME=value`` for each, with ``\n`` for a line break in it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from reconciler.host.sops.documents import Leaf
from reconciler.host.sops.metadata import METADATA_KEY
from reconciler.host.sops.values import Kind, Value
from reconciler.model.errors import SecretsUnreadable

_PREFIX = f"{METADATA_KEY}_"
_PARTS = re.compile(r"__(list|map)_")


class DotenvDocument:
    """Lines; those of the metadata are told by their prefix."""

    def __init__(self, text: str) -> None:
        self._lines: list[tuple[str, int | None]] = []
        leaves: list[Leaf] = []
        metadata: dict[str, str] = {}
        names: set[str] = set()
        for number, line in enumerate(text.split("\n"), 1):
            name, equals, value = line.partition("=")
            if not line.strip():
                self._lines.append((line, None))
            elif line.startswith("#"):
                self._lines.append(("#", len(leaves)))
                leaves.append(Leaf((), ("#",), Value(Kind.COMMENT, line[1:].encode())))
            elif not equals:
                raise SecretsUnreadable(f"has no '=' in line {number}")
            elif name.startswith(_PREFIX):
                metadata[name.removeprefix(_PREFIX)] = value.replace("\\n", "\n")
            elif name in names:
                raise SecretsUnreadable(f"has the variable {name} twice")
            else:
                names.add(name)
                self._lines.append((f"{name}=", len(leaves)))
                leaves.append(Leaf((name,), (name,), Value(Kind.TEXT, value.replace("\\n", "\n").encode())))
        self.leaves = tuple(leaves)
        self.metadata: Mapping[str, Any] | None = _nested(metadata) if metadata else None

    def written(self, values: Mapping[int, str | Value], metadata: Mapping[str, Any] | None) -> str:
        """The lines with other values."""
        lines = []
        for start, number in self._lines:
            if number is None:
                lines.append(start)
                continue
            value = values.get(number, self.leaves[number].value)
            lines.append(start + (value if isinstance(value, str) else value.text).replace("\n", "\\n"))
        while lines and not lines[-1].strip():
            lines.pop()
        if metadata is not None:
            flat = sorted(_flat(metadata).items())
            lines += [f"{_PREFIX}{name}={value}".replace("\n", "\\n") for name, value in flat]
        return "\n".join(lines) + "\n"


def _flat(node: object, name: str = "") -> dict[str, str]:
    if isinstance(node, Mapping):
        parts = [(f"{name}__map_{key}" if name else key, value) for key, value in node.items()]
    elif isinstance(node, list):
        parts = [(f"{name}__list_{position}", item) for position, item in enumerate(node)]
    else:
        return {name: str(node).lower() if isinstance(node, bool) else str(node)}
    found: dict[str, str] = {}
    for key, value in parts:
        found |= _flat(value, key)
    return found


def _nested(flat: Mapping[str, str]) -> dict[str, Any]:
    """``age__list_0__map_enc`` as a value in a map in a list; only the one list of recipients is of interest."""
    found: dict[str, Any] = {}
    recipients: dict[int, dict[str, str]] = {}
    for name, value in flat.items():
        parts = _PARTS.split(name)
        if parts[0] == "age" and len(parts) == 5 and parts[2].isdecimal():
            recipients.setdefault(int(parts[2]), {})[parts[4]] = value
        else:
            # what belongs to other keys is only looked at for being there
            found[parts[0]] = value
    if recipients:
        found["age"] = [recipients[position] for position in sorted(recipients)]
    return found
