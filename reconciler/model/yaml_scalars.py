"""YAML 1.2's core schema: which scalars are null, true, false, integers or floats; all else is text."""

from __future__ import annotations

import re
from typing import Any

import yaml

NUMBER_CHARACTERS = 64
"""A longer number is refused; nothing here counts that far."""
TAG_CHARACTERS = 60
"""How much of a tag a message shows."""

STANDARD = "tag:yaml.org,2002:"
_TYPES = {"int": int, "float": float, "bool": bool, "null": type(None)}
_CONSTANTS = {
    "": None, "~": None, "null": None, "Null": None, "NULL": None,
    "true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False,
}  # fmt: skip
_INTEGER = re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")


def scalar_value(event: yaml.ScalarEvent) -> Any:
    """What a scalar stands for; ValueError, with a sentence, for a tag or a number that is not taken."""
    text: str = event.value
    if event.tag is None:
        return plain_value(text) if event.implicit[0] else text
    if event.tag in ("!", STANDARD + "str"):
        return text
    kind = event.tag.removeprefix(STANDARD)
    if kind == event.tag or kind not in _TYPES:
        raise ValueError(tag_sentence(event.tag))
    value = plain_value(text)
    if kind == "float" and type(value) is int:
        return float(value)
    if type(value) is not _TYPES[kind]:
        raise ValueError(f"the tag !!{kind} does not fit this value")
    return value


def plain_value(text: str) -> Any:
    """The value of a scalar that is written without quotes; ValueError for a number that is too long."""
    if text in _CONSTANTS:
        return _CONSTANTS[text]
    if text[0] not in "+-.0123456789":
        return text
    if _INTEGER.fullmatch(text):
        _refuse_long(text)
        return int(text, 0) if text[:2] in ("0o", "0x") else int(text)
    if _FLOAT.fullmatch(text):
        _refuse_long(text)
        return float(text.lower().replace(".inf", "inf").replace(".nan", "nan"))
    return text


def tag_sentence(tag: str) -> str:
    """What is wrong with a tag."""
    return f"the tag {tag.replace(STANDARD, '!!')[:TAG_CHARACTERS]} is not allowed; only plain values are read"


def _refuse_long(text: str) -> None:
    if len(text) > NUMBER_CHARACTERS:
        raise ValueError(f"a number of {len(text):,} characters is too long; write it in quotes if it is text")
