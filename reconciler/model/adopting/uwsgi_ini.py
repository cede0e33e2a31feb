"""Reading uWSGI's ini files by uWSGI's own rules, which are not those of other ini files.

A comment is a whole line; a value ends with its line and may hold ``;`` and ``#``; a key may stand many times;
``%d`` and its like are filled in from the file's own path, ``%(name)`` from another key. Logic (``for``, ``if-env``)
depends on the host and the moment: the keys inside it are found, and marked.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace

SECTION = "uwsgi"
INI_DEPTH = 8
"""How many sections may include each other."""

_LOGIC = re.compile(r"(for|for-\w+|if|if-[\w-]+)$")
_END = re.compile(r"(end|endfor|end-for|endif|end-if)$")
_OF_THE_PATH = re.compile(r"%(?!\()(.)")
_OF_A_KEY = re.compile(r"%\(([^)]*)\)")
_FALSE = frozenset({"false", "off", "no", "0"})


@dataclass(frozen=True, slots=True)
class Option:
    """One line: ``value`` with its placeholders filled in; ``unknown`` says what could not be, ``inside`` which
    logic the line stands in."""

    name: str
    value: str
    file: str
    line: int
    inside: str | None = None
    unknown: str | None = None

    def __str__(self) -> str:
        return f"{self.name} = {self.value}"

    @property
    def is_true(self) -> bool:
        """The value as uWSGI reads a switch: everything is on but a few words."""
        return self.value.lower() not in _FALSE


@dataclass(frozen=True, slots=True)
class IniFile:
    """The options in effect, in order, and the keys that others refer to as ``%(key)``."""

    options: tuple[Option, ...]
    variables: frozenset[str]


def read_ini(text: str, file: str, path: str, section: str = SECTION) -> IniFile:
    """Read one section of a file; ``path`` is its absolute path on the host, for ``%d`` and its like."""
    sections = _sections(text, file)
    # the file's own path is filled in when a line is read, other keys when all lines are
    options = [_placed(option, path) for option in _with_logic(_resolved(sections, section, 0))]
    variables: set[str] = set()
    for number, option in enumerate(options):
        options[number] = _filled(option, options, variables)
    return IniFile(tuple(options), frozenset(variables))


def _sections(text: str, file: str) -> dict[str, list[Option]]:
    found: dict[str, list[Option]] = {}
    section = ""
    for number, raw in enumerate(text.split("\n"), start=1):
        line = raw.strip()
        if not line or line[0] in ";#":
            continue
        if line[0] == "[":
            section = line[1:-1]
            continue
        name, _, value = line.partition("=")
        found.setdefault(section, []).append(Option(name.rstrip(), value.strip(), file, number))
    return found


def _resolved(sections: dict[str, list[Option]], section: str, depth: int) -> Iterator[Option]:
    """The options of a section, with those of others of this file that it names by ``ini = :other``."""
    for option in sections.get(section, ()):
        other = option.value[1:] if option.name == "ini" and option.value.startswith(":") else None
        if other in sections and depth < INI_DEPTH:
            yield from _resolved(sections, other, depth + 1)
        else:
            yield option


def _with_logic(options: Iterator[Option]) -> Iterator[Option]:
    inside: list[str] = []
    for option in options:
        if _END.fullmatch(option.name):
            inside = inside[:-1]
            continue
        if _LOGIC.fullmatch(option.name):
            inside.append(str(option))
            yield replace(option, inside=str(option))
            continue
        yield replace(option, inside=inside[-1]) if inside else option


def _placed(option: Option, path: str) -> Option:
    unknown: list[str] = []

    def fill(match: re.Match[str]) -> str:
        value = _part_of(path, match[1])
        if value is None:
            unknown.append(match[0])
        return match[0] if value is None else value

    value = _OF_THE_PATH.sub(fill, option.value)
    return replace(option, value=value, unknown=" and ".join(unknown) or None)


def _filled(option: Option, options: list[Option], variables: set[str]) -> Option:
    unknown = [option.unknown] if option.unknown is not None else []

    def fill(match: re.Match[str]) -> str:
        found = next((other for other in options if other.name == match[1]), None)
        if found is None or found is option or found.unknown is not None:
            unknown.append(match[0])
            return match[0]
        variables.add(match[1])
        return found.value

    value = _OF_A_KEY.sub(fill, option.value)
    unknown += re.findall(r"[$@]\([^)]*\)", value)
    return replace(option, value=value, unknown=" and ".join(unknown) or None)


def _part_of(path: str, letter: str) -> str | None:
    """What a placeholder of one letter stands for; ``None``: it depends on more than the file's path."""
    folder, name = posixpath.split(path)
    stem, extension = posixpath.splitext(name)
    if letter.isdigit():
        parts = folder.strip("/").split("/")
        return parts[int(letter)] if int(letter) < len(parts) else ""
    return {
        "%": "%",
        "p": path,
        "s": name,
        "d": folder.rstrip("/") + "/",
        "e": extension.lstrip("."),
        "n": stem,
        "c": posixpath.basename(folder),
    }.get(letter.lower())
