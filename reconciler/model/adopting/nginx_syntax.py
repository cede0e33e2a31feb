"""nginx's configuration as directives with their lines, by the rules of nginx's own reader.

A word ends at white space, ``;`` or a brace; in quotes it does not. A backslash keeps the next character from ending
anything, and is dropped before quotes and backslashes only, so that regular expressions need no second one.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace

from reconciler.model.errors import UsageError

INCLUDE_DEPTH = 16
_ESCAPED = {"t": "\t", "r": "\r", "n": "\n", '"': '"', "'": "'", "\\": "\\"}
_TOKEN = re.compile(
    r"""(?P<space>\s+)|(?P<comment>\#[^\n]*)|(?P<mark>[;{}])"""
    r"""|"(?P<double>(?:[^"\\]|\\.)*)"|'(?P<single>(?:[^'\\]|\\.)*)'"""
    r"""|(?P<bare>(?:[^\s;{}\\$"']|\\.|\$\{[^\s;{}]*\}|\$)(?:[^\s;{}\\$]|\\.|\$\{[^\s;{}]*\}|\$)*)""",
    re.DOTALL,
)
_NEEDS_QUOTES = re.compile(r"""[\s;{}"'#]|^$""")

ReadIncluded = Callable[[str], list[tuple[str, str]] | None]
"""From the pattern of an ``include`` to files and their texts; ``None`` where none can be read."""


@dataclass(frozen=True, slots=True)
class Directive:
    """``name arguments;``, or with a ``block`` of further ones in braces."""

    name: str
    arguments: tuple[str, ...]
    file: str
    line: int
    block: tuple[Directive, ...] | None = None

    def __str__(self) -> str:
        words = " ".join(map(quoted, (self.name, *self.arguments)))
        return f"{words};" if self.block is None else f"{words} {{ … }}"

    @property
    def inner(self) -> tuple[Directive, ...]:
        """The directives in the braces; none where there are no braces."""
        return self.block or ()

    def named(self, name: str) -> tuple[Directive, ...]:
        """Those in the braces that have this name, and say something."""
        return tuple(one for one in self.inner if one.name == name and one.arguments)


@dataclass(frozen=True, slots=True)
class _Word:
    text: str
    line: int
    mark: bool = False


def parse(text: str, file: str) -> tuple[Directive, ...]:
    """All directives of a text. Raises :class:`UsageError` with file and line where nginx would refuse it."""
    words = _words(text, file)
    found, ended_by = _block(words, file)
    if ended_by is not None:
        raise _unreadable(file, ended_by.line, "there is a '}' without its '{'")
    return found


def with_includes(directives: Iterable[Directive], read: ReadIncluded, depth: int = 0) -> tuple[Directive, ...]:
    """The same with the files that ``include`` names in its place; an ``include`` that cannot be read stays."""
    found: list[Directive] = []
    for one in directives:
        files = read(one.arguments[0]) if one.name == "include" and one.arguments and depth < INCLUDE_DEPTH else None
        if files is not None:
            for name, text in files:
                found += with_includes(parse(text, name), read, depth + 1)
        elif one.block is not None:
            found.append(replace(one, block=with_includes(one.block, read, depth)))
        else:
            found.append(one)
    return tuple(found)


def written(directive: Directive, depth: int = 0) -> str:
    """A directive as text that nginx reads back as the same words."""
    indent = "    " * depth
    head = indent + " ".join(map(quoted, (directive.name, *directive.arguments)))
    if directive.block is None:
        return f"{head};\n"
    return f"{head} {{\n{''.join(written(one, depth + 1) for one in directive.block)}{indent}}}\n"


def quoted(word: str) -> str:
    """A word, in quotes where it needs them."""
    text = re.sub(r"""\\(?=["'\\trn]|$)""", r"\\\\", word)
    return '"' + text.replace('"', '\\"') + '"' if _NEEDS_QUOTES.search(word) else text


def _words(text: str, file: str) -> Iterator[_Word]:
    position, line = 0, 1
    while position < len(text):
        match = _TOKEN.match(text, position)
        if match is None:
            raise _unreadable(file, line, "a quote or a brace of a variable is not closed")
        value = match[match.lastgroup or 0]
        if match.lastgroup == "mark":
            yield _Word(value, line, mark=True)
        elif match.lastgroup in ("double", "single", "bare"):
            yield _Word(re.sub(r"""\\(["'\\trn])""", lambda found: _ESCAPED[found[1]], value), line)
        line += match[0].count("\n")
        position = match.end()


def _block(words: Iterator[_Word], file: str) -> tuple[tuple[Directive, ...], _Word | None]:
    """The directives up to the closing brace, which is given too; ``None`` at the end of the text."""
    found: list[Directive] = []
    statement: list[_Word] = []
    for word in words:
        if not word.mark:
            statement.append(word)
            continue
        if word.text == "}":
            if statement:
                raise _unreadable(file, statement[0].line, f"there is no ';' after {statement[-1].text!r}")
            return tuple(found), word
        if not statement:
            raise _unreadable(file, word.line, f"there is no directive before {word.text!r}")
        block = None
        if word.text == "{":
            block, end = _block(words, file)
            if end is None:
                raise _unreadable(file, word.line, "there is a '{' without its '}'")
        head, *rest = statement
        found.append(Directive(head.text, tuple(one.text for one in rest), file, head.line, block))
        statement = []
    if statement:
        raise _unreadable(file, statement[0].line, f"there is no ';' after {statement[-1].text!r}")
    return tuple(found), None


def _unreadable(file: str, line: int, sentence: str) -> UsageError:
    return UsageError(
        f"{file}:{line}: this is not nginx's configuration: {sentence}", hint="`nginx -t` says what is wrong with it"
    )
