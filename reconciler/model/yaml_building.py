"""Documents from a parser's events.

The data are built from events, and not by PyYAML's composer, because a composer recurses and can only count once it
is too late. A container is put into its parent before it is filled, so that a broken document keeps its beginning:
that is how its app's name is known.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass, replace
from typing import Any, NoReturn, cast

import yaml

from reconciler.model.errors import Problem
from reconciler.model.yaml_documents import KEY_CHARACTERS, Document, Path, Place, field_name
from reconciler.model.yaml_scalars import STANDARD, plain_value, scalar_value, tag_sentence

NESTING_LEVELS = 50
"""How deep mappings and sequences may lie in each other."""
DOCUMENT_NODES = 20_000
"""Values in one document, counted with every alias written out."""
FILE_DOCUMENTS = 1_000
"""Documents in one file."""


_TOO_MANY = f"the document has more than {DOCUMENT_NODES:,} values once aliases are written out"
_ENDS = frozenset({yaml.MappingEndEvent, yaml.SequenceEndEvent})


class _Refused(Exception):
    """The rest of this document is not read."""


@dataclass(slots=True)
class _Frame:
    """A mapping or a sequence that is being filled."""

    data: dict[str, Any] | list[Any]
    place: Place
    anchor: str | None
    nodes_before: int
    at_key: bool
    key: str = ""
    keep: bool = True
    key_line: int = 0
    height: int = 1


@dataclass(frozen=True, slots=True)
class _Anchored:
    """What an alias stands for: its value, a container's place, and how many values and levels it brings."""

    data: Any
    text: str
    place: Place | None
    nodes: int
    height: int


