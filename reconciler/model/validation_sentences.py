"""What pydantic found, said in sentences that a stranger understands, each with its place in the file."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from difflib import get_close_matches
from typing import Any

from pydantic import ValidationError

from reconciler.model.errors import Problem
from reconciler.model.fields import MAPPING_TAG, TEXT_TAG, shown
from reconciler.model.schemas import Schema, keys_at, places_of
from reconciler.model.values import camel_case
from reconciler.model.yaml_documents import Document, Path, field_name

DOCUMENT_PROBLEMS = 50
"""How many wrong values of one document are told; more are counted."""
SIMILARITY = 0.6
"""How much two words must have in common (0 to 1) for one to be offered in place of the other."""
SECRET_PLACES = frozenset({("spec", "env"), ("spec", "secrets")})
"""Mappings whose values no message may show."""
DETOURS = frozenset({TEXT_TAG, MAPPING_TAG, "[key]"})
"""Parts of pydantic's paths that stand for no key in the file."""
_YAML_1_1_BOOLEANS = frozenset({"yes", "no", "on", "off", "y", "n"})


def problems_of(
    error: ValidationError,
    document: Document,
    *,
    file: str,
    schema: Callable[[], Schema],
    below: tuple[Path, ...] = (),
) -> list[Problem]:
    """One problem for every mistake that pydantic found in ``document``, the first :data:`DOCUMENT_PROBLEMS` of them.

    What lies at or below the paths in ``below`` is left out: something else was said about it.
    """
    mistakes = []
    for detail in error.errors(include_url=False):
        if detail["type"] == "too_short" and detail["input"]:
            continue  # pydantic counts only the entries without a mistake
        path = _path(detail["loc"], document.data)
        if not any(path[: len(refused)] == refused for refused in below):
            mistakes.append((document.line(path), path, detail))
    mistakes.sort(key=lambda mistake: mistake[0])
    problems = [
        Problem(file, line, field_name(path), _sentence(detail, path, document, schema))
        for line, path, detail in mistakes[:DOCUMENT_PROBLEMS]
    ]
    if len(mistakes) > DOCUMENT_PROBLEMS:
        # looking for a key that was meant takes time, and nobody reads thousands of sentences
        more = len(mistakes) - DOCUMENT_PROBLEMS
        problems.append(Problem(file, problems[-1].line, "", f"and {more:,} more problems in this document"))
    return problems


def _path(location: tuple[str | int, ...], data: Any) -> Path:
    path: list[str | int] = []
    for part in location:
        try:
            # a list has no text keys, and nothing else has keys at all
            data = data[part]
        except (LookupError, TypeError):
            if part in DETOURS:
                continue
            data = None
        path.append(part)
    return tuple(path)


def _sentence(detail: Mapping[str, Any], path: Path, document: Document, schema: Callable[[], Schema]) -> str:
    kind, value = detail["type"], detail["input"]
    context = detail.get("ctx", {})
    written = document.written(path)
    if kind in _EXPECTED:
        sentence = _wrong_type(_EXPECTED[kind], value, written, secret=path[:2] in SECRET_PLACES)
    elif kind == "unexpected_keyword_argument":
        sentence = _unknown(path, schema())
    elif kind in ("enum", "literal_error"):
        sentence = _not_among(value, re.findall(r"'([^']*)'", context["expected"]))
    elif kind == "greater_than_equal":
        sentence = f"expected at least {context['ge']:g}, found {written or value}"
    elif kind == "less_than_equal":
        sentence = f"expected at most {context['le']:g}, found {written or value}"
    else:
        sentence = _SENTENCES.get(kind) or str(detail["msg"])
    return sentence


_SENTENCES = {"missing": "this key is required", "too_short": "expected at least one entry, found none"}
_EXPECTED = {
    "dataclass_type": "a mapping of keys",
    "dict_type": "a mapping of keys",
    "tuple_type": "a list",
    "string_type": "text",
    "int_type": "a whole number",
    "float_type": "a number",
    "finite_number": "a number",
    "bool_type": "true or false",
}


def _wrong_type(expected: str, value: object, written: str | None, *, secret: bool) -> str:
    if secret and not isinstance(value, dict | list | None):
        return f"expected {expected}, found something else; write it in quotes"
    advice = ""
    if expected == "text" and isinstance(value, bool | int | float) and written is not None:
        advice = f'; write it in quotes: "{written[:40]}"'
    elif expected == "true or false" and isinstance(value, str) and value.lower() in _YAML_1_1_BOOLEANS:
        advice = "; YAML 1.2 has no yes, no, on and off"
    elif expected.endswith("number") and isinstance(value, str) and re.fullmatch(r"-?[0-9]+(\.[0-9]+)?", value):
        advice = "; write it without quotes"
    elif expected == "a list" and isinstance(value, str):
        advice = "; begin each entry with '- ', or put it in brackets"
    return f"expected {expected}, found {found(value, written)}{advice}"


def found(value: object, written: str | None = None) -> str:
    """A value of the wrong type, as a sentence names it."""
    if value is None:
        return "nothing"
    if isinstance(value, dict):
        return "a mapping"
    if isinstance(value, list):
        return "a list"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | float):
        return f"the number {written[:40] if written else value}"
    return f"the text {shown(value)}"


def _not_among(value: object, allowed: list[str]) -> str:
    names = " or ".join(allowed)
    if not isinstance(value, str):
        return f"expected {names}, found {found(value)}"
    close = get_close_matches(value.lower(), allowed, n=1, cutoff=SIMILARITY) if len(allowed) > 1 else []
    return f"expected {names}, found {shown(value)}" + (f"; did you mean {close[0]}?" if close else "")


def _unknown(path: Path, schema: Schema) -> str:
    key = str(path[-1])
    allowed = keys_at(schema, path[:-1])
    if "_" in key or "-" in key:
        camel = camel_case(key.replace("-", "_"))
        if camel in allowed:
            return f"unknown key; did you mean {camel}?"
    close = get_close_matches(key[:60].lower(), {name.lower(): name for name in allowed}, n=1, cutoff=SIMILARITY)
    if close:
        return f"unknown key; did you mean {next(name for name in allowed if name.lower() == close[0])}?"
    elsewhere = [field_name(place) for place in places_of(schema, key)]
    if elsewhere:
        return f"unknown key here; did you mean {' or '.join(elsewhere[:2])}?"
    return f"unknown key; the keys here are {', '.join(allowed)}" if allowed else "unknown key"
