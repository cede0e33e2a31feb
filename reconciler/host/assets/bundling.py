"""Joins files into bundles, in the order that the manifest gives."""

from __future__ import annotations

import difflib
import os
import posixpath
import re
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path, PurePosixPath
from urllib.parse import quote

from reconciler.host.assets.references import references, replaced
from reconciler.model.errors import StageFailed

_FAMILIES = {".mjs": ".js", ".cjs": ".js"}
_BYTE_ORDER_MARK = "\ufeff"
_IGNORED = re.compile(r"(?:\s|/\*.*?\*/)*+", re.DOTALL)
_PRELUDE = re.compile(
    r"""@(?P<rule>charset|import|layer|namespace)(?![\w-])
    (?: "(?:[^"\\\n]|\\.)*+" | '(?:[^'\\\n]|\\.)*+' | url\((?:[^"')\\]|\\.)*+\) | /\*.*?\*/ | [^;{}"'] )*+;""",
    re.VERBOSE | re.DOTALL | re.IGNORECASE,
)
_CSS_MAP = re.compile(r"/\*[#@]\s*sourceMappingURL=[^*]*\*/\s*\Z")
_JAVASCRIPT_MAP = re.compile(r"(?:\A|\n)//[#@][ \t]*sourceMappingURL=\S*\s*\Z")


def bundle(
    folder: Path, bundles: Mapping[str, Sequence[str]], names: Collection[str], *, label: str
) -> tuple[str, ...]:
    """Write each bundle into ``folder`` from its members, which lie there already minified; return their names.

    Every member is a syntactically whole file, so joining cannot make a new error. A reference of a stylesheet is
    turned to lead from the bundle to the same file. Source maps of members do not fit the bundle and are dropped.

    Raises :class:`StageFailed` for a missing member, a mix of types, or a name that is taken.
    """
    for name, members in sorted(bundles.items()):
        family = _family(name)
        _check(folder, name, members, names, label)
        texts = [(member, _text(folder / member)) for member in members]
        joined = _stylesheet(name, texts) if family == ".css" else _others(family, [text for _, text in texts])
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(joined.encode("utf-8", "surrogateescape"))
    return tuple(sorted(bundles))


def _check(folder: Path, name: str, members: Sequence[str], names: Collection[str], label: str) -> None:
    if not members:
        raise StageFailed(f"the bundle {name} has no files", hint=f"list files of {label}, or remove the bundle")
    if os.path.lexists(folder / name) or any(str(above) in names for above in PurePosixPath(name).parents):
        raise StageFailed(f"the bundle {name} has the name of a file of {label}", hint="give the bundle another name")
    for member in members:
        if member not in names:
            near = difflib.get_close_matches(member, names, n=1)
            hint = f"did you mean {near[0]}?" if near else f"paths in a bundle are relative to {label}"
            raise StageFailed(f"the bundle {name} names {member}, which is not in {label}", hint=hint)
        if _family(member) != _family(name):
            raise StageFailed(
                f"the bundle {name} cannot hold {member}: it is of another type", hint="bundle them apart"
            )


def _family(name: str) -> str:
    suffix = PurePosixPath(name).suffix.lower()
    return _FAMILIES.get(suffix, suffix)


def _text(path: Path) -> str:
    # bytes that are not UTF-8 pass through as they are
    return path.read_bytes().decode("utf-8", "surrogateescape").removeprefix(_BYTE_ORDER_MARK)


def _others(family: str, texts: Sequence[str]) -> str:
    if family != ".js":
        return "\n".join(texts)
    # the line break ends a final comment, the semicolon keeps a following parenthesis from calling the last value
    return "\n;\n".join(_JAVASCRIPT_MAP.sub("", text) for text in texts) + "\n"


def _stylesheet(name: str, texts: Sequence[tuple[str, str]]) -> str:
    """Join stylesheets; statements that are only valid at the top of a file come first, in their order."""
    charset = ""
    layers_and_imports: list[str] = []
    namespaces: list[str] = []
    bodies: list[str] = []
    for member, text in texts:
        statements, body = _split(_rebased(text, member, name))
        for rule, statement in statements:
            if rule == "charset":
                charset = charset or statement
            else:
                (namespaces if rule == "namespace" else layers_and_imports).append(statement)
        bodies.append(_CSS_MAP.sub("", body).strip())
    return "\n".join(part for part in (charset, *layers_and_imports, *namespaces, *bodies) if part) + "\n"


def _split(text: str) -> tuple[list[tuple[str, str]], str]:
    """The statements at the top of a stylesheet, with the names of their rules, and the rest."""
    statements: list[tuple[str, str]] = []
    comments = ""
    position = 0
    while True:
        ignored = _IGNORED.match(text, position)
        start = ignored.end() if ignored else position
        found = _PRELUDE.match(text, start)
        if not found:
            return statements, comments + text[position:]
        comments += text[position:start].strip()
        statements.append((found["rule"].lower(), found[0]))
        position = found.end()


def _rebased(text: str, member: str, name: str) -> str:
    """The stylesheet ``member`` as it must read in the folder of the bundle ``name``."""
    away = posixpath.relpath(posixpath.dirname(member) or ".", posixpath.dirname(name) or ".")
    if away == ".":
        return text
    prefix = quote(away)
    return replaced(
        text, ((reference, f"{prefix}/{reference.raw}") for reference in references(text) if reference.is_relative)
    )