class DocumentBuilder:
    """Builds documents from the events of one stream."""

    def __init__(self, file: str, *, first_line: int = 0, first_number: int = 1) -> None:
        self.file = file
        self.documents: list[Document] = []
        self._first_line = first_line
        self._number = first_number
        self._open = False
        self._reset(1)

    def _reset(self, line: int) -> None:
        self._stack: list[_Frame] = []
        self._anchors: dict[str, _Anchored | None] = {}
        self._problems: list[Problem] = []
        self._nodes = 0
        self._whole = True
        self._root: Any = None
        self._root_place = Place(line)

    def read(self, text: str) -> Problem | None:
        """Fill ``documents``; return the problem that ended the reading early, which the last document also has."""
        events = cast("Generator[Any]", yaml.parse(text, Loader=yaml.CSafeLoader))
        problem = None
        try:
            for event in events:
                self._take(event)
                if len(self.documents) > FILE_DOCUMENTS:
                    break
        except _Refused:
            problem = self._problems[-1]
        except yaml.YAMLError as error:
            problem = _syntax_problem(error, self.file, self._first_line, text)
            self._problems.append(problem)
        finally:
            events.close()
        if problem is not None and self._open:
            self._whole = False
            self._finish()
        elif problem is not None and self.documents:
            # something follows a whole document without a line of "---" between them
            last = self.documents[-1]
            self.documents[-1] = replace(last, problems=(*last.problems, problem))
        return problem

    def _take(self, event: Any) -> None:
        # by class and not isinstance, because this runs once for every value of every manifest
        kind = type(event)
        if kind is yaml.ScalarEvent:
            self._scalar(event)
        elif kind is yaml.MappingStartEvent:
            self._start({}, event)
        elif kind is yaml.SequenceStartEvent:
            self._start([], event)
        elif kind in _ENDS:
            self._end()
        elif kind is yaml.AliasEvent:
            self._alias(event)
        elif kind is yaml.DocumentStartEvent:
            self._reset(self._line(event))
            self._open = True
        elif kind is yaml.DocumentEndEvent:
            self._finish()

    def _finish(self) -> None:
        self._open = False
        self.documents.append(
            Document(self._number, self._root, self._root_place, tuple(self._problems), self._whole)
        )
        self._number += 1

    def _line(self, event: Any) -> int:
        return self._first_line + int(event.start_mark.line) + 1

    def _scalar(self, event: Any) -> None:
        self._count(1, event)
        text: str = event.value
        line = self._line(event)
        try:
            value = plain_value(text) if event.tag is None and event.implicit[0] else scalar_value(event)
        except ValueError as error:
            value = text
            self._problem(line, str(error))
        if event.anchor:
            self._anchors[event.anchor] = _Anchored(value, text, None, 1, 0)
        self._put(value, line, text)

    def _start(self, data: dict[str, Any] | list[Any], event: Any) -> None:
        line = self._line(event)
        if len(self._stack) >= NESTING_LEVELS:
            self._refuse(line, f"values are nested deeper than {NESTING_LEVELS} levels")
        expected = STANDARD + "map" if isinstance(data, dict) else STANDARD + "seq"
        if event.tag not in (None, "!", expected):
            self._problem(line, tag_sentence(event.tag))
        before = self._nodes
        self._count(1, event)
        place = Place(line)
        self._put(data, line, "", place)
        if event.anchor:
            self._anchors[event.anchor] = None
        self._stack.append(_Frame(data, place, event.anchor, before, at_key=isinstance(data, dict)))

    def _end(self) -> None:
        frame = self._stack.pop()
        if frame.anchor:
            nodes = self._nodes - frame.nodes_before
            self._anchors[frame.anchor] = _Anchored(frame.data, "", frame.place, nodes, frame.height)
        self._raise_height(frame.height)

    def _raise_height(self, height: int) -> None:
        if self._stack and self._stack[-1].height <= height:
            self._stack[-1].height = height + 1

    def _alias(self, event: Any) -> None:
        line = self._line(event)
        if event.anchor not in self._anchors:
            self._problem(line, f"'*{event.anchor}' refers to an anchor that is not defined before it")
            self._put(None, line, "")
            return
        anchored = self._anchors[event.anchor]
        if anchored is None:
            self._refuse(line, f"'*{event.anchor}' refers to the value that it is a part of")
        if len(self._stack) + anchored.height > NESTING_LEVELS:
            self._refuse(line, f"values are nested deeper than {NESTING_LEVELS} levels once aliases are written out")
        self._count(anchored.nodes, event)
        self._put(anchored.data, line, anchored.text, anchored.place)
        self._raise_height(anchored.height)

    def _put(self, value: Any, line: int, text: str, place: Place | None = None) -> None:
        """Add a value to the innermost container, as the next item, the next key or the value of the last key."""
        if not self._stack:
            self._root, self._root_place = value, place or Place(line)
            return
        frame = self._stack[-1]
        data = frame.data
        if frame.at_key:
            frame.at_key = False
            frame.key_line = line
            frame.key = value if isinstance(value, str) else text
            # a value whose key is a problem is dropped
            frame.keep = isinstance(value, str) and value not in data and value != "<<"
            if not frame.keep:
                self._refuse_key(frame, value, line)
            return
        key: str | int
        if isinstance(data, list):
            key = len(data)
            data.append(value)
        else:
            frame.at_key = True
            if not frame.keep:
                return
            key, line = frame.key, frame.key_line
            data[key] = value
        frame.place.lines[key] = line
        if place is not None:
            frame.place.inner[key] = place
        elif not isinstance(value, str):
            frame.place.texts[key] = text

    def _refuse_key(self, frame: _Frame, value: Any, line: int) -> None:
        if isinstance(value, dict | list):
            sentence = "a key must be text, and here it is a mapping or a list"
        elif not isinstance(value, str):
            sentence = f'a key must be text; write it in quotes: "{frame.key[:KEY_CHARACTERS]}"'
        elif value == "<<":
            self._whole = False
            sentence = "merge keys ('<<') are not part of YAML 1.2; write the keys out"
        else:
            sentence = f"the key is given twice, first on line {frame.place.lines[value]}"
        self._problem(line, sentence)

    def _count(self, nodes: int, event: Any) -> None:
        self._nodes += nodes
        if self._nodes > DOCUMENT_NODES:
            self._refuse(self._line(event), _TOO_MANY)

    def _problem(self, line: int, message: str) -> None:
        self._problems.append(Problem(self.file, line, field_name(self._path()), message))

    def _refuse(self, line: int, message: str) -> NoReturn:
        self._problem(line, message)
        raise _Refused

    def _path(self) -> Path:
        path: list[str | int] = []
        for number, frame in enumerate(self._stack):
            if isinstance(frame.data, list):
                innermost = number == len(self._stack) - 1
                path.append(len(frame.data) if innermost else len(frame.data) - 1)
            elif frame.key:
                path.append(frame.key)
        return tuple(path)


def _syntax_problem(error: yaml.YAMLError, file: str, first_line: int, text: str) -> Problem:
    mark = getattr(error, "problem_mark", None)
    what = getattr(error, "problem", None) or str(error)
    context = getattr(error, "context", None)
    line = int(mark.line) if mark else 0
    lines = text.split("\n")
    if line < len(lines) and lines[line].lstrip(" ").startswith("\t"):
        sentence = "YAML is indented with spaces, and this line begins with a tab"
    else:
        sentence = f"this is not YAML: {what}" + (f" {context}" if context else "")
    # at the end of a file the parser points behind the last line
    last = max(len(lines) - (1 if lines[-1] == "" else 0), 1)
    return Problem(file, first_line + min(line + 1, last), "", sentence)
