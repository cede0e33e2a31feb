"""Encrypted files in YAML: values are replaced where they stand, so that layout and comments stay as they are."""

from __future__ import annotations

import bisect
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import yaml

from reconciler.host.sops.documents import DEPTH, EXACT_DIGITS, FLOAT_DIGITS, Leaf
from reconciler.host.sops.metadata import METADATA_KEY
from reconciler.host.sops.values import Kind, Value, boolean, number
from reconciler.model.errors import SecretsUnreadable
from reconciler.model.yaml_reading import FILE_DIRECTIVES

INDENTATION = 4

_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_DIRECTIVE = re.compile(r"^%", re.MULTILINE)
_COMMENT = re.compile(r"(?:^|(?<=[ \t]))#([^\n]*)", re.MULTILINE)
_NULLS = frozenset({"", "~", "null", "Null", "NULL"})
_BOOLEANS = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}
_INTEGER = re.compile(r"-?(0|[1-9][0-9]*)")
_FLOAT = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][-+]?[0-9]+)?")
_TIME = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]+)?(Z|[-+][0-9]{2}:[0-9]{2})")
# numbers and dates to some programs that read YAML, and text or other numbers to others
_DISPUTED = re.compile(
    r"[-+]?(0[xXoObB]?[0-9a-fA-F_]+|[0-9][0-9_]*(\.[0-9_]*)?([eE][-+]?[0-9]+)?|\.[0-9_]+([eE][-+]?[0-9]+)?"
    r"|\.(inf|Inf|INF|nan|NaN|NAN))|[0-9]{4}-[0-9]{1,2}-[0-9]{1,2}.*"
)
_PLAIN = re.compile(r"[A-Za-z_/][\w./@=+-]*( [\w./@=+-]+)*", re.ASCII)
_WORDS = frozenset({"y", "n", "yes", "no", "on", "off", "true", "false", "null"})
_UNPRINTABLE = re.compile("[^\t\n\x20-\x7e\xa0-\u2027\u202a-\ud7ff\ue000-\ufefe\uff00-\ufffd\U00010000-\U0010ffff]")


@dataclass(frozen=True, slots=True)
class _Span:
    """Where a value stands: between two offsets, ``flow`` inside brackets, its key ``indent`` characters in."""

    start: int
    end: int
    flow: bool = False
    indent: int = 0


