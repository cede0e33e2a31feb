"""The program that minifies files in place, run as a process of its own.

Own process, because neither library may share one with the agent: lightningcss overflows the stack on a stylesheet
with 100,000 open braces and takes the process with it, and minify brings the Go runtime, its threads and its signal
handlers. It imports nothing of the package, so that it can be started by its path.

Arguments: the folder, and a file with names relative to it, each ended by a NUL byte. Standard output: JSON lines,
``{"at": N}`` before file N is read, and ``{"at": N, "line": L, "problem": "..."}`` (L from 1, 0: unknown) after one
that cannot be parsed.
"""

from __future__ import annotations

import json
import os
import re
import sys
from pathlib import Path

CSS = "text/css"
JAVASCRIPT = "application/javascript"
SVG = "image/svg+xml"

MEDIA_TYPES = {
    ".css": CSS,
    ".js": JAVASCRIPT,
    ".mjs": JAVASCRIPT,
    ".html": "text/html",
    ".htm": "text/html",
    ".svg": SVG,
    ".json": "application/json",
    ".webmanifest": "application/json",
    ".xml": "application/xml",
}

JAVASCRIPT_VERSION = 2015
"""The newest ECMAScript that the minifier may introduce; what an app wrote itself stays."""

_OPTIONS = {
    "html-keep-default-attr-vals": True,  # selectors such as input[type=text] need them
    "html-keep-document-tags": True,
    "html-keep-end-tags": True,
    "html-keep-special-comments": True,
    "js-version": JAVASCRIPT_VERSION,
    "json-keep-numbers": True,  # 1.0 stays 1.0 for readers that tell it from 1
    "xml-keep-whitespace": True,
}
_BYTE_ORDER_MARK = "\ufeff"
_CHARSET = re.compile(r"""@charset\s+["'][^"']*["']\s*;""", re.IGNORECASE)
_RANGE = re.compile(
    r"""(?s)"(?:[^"\\]|\\.)*+"|'(?:[^'\\]|\\.)*+'|/\*.*?\*/"""  # not in strings and comments
    r"""|\((?P<vendor>-[a-z]+-)?(?P<feature>[a-z][a-z-]*)(?P<side>[<>])="""
    r"""(?P<value>(?:[^()<>=:;{}"']|\((?:[^()]|\([^()]*\))*\))+)\)"""
)
_CSS_PROBLEM = re.compile(r"(?s)(?:.*? failed: )?(?P<what>.*) at :(?P<line>\d+):\d+")
_OTHER_PROBLEM = re.compile(r"(?s)(?P<what>.*?) on line (?P<line>\d+) and column \d+")
_OUTPUT_FULL = "EOF"


class NotParsed(Exception):
    """A file has a syntax error; ``line`` counts from 1, 0 is unknown."""

    def __init__(self, what: str, line: int) -> None:
        super().__init__(what)
        self.line = line


def minified(text: str, media_type: str) -> str:
    """``text`` without what a browser does not need; unchanged where that would change its meaning.

    Raises :class:`NotParsed`.
    """
    mark = _BYTE_ORDER_MARK if text.startswith(_BYTE_ORDER_MARK) else ""
    body = text.removeprefix(mark)
    if _left_alone(body, media_type):
        return text
    return mark + (_stylesheet(body) if media_type == CSS else _other(body, media_type))


def _left_alone(text: str, media_type: str) -> bool:
    if media_type == JAVASCRIPT:
        # the minifier joins the first line of a script for an interpreter with the second
        return text.startswith("#!")
    # the minifier folds white space in SVG text even where the file asks to preserve it
    return media_type == SVG and "<text" in text and ("xml:space" in text or "white-space" in text)


def _stylesheet(text: str) -> str:
    import lightningcss  # noqa: PLC0415 - the other files do not need it

    try:
        result = lightningcss.process_stylesheet(text, filename="")
    except ValueError as error:
        match = _CSS_PROBLEM.fullmatch(str(error))
        if not match:
            raise NotParsed(str(error), 0) from error
        # lightningcss counts lines from 0; an unexpected end is best shown at the last line that has something
        last = text.rstrip().count("\n") + 1
        raise NotParsed(match["what"], min(int(match["line"]) + 1, last)) from error
    # (width>=600px) is shorter than (min-width:600px), but browsers before 2023 do not know it
    result = _RANGE.sub(_without_range, result)
    charset = _CHARSET.match(text)
    return charset[0] + result if charset and not result.isascii() else result


def _without_range(found: re.Match[str]) -> str:
    if not found["feature"]:
        return found[0]
    side, vendor = "min" if found["side"] == ">" else "max", found["vendor"] or ""
    # Firefox alone has its prefix in the middle: min--moz-device-pixel-ratio
    name = f"{side}-{vendor}{found['feature']}" if vendor == "-moz-" else f"{vendor}{side}-{found['feature']}"
    return f"({name}:{found['value']})"


def _other(text: str, media_type: str) -> str:
    import minify  # noqa: PLC0415

    minify.config(_OPTIONS)
    try:
        return str(minify.string(media_type, text))
    except minify.MinifyError as error:
        # the library gives the output as much room as the input: this one would have become larger
        if str(error) == _OUTPUT_FULL:
            return text
        match = _OTHER_PROBLEM.match(str(error))
        raise NotParsed(match["what"] if match else str(error), int(match["line"]) if match else 0) from error


def _minify_file(path: str) -> None:
    with open(path, "rb") as file:  # noqa: PTH123
        before = file.read()
    try:
        text = before.decode()
    except UnicodeDecodeError:
        return
    after = minified(text, MEDIA_TYPES[os.path.splitext(path)[1].lower()]).encode()  # noqa: PTH122
    if len(after) < len(before):
        with open(path, "wb") as file:  # noqa: PTH123
            file.write(after)


def main() -> None:
    """Minify the files that are named."""
    folder = os.fsencode(sys.argv[1])
    names = Path(sys.argv[2]).read_bytes().split(b"\0")[:-1]
    for number, name in enumerate(names):
        print(json.dumps({"at": number}), flush=True)  # noqa: T201
        try:
            _minify_file(os.fsdecode(folder + b"/" + name))
        except NotParsed as error:
            print(json.dumps({"at": number, "line": error.line, "problem": str(error)}), flush=True)  # noqa: T201


if __name__ == "__main__":
    main()
