"""Encrypted files in JSON."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from reconciler.host.sops.documents import DEPTH, EXACT_DIGITS, FLOAT_DIGITS, Leaf
from reconciler.host.sops.metadata import METADATA_KEY
from reconciler.host.sops.values import Kind, Value, boolean, number
from reconciler.model.errors import SecretsUnreadable


class _Number(str):
    """A number as it is written."""

    __slots__ = ()


class JsonDocument:
    """A JSON object; its layout is made anew when it is written."""

    def __init__(self, text: str) -> None:
        try:
            found = json.loads(
                text, object_pairs_hook=_unique, parse_int=_Number, parse_float=_Number, parse_constant=_refused
            )
        except json.JSONDecodeError as error:
            # the error's own text is about the place only, never about a value
            raise SecretsUnreadable(f"is not JSON: {error.msg} in line {error.lineno}") from None
        if not isinstance(found, dict):
            raise SecretsUnreadable("is not a JSON object")
        metadata = found.pop(METADATA_KEY, None)
        if metadata is not None and not isinstance(metadata, dict):
            raise SecretsUnreadable(f"has a key {METADATA_KEY} that is no object")
        self._values = found
        self.metadata: Mapping[str, Any] | None = metadata
        self.leaves = tuple(_leaves(found, (), ()))

    def written(self, values: Mapping[int, str | Value], metadata: Mapping[str, Any] | None) -> str:
        """The object with other values."""
        numbers = iter(range(len(self.leaves)))

        def rebuilt(node: object) -> object:
            if isinstance(node, dict):
                return {key: rebuilt(value) for key, value in node.items()}
            if isinstance(node, list):
                return [rebuilt(item) for item in node]
            position = next(numbers)
            value = values.get(position, self.leaves[position].value)
            return value if isinstance(value, str) else _plain(value)

        whole = rebuilt(self._values)
        if not isinstance(whole, dict):
            raise RuntimeError("an object stays one")
        if metadata is not None:
            whole[METADATA_KEY] = dict(metadata)
        return json.dumps(whole, indent="\t", ensure_ascii=False) + "\n"


def _leaves(node: object, path: tuple[str, ...], place: tuple[str, ...]) -> Iterator[Leaf]:
    if len(place) > DEPTH:
        raise SecretsUnreadable(f"has values that lie more than {DEPTH} deep")
    if isinstance(node, dict):
        for key, value in node.items():
            yield from _leaves(value, (*path, key), (*place, key))
    elif isinstance(node, list):
        for position, item in enumerate(node):
            yield from _leaves(item, path, (*place, str(position)))
    elif isinstance(node, _Number):
        digits = sum(character.isdecimal() for character in node)
        # every number of JSON is a floating point number to sops
        yield Leaf(
            path,
            place,
            number(node, Kind.FLOAT),
            ambiguous=digits > (EXACT_DIGITS if node.isdecimal() else FLOAT_DIGITS),
        )
    elif isinstance(node, bool):
        yield Leaf(path, place, boolean(node))
    elif node is None:
        yield Leaf(path, place, Value(Kind.NULL, b""))
    else:
        yield Leaf(path, place, Value(Kind.TEXT, str(node).encode()))


def _plain(value: Value) -> object:
    if value.kind is Kind.NULL:
        return None
    if value.kind is Kind.BOOLEAN:
        return value.content == b"True"
    if value.kind is Kind.INTEGER:
        return int(value.content)
    if value.kind is Kind.FLOAT:
        exact = float(value.content)
        # as an integer, a negative zero would lose its sign, which is authenticated
        whole = exact.is_integer() and abs(exact) < 10**EXACT_DIGITS and value.content != b"-0"
        return int(exact) if whole else exact
    return value.text


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise SecretsUnreadable("has the same key twice in one object")
    return found


def _refused(name: str) -> None:
    raise SecretsUnreadable(f"has the number {name}, which JSON does not know")
