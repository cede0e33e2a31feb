"""Git repositories made object by object, so that they can hold what no git program would make."""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

FILE, EXECUTABLE, LINK, FOLDER, SUBMODULE = "100644", "100755", "120000", "40000", "160000"
AUTHOR = b"Test <test@example.com> 1700000000 +0000"

Entry = tuple[str, bytes, str]
"""Mode, name and id, as a tree holds them."""


@dataclass(frozen=True)
class Link:
    """A symbolic link."""

    target: str


@dataclass(frozen=True)
class Module:
    """A submodule at a commit."""

    commit: str


@dataclass(frozen=True)
class Raw:
    """An object of any mode."""

    mode: str
    object_id: str


Content = Any
"""Text or bytes of a file, a :class:`Link`, a :class:`Module`, a :class:`Raw`, or a mapping for a folder."""


@dataclass
class Forge:
    """A bare repository whose objects are written as they are asked for, right or wrong."""

    folder: Path
    _written: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        for name in ("objects", "refs/heads", "refs/tags", "info"):
            (self.folder / name).mkdir(parents=True, exist_ok=True)
        (self.folder / "HEAD").write_text("ref: refs/heads/main\n")
        (self.folder / "config").write_text("[core]\n\trepositoryformatversion = 0\n\tbare = true\n")

    def write(self, kind: str, content: bytes) -> str:
        """An object of any kind and content; its id."""
        whole = b"%s %d\0%s" % (kind.encode(), len(content), content)
        object_id = hashlib.sha1(whole).hexdigest()
        if object_id not in self._written:
            self._written.add(object_id)
            path = self.folder / "objects" / object_id[:2] / object_id[2:]
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(zlib.compress(whole, 1))
        return object_id

    def blob(self, content: str | bytes) -> str:
        """A file's content."""
        return self.write("blob", content.encode() if isinstance(content, str) else content)

    def raw_tree(self, entries: Sequence[Entry]) -> str:
        """A tree whose entries stand as they are given, in their order."""
        return self.write(
            "tree", b"".join(b"%s %s\0%s" % (mode.encode(), name, bytes.fromhex(i)) for mode, name, i in entries)
        )

    def tree(self, files: Mapping[str | bytes, Content]) -> str:
        """A tree of nested mappings, in git's order; a ``/`` in a name is no folder here but part of the name."""
        entries = [self._entry(name, content) for name, content in files.items()]
        entries.sort(key=lambda entry: entry[1] + (b"/" if entry[0] == FOLDER else b""))
        return self.raw_tree(entries)

    def _entry(self, name: str | bytes, content: Content) -> Entry:
        raw = name.encode() if isinstance(name, str) else name
        if isinstance(content, Link):
            return LINK, raw, self.blob(content.target)
        if isinstance(content, Module):
            return SUBMODULE, raw, content.commit
        if isinstance(content, Raw):
            return content.mode, raw, content.object_id
        if isinstance(content, Mapping):
            return FOLDER, raw, self.tree(content)
        return FILE, raw, self.blob(content)

    def commit(self, tree: str, ref: str = "refs/heads/main", message: str = "Hostile") -> str:
        """A commit without a parent, at a ref."""
        lines = [b"tree " + tree.encode(), b"author " + AUTHOR, b"committer " + AUTHOR, b"", message.encode(), b""]
        return self.point(ref, self.write("commit", b"\n".join(lines)))

    def tag(self, name: str, target: str, kind: str = "commit") -> str:
        """An annotated tag; its id."""
        text = f"object {target}\ntype {kind}\ntag {name}\ntagger ".encode() + AUTHOR + b"\n\nTag\n"
        return self.write("tag", text)

    def point(self, ref: str, object_id: str) -> str:
        """Let a ref lead to an object."""
        path = self.folder / ref
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{object_id}\n")
        return object_id

    def grown(self, levels: int, width: int, bottom: str) -> str:
        """A tree of ``width`` times the same file, ``levels`` times: a few objects stand for very many files."""
        tree = self.raw_tree([(FILE, f"f{n:03}".encode(), bottom) for n in range(width)])
        for _ in range(levels - 1):
            tree = self.raw_tree([(FOLDER, f"d{n:03}".encode(), tree) for n in range(width)])
        return tree

    def nested(self, depth: int, bottom: str) -> str:
        """A tree in a tree in a tree."""
        tree = bottom
        for _ in range(depth):
            tree = self.raw_tree([(FOLDER, b"d", tree)])
        return tree
