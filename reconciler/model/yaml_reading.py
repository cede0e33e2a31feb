"""YAML text as plain data that remembers its lines.

The schema is YAML 1.2's core schema: ``no``, ``on``, ``1_000`` and dates are text, and only null, true, false,
integers and floats are anything else. Text comes from other people's repositories, so every way to make a parser
work without end has a limit, here or in :mod:`reconciler.model.yaml_building`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from reconciler.model.errors import Problem
from reconciler.model.yaml_building import FILE_DOCUMENTS, DocumentBuilder
from reconciler.model.yaml_documents import Document

FILE_BYTES = 1024 * 1024
"""The largest file that is read at all."""
FILE_DIRECTIVES = 100
"""Lines that begin with ``%``: the parser compares each with all before it."""

_UNPRINTABLE = re.compile("[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufefe\uff00-\ufffd\U00010000-\U0010ffff]")
_DOCUMENT_START = re.compile(r"^(?:%[^\n]*\n)*---(?=\s|$)|(?<=^\.\.\.)\s*\n", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Documents:
    """The documents of one file; ``problems`` are those that belong to no document, so that some may be unknown."""

    documents: tuple[Document, ...]
    problems: tuple[Problem, ...] = ()


def read_documents(text: bytes, *, file: str) -> Documents:
    """Every document of a file. Raises nothing: what is wrong is a :class:`Problem` of the file or of a document."""
    decoded = _decode(text, file)
    if isinstance(decoded, Problem):
        return Documents((), (decoded,))
    builder = DocumentBuilder(file)
    problem = builder.read(decoded)
    if problem is not None:
        # the rest of the file is unknown to the parser, but a line of "---" always begins a new document
        return _read_parts(decoded, file)
    return _limited(builder.documents, file)


def _read_parts(text: str, file: str) -> Documents:
    documents: list[Document] = []
    problems: list[Problem] = []
    for first_line, part in _parts(text):
        builder = DocumentBuilder(file, first_line=first_line, first_number=len(documents) + 1)
        problem = builder.read(part)
        if problem is not None and not builder.documents:
            problems.append(problem)
        documents += builder.documents
        if len(documents) > FILE_DOCUMENTS:
            break
    return _limited(documents, file, problems)


def _parts(text: str) -> Iterator[tuple[int, str]]:
    # an end marker belongs to the part before it, a start marker and its directives to the part after it
    starts = [0]
    for match in _DOCUMENT_START.finditer(text):
        starts.append(match.start() if match[0].lstrip().startswith(("-", "%")) else match.end())
    line = 0
    for start, end in zip(starts, [*starts[1:], len(text)], strict=True):
        yield line, text[start:end]
        line += text.count("\n", start, end)


def _limited(documents: list[Document], file: str, problems: Iterable[Problem] = ()) -> Documents:
    if len(documents) > FILE_DOCUMENTS:
        message = f"the file has more than {FILE_DOCUMENTS:,} documents; spread them over several files"
        return Documents((), (Problem(file, 0, "", message),))
    return Documents(tuple(documents), tuple(problems))


def _decode(text: bytes, file: str) -> str | Problem:
    if len(text) > FILE_BYTES:
        return Problem(file, 0, "", f"the file has {len(text):,} bytes, and {FILE_BYTES:,} are the limit")
    try:
        decoded = text.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        byte = error.object[error.start]
        return Problem(file, line, "", f"the file is not UTF-8 text: the byte 0x{byte:02x} does not fit")
    if match := _UNPRINTABLE.search(decoded):
        line = decoded.count("\n", 0, match.start()) + 1
        return Problem(file, line, "", f"the character U+{ord(match[0]):04X} is not allowed in YAML")
    if len(re.findall(r"^%", decoded, re.MULTILINE)) > FILE_DIRECTIVES:
        return Problem(file, 0, "", f"the file has more than {FILE_DIRECTIVES} lines that begin with '%'")
    return decoded