class YamlDocument:
    """One YAML document that is a block of keys."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._scalars: list[tuple[int, int]] = []
        self._entries: list[tuple[int, tuple[str, ...]]] = []
        self._metadata_span: _Span | None = None
        self.metadata: Mapping[str, Any] | None = None
        found = [*self._values(_root(text, self._scalars)), *self._comments()]
        found.sort(key=lambda entry: entry[1].start)
        self.leaves = tuple(leaf for leaf, _ in found)
        self._spans = [span for _, span in found]

    def written(self, values: Mapping[int, str | Value], metadata: Mapping[str, Any] | None) -> str:
        """The text with other values in their places, and the metadata at its end."""
        changes = [self._change(position, value) for position, value in values.items()]
        if self._metadata_span is not None:
            changes.append((self._metadata_span, ""))
        text = self._text
        for span, new in sorted(changes, key=lambda change: change[0].start, reverse=True):
            text = text[: span.start] + new + text[span.end :]
        if metadata is None:
            return text
        return "".join([text, "" if text.endswith("\n") else "\n", f"{METADATA_KEY}:\n", *_lines(metadata, 1)])

    def _values(self, root: yaml.MappingNode) -> Iterator[tuple[Leaf, _Span]]:
        for key, node in root.value:
            if key.value == METADATA_KEY:
                self.metadata = _plain_mapping(node)
                self._metadata_span = _Span(key.start_mark.index, node.end_mark.index)
        yield from self._leaves(root, (), (), 0)

    def _leaves(
        self, node: yaml.Node, path: tuple[str, ...], place: tuple[str, ...], indent: int, *, flow: bool = False
    ) -> Iterator[tuple[Leaf, _Span]]:
        if len(place) > DEPTH:
            raise SecretsUnreadable(f"has values that lie more than {DEPTH} deep")
        flow = flow or bool(getattr(node, "flow_style", False))
        if isinstance(node, yaml.MappingNode):
            for key, value in _pairs(node):
                if place == () and key.value == METADATA_KEY:
                    continue
                self._entries.append((key.start_mark.index, path))
                inside = (*path, key.value), (*place, key.value)
                yield from self._leaves(value, *inside, key.start_mark.column, flow=flow)
        elif isinstance(node, yaml.SequenceNode):
            for position, item in enumerate(node.value):
                self._entries.append((item.start_mark.index, path))
                yield from self._leaves(item, path, (*place, str(position)), item.start_mark.column, flow=flow)
        else:
            found, ambiguous = _resolved(node)
            span = _Span(node.start_mark.index, node.end_mark.index, flow, indent)
            yield Leaf(path, place, found, ambiguous), span

    def _comments(self) -> Iterator[tuple[Leaf, _Span]]:
        starts = [start for start, _ in self._scalars]
        self._entries.sort()
        position = 0
        while match := _COMMENT.search(self._text, position):
            position = match.end()
            before = bisect.bisect_right(starts, match.start()) - 1
            if before >= 0 and match.start() < self._scalars[before][1]:
                position = self._scalars[before][1]
                continue
            if self._metadata_span and self._metadata_span.start <= match.start() < self._metadata_span.end:
                continue
            leaf = Leaf(self._comment_path(match.start()), ("#",), Value(Kind.COMMENT, match[1].encode()))
            yield leaf, _Span(match.start(1), match.end(1))

    def _comment_path(self, start: int) -> tuple[str, ...]:
        """The keys of the block that a comment belongs to: of its own line, else of the next one."""
        line = self._text[self._text.rfind("\n", 0, start) + 1 : start]
        following = bisect.bisect_left(self._entries, (start, ()))
        if line.strip():
            return self._entries[following - 1][1] if following else ()
        return self._entries[following][1] if following < len(self._entries) else ()

    def _change(self, position: int, value: str | Value) -> tuple[_Span, str]:
        span = self._spans[position]
        if self.leaves[position].value.kind is Kind.COMMENT:
            return span, (value if isinstance(value, str) else value.text).replace("\n", " ")
        dash = self._text.rfind("-", 0, span.start)
        if isinstance(value, Value) and value.kind is Kind.COMMENT and not self._text[dash + 1 : span.start].strip():
            # sops makes an item of a comment in a list
            return _Span(dash, span.end), "#" + value.text.replace("\n", " ")
        return span, self._shown(span, value)

    def _shown(self, span: _Span, value: str | Value) -> str:
        ends = self._text[span.start : span.end].endswith("\n")
        if isinstance(value, str):
            text = f'"{value}"' if span.flow or not value else value
        else:
            rest = self._text[span.end :].partition("\n")[0]
            text = _written(value, span, alone=not rest.strip())
        return text + "\n" if ends else text


def _root(text: str, scalars: list[tuple[int, int]]) -> yaml.MappingNode:
    """The one block of keys of a text; the places of all scalars in it are added to ``scalars``."""
    if text.startswith("\ufeff") or "\r" in text:
        raise SecretsUnreadable("has a byte order mark or carriage returns; save it with plain line breaks")
    try:
        _refuse_deep(text)
        for token in yaml.scan(text, Loader=_LOADER):
            if isinstance(token, yaml.AnchorToken | yaml.AliasToken | yaml.TagToken):
                raise SecretsUnreadable(f"has an anchor, an alias or a tag in line {token.start_mark.line + 1}")
            if isinstance(token, yaml.ScalarToken):
                scalars.append((token.start_mark.index, token.end_mark.index))
        root = yaml.compose(text, Loader=_LOADER)
    except yaml.MarkedYAMLError as error:
        # the snippet that the error would print may be a secret
        line = error.problem_mark.line + 1 if error.problem_mark is not None else 1
        raise SecretsUnreadable(f"is not YAML with one document: {error.problem} in line {line}") from None
    except yaml.YAMLError:
        raise SecretsUnreadable("is not YAML: it has characters that are not allowed") from None
    if not isinstance(root, yaml.MappingNode) or root.flow_style:
        raise SecretsUnreadable("is not a block of keys, one on each line")
    return root


def _refuse_deep(text: str) -> None:
    """Raise before PyYAML builds what lies too deep: it would take the whole process with it."""
    if len(_DIRECTIVE.findall(text)) > FILE_DIRECTIVES:
        raise SecretsUnreadable(f"has more than {FILE_DIRECTIVES} lines that begin with '%'")
    depth = 0
    for event in yaml.parse(text, Loader=_LOADER):
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
            if depth > DEPTH:
                raise SecretsUnreadable(f"has values that lie more than {DEPTH} deep")
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1


def _pairs(node: yaml.MappingNode) -> Iterator[tuple[yaml.ScalarNode, yaml.Node]]:
    known: set[str] = set()
    for key, value in node.value:
        line = key.start_mark.line + 1
        if not isinstance(key, yaml.ScalarNode):
            raise SecretsUnreadable(f"has a key in line {line} that is no text")
        if key.value in known:
            raise SecretsUnreadable(f"has the same key twice, the second time in line {line}")
        known.add(key.value)
        yield key, value


def _resolved(node: yaml.Node) -> tuple[Value, bool]:
    """What a scalar is, and whether others may take it for something else."""
    text: str = node.value
    content = text.encode("utf-8", "surrogatepass")
    if getattr(node, "style", None):
        return Value(Kind.TEXT, content), False
    if text in _NULLS or text in _BOOLEANS:
        return boolean(_BOOLEANS[text]) if text in _BOOLEANS else Value(Kind.NULL, b""), False
    digits = sum(character.isdecimal() for character in text)
    if _INTEGER.fullmatch(text):
        return (Value(Kind.TEXT, content), True) if digits > EXACT_DIGITS else (number(text, Kind.INTEGER), False)
    if _FLOAT.fullmatch(text):
        return number(text, Kind.FLOAT), digits > FLOAT_DIGITS
    if _TIME.fullmatch(text):
        return Value(Kind.TIME, content), False
    return Value(Kind.TEXT, content), bool(_DISPUTED.fullmatch(text))


def _written(value: Value, span: _Span, *, alone: bool) -> str:
    """A value in the clear, so that it is read back as the same; ``alone``: nothing follows on its line."""
    text = value.text
    if value.kind is not Kind.TEXT:
        if value.kind is Kind.FLOAT:
            return repr(float(text))
        return {Kind.NULL: "null", Kind.BOOLEAN: text.lower()}.get(value.kind, text)
    if _PLAIN.fullmatch(text) and text.lower() not in _WORDS:
        return text
    body = text.removesuffix("\n")
    lines = body.split("\n")
    if alone and not span.flow and len(lines) > 1 and all(map(_fits, lines)) and lines[0].strip() and lines[-1]:
        blanks = " " * (span.indent + INDENTATION)
        # the line break at the end of the block is the one that follows already
        return "\n".join(["|" if text.endswith("\n") else "|-", *(blanks + line if line else "" for line in lines)])
    quoted = json.dumps(text, ensure_ascii=False)
    return _UNPRINTABLE.sub(lambda match: f"\\U{ord(match[0]):08x}", quoted)


def _fits(line: str) -> bool:
    """Whether a line may stand in a literal block."""
    return not _UNPRINTABLE.search(line) and "\t" not in line[:1] and not line.startswith(" ")


def _plain_mapping(node: yaml.Node) -> dict[str, Any]:
    found = _plain(node)
    if not isinstance(found, dict):
        raise SecretsUnreadable(f"has a key {METADATA_KEY} that is no map")
    return found


def _plain(node: yaml.Node) -> Any:
    if isinstance(node, yaml.MappingNode):
        return {key.value: _plain(value) for key, value in _pairs(node)}
    if isinstance(node, yaml.SequenceNode):
        return [_plain(item) for item in node.value]
    return None if not getattr(node, "style", None) and node.value in _NULLS else node.value


def _lines(node: Mapping[str, Any], depth: int) -> Iterator[str]:
    """Metadata as lines of YAML."""
    blanks = " " * (INDENTATION * depth)
    for key, value in node.items():
        if isinstance(value, list):
            yield f"{blanks}{key}:\n"
            for item in value:
                first, *more = list(_lines(item, depth + 2))
                yield f"{blanks}{' ' * (INDENTATION - 2)}  - {first.lstrip()}"
                yield from (f"{line[2:]}" for line in more)
        elif isinstance(value, bool):
            yield f"{blanks}{key}: {str(value).lower()}\n"
        elif "\n" in str(value):
            yield f"{blanks}{key}: |\n"
            yield from (f"{blanks}{' ' * INDENTATION}{line}\n" for line in str(value).rstrip("\n").split("\n"))
        else:
            text = str(value)
            yield f"{blanks}{key}: {text if text.startswith('ENC[') else json.dumps(text)}\n"
