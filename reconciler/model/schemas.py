"""JSON Schema of the classes that pydantic reads, for editors and for the sentences about unknown keys."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import is_dataclass
from datetime import timedelta
from typing import Any, TypeVar

from pydantic import Discriminator, Field, StrictBool, StrictStr, Tag, TypeAdapter
from pydantic.json_schema import GenerateJsonSchema

from reconciler.model import fields
from reconciler.model.yaml_documents import Path

DIALECT = "https://json-schema.org/draft/2020-12/schema"

Schema = dict[str, Any]
_Kind = TypeVar("_Kind")
_NAMES = {
    "fields": fields,
    "about": fields.about,
    "Discriminator": Discriminator,
    "Field": Field,
    "StrictBool": StrictBool,
    "StrictStr": StrictStr,
    "Tag": Tag,
}


class _Generator(GenerateJsonSchema):
    """Writes defaults as a user would write them."""

    def encode_default(self, default: Any) -> Any:
        if isinstance(default, timedelta):
            return duration_text(default)
        if is_dataclass(default):
            return {}
        if isinstance(default, tuple | list):
            return [self.encode_default(item) for item in default]
        return super().encode_default(default)

    def get_title_from_name(self, name: str) -> str:
        words = re.sub(r"(?<=[a-z])(?=[A-Z])|_", " ", name).lower()
        return words[:1].upper() + words[1:]


def adapter_of(kind: type[_Kind]) -> TypeAdapter[_Kind]:
    """Reads documents of one kind, :class:`~reconciler.model.manifest.Manifest` for one.

    The annotations of those classes name what their modules import for type checkers only. pydantic evaluates
    annotations in the module of their class, so that the names are put there before it does.
    """
    vars(sys.modules[kind.__module__]).update(_NAMES)
    return TypeAdapter(kind)


def duration_text(duration: timedelta) -> str:
    """A duration in the largest unit that leaves no fraction: ``5m``, ``90s``, ``1500ms``."""
    milliseconds = round(duration.total_seconds() * 1000)
    for unit, size in (("h", 3_600_000), ("m", 60_000), ("s", 1000)):
        if milliseconds and milliseconds % size == 0:
            return f"{milliseconds // size}{unit}"
    return f"{milliseconds}ms" if milliseconds else "0s"


def json_schema(adapter: TypeAdapter[Any], *, identifier: str, title: str) -> Schema:
    """The schema of one kind of document, with everything that an editor shows."""
    schema = adapter.json_schema(schema_generator=_Generator)
    for definition in (schema, *schema.get("$defs", {}).values()):
        for name, value in definition.get("properties", {}).items():
            if value.get("type") == "object":
                value.setdefault("default", {})
                if "patternProperties" in value:
                    value["additionalProperties"] = False
            if "$ref" in value:
                # pydantic leaves out a description that equals the one of the class
                value.setdefault("description", schema["$defs"][_definition(value)].get("description"))
                if name not in definition.get("required", ()):
                    value.setdefault("default", {})
    return {"$schema": DIALECT, "$id": identifier, **schema, "title": title}


def keys_at(schema: Schema, path: Path) -> tuple[str, ...]:
    """The keys that may stand at ``path``; empty where any key may, or where there is no mapping."""
    node: Schema | None = schema
    for key in path:
        node = None if node is None else _inside(schema, node, key)
    return tuple(_properties(schema, node)) if node is not None else ()


def places_of(schema: Schema, key: str) -> tuple[Path, ...]:
    """Every path at which the schema knows ``key``."""
    return tuple(path for path in _paths(schema, schema, ()) if path[-1] == key)


def _paths(schema: Schema, node: Schema, start: Path) -> Iterator[Path]:
    for name, value in _properties(schema, node).items():
        yield (*start, name)
        yield from _paths(schema, value, (*start, name))


def _definition(node: Schema) -> str:
    return str(node["$ref"]).rpartition("/")[2]


def _branches(schema: Schema, node: Schema) -> Iterator[Schema]:
    if "$ref" in node:
        yield from _branches(schema, schema["$defs"][_definition(node)])
        return
    yield node
    for union in ("anyOf", "oneOf", "allOf"):
        for branch in node.get(union, ()):
            yield from _branches(schema, branch)


def _properties(schema: Schema, node: Schema) -> Mapping[str, Schema]:
    found: dict[str, Schema] = {}
    for branch in _branches(schema, node):
        found |= branch.get("properties", {})
    return found


def _inside(schema: Schema, node: Schema, key: str | int) -> Schema | None:
    for branch in _branches(schema, node):
        inner = branch.get("items") if isinstance(key, int) else branch.get("properties", {}).get(key)
        if isinstance(inner, dict):
            return inner
    return None
