"""Where a stylesheet names other files: ``url()``, ``@import``, ``image-set()`` and ``sourceMappingURL``."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from urllib.parse import unquote

_DOUBLE = r'"(?:[^"\\\n]|\\.)*+"'
_SINGLE = r"'(?:[^'\\\n]|\\.)*+'"
_COMMENT = r"/\*.*?(?:\*/|\Z)"
_TOKEN = re.compile(
    rf"""
      (?P<comment>{_COMMENT})
    | (?<![\w-])url\(\s*+(?P<url>{_DOUBLE}|{_SINGLE}|(?:[^\s"'()\\]|\\.)*+)\s*+\)
    | (?P<string>{_DOUBLE}|{_SINGLE})
    | (?P<import>@import(?![\w-]))
    | (?P<set>image-set\()
    | (?P<open>\()
    | (?P<close>\))
    | (?P<end>[;{{}}])
    """,
    re.VERBOSE | re.DOTALL | re.IGNORECASE,
)
_MAP = re.compile(r"/\*[#@]\s*sourceMappingURL=(?P<url>\S+?)\s*\*/")
_ESCAPE = re.compile(r"\\(?:([0-9a-fA-F]{1,6})\s?|(.))", re.DOTALL)
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:|//")
_PATH_END = re.compile(r"(?<!\\)[?#]")
_HIGHEST_CHARACTER = 0x10FFFF


@dataclass(frozen=True, slots=True)
class Reference:
    """A URL as it stands at ``text[start:end]``, without quotes."""

    start: int
    end: int
    raw: str

    @property
    def path(self) -> str:
        """The path as it stands, without query and fragment."""
        return _PATH_END.split(self.raw, maxsplit=1)[0]

    @property
    def is_relative(self) -> bool:
        """Whether the reference depends on where the stylesheet lies."""
        return bool(self.path) and not self.raw.startswith("/") and not _SCHEME.match(self.raw)

    def target(self, stylesheet: str, mount: str) -> str | None:
        """The name of the file meant, relative to the folder; None where it is outside.

        ``stylesheet`` is the name of the file that holds the reference, ``mount`` the URL of the folder.
        """
        path = unquote(_unescaped(self.path))
        if not path or _SCHEME.match(self.raw):
            return None
        if path.startswith("/"):
            prefix = mount.rstrip("/") + "/"
            return posixpath.normpath(path.removeprefix(prefix)) if path.startswith(prefix) else None
        name = posixpath.normpath(posixpath.join(posixpath.dirname(stylesheet), path))
        return None if name.startswith("..") else name


def references(text: str) -> Iterator[Reference]:
    """All references of a stylesheet, in order."""
    in_import = False
    functions: list[bool] = []  # for every open parenthesis, whether strings in it are files
    for token in _TOKEN.finditer(text):
        kind = token.lastgroup
        if kind == "comment":
            if found := _MAP.fullmatch(token[0]):
                yield _reference(token.start() + found.start("url"), found["url"])
        elif kind == "url":
            yield _reference(token.start("url"), token["url"])
            in_import = False
        elif kind == "string":
            if in_import or (functions and functions[-1]):
                yield _reference(token.start(), token[0])
            in_import = False
        elif kind == "import":
            in_import = True
        elif kind in ("set", "open"):
            functions.append(kind == "set")
        elif kind == "close":
            del functions[-1:]
        else:
            in_import = False
            functions.clear()


def replaced(text: str, changes: Iterable[tuple[Reference, str]]) -> str:
    """``text`` with each reference, in order, replaced by its new text."""
    parts: list[str] = []
    position = 0
    for reference, new in changes:
        parts += text[position : reference.start], new
        position = reference.end
    return "".join([*parts, text[position:]])


def _reference(start: int, raw: str) -> Reference:
    if raw[:1] in ("'", '"'):
        start, raw = start + 1, raw[1:-1]
    return Reference(start, start + len(raw), raw)


def _unescaped(raw: str) -> str:
    def character(match: re.Match[str]) -> str:
        if match[1]:
            code = int(match[1], 16)
            return chr(code) if code <= _HIGHEST_CHARACTER else "\ufffd"
        return match[2]

    return _ESCAPE.sub(character, raw)
