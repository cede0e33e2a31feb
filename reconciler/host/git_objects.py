"""Reads refs, trees and blobs of a bare mirror: one git process per call, however much is asked."""

from __future__ import annotations

import os
import posixpath
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, cast

from reconciler.host.git_commands import OutputTooLong, local
from reconciler.model.errors import CommandFailed, RepositoryRefused, RepositoryUnreachable, StageFailed
from reconciler.model.object_ids import is_whole, short

Kind = Literal["blob", "tree", "commit"]

ENTRIES = 200_000
"""The most files that a folder is listed with; a few kilobytes of trees can stand for billions of them."""
ENTRY_BYTES = 512
"""What git prints for a file, at the most, on average."""

_HEADER = re.compile(rb"([0-9a-f]{40,64}) (blob|tree|commit|tag) ([0-9]+)")
# git makes no name with a control character; a server may still send one
_REF_LINE = re.compile(r"([0-9a-f]{40}|[0-9a-f]{64})[ \t]((?:refs/heads/|refs/tags/)[^\x00-\x20\x7f]+)")
_PEELED = "^{}"
_KINDS: dict[bytes, Kind] = {b"40000": "tree", b"160000": "commit"}
"""What a mode in a tree object stands for; all others are files and links."""


@dataclass(frozen=True, slots=True)
class TreeEntry:
    """One entry of a tree: ``mode`` as git writes it (``100644``), ``kind`` ``commit`` for a submodule."""

    path: str
    mode: str
    kind: Kind
    object_id: str


@dataclass(frozen=True, slots=True)
class ObjectHeader:
    """What git knows of an object without reading it; ``size`` in bytes."""

    object_id: str
    kind: str
    size: int


@dataclass(frozen=True, slots=True)
class Extent:
    """How much a tree holds once it is written out: files at any depth, their bytes, and folders in each other."""

    files: int
    size: int
    depth: int


class TooManyEntries(Exception):
    """A tree holds more files than are listed."""


def parse_refs(listing: str) -> dict[str, str]:
    """Branches and tags of ``git ls-remote`` or ``git show-ref --dereference``; tags stand for their commits."""
    refs: dict[str, str] = {}
    for line in listing.split("\n"):
        match = _REF_LINE.fullmatch(line)
        # the peeled line follows the one of its tag, and takes its place
        if match is not None:
            refs[match[2].removesuffix(_PEELED)] = match[1]
    return refs


def read_refs(mirror: Path) -> dict[str, str]:
    """The branches and tags of a mirror, as :func:`parse_refs` gives them; raises :class:`CommandFailed`."""
    try:
        listing = local(mirror, ("show-ref", "--dereference"))
    except CommandFailed as failure:
        if failure.status == 1 and not failure.tail.strip():
            return {}
        raise
    return parse_refs(os.fsdecode(listing))


def headers(mirror: Path, names: Sequence[str]) -> list[ObjectHeader | None]:
    """One header per name (an object id or ``commit:path``), in order; ``None`` where there is no such object."""
    # a line break would ask for two objects in place of one
    asked = [name for name in names if "\n" not in name]
    if not asked:
        return [None] * len(names)
    request = "".join(f"{name}\n" for name in asked)
    answer = local(mirror, ("cat-file", "--batch-check", "--buffer"), stdin=os.fsencode(request))
    found: Iterator[ObjectHeader | None] = (_header(line) for line in answer.split(b"\n"))
    return [next(found) if "\n" not in name else None for name in names]


def read_blobs(mirror: Path, object_ids: Sequence[str]) -> dict[str, bytes]:
    """The contents of blobs by their ids; ids that are no blob of the mirror are left out."""
    return _read_objects(mirror, object_ids, "blob")


def read_trees(mirror: Path, object_ids: Sequence[str], *, needed: str) -> dict[str, dict[str, TreeEntry]]:
    """The own entries of many trees, by tree id and name; ids that are no tree of the mirror are left out.

    Raises :class:`CommandFailed` when the ``needed`` one is missing.
    """
    found = _read_objects(mirror, object_ids, "tree")
    if needed not in found:
        require_objects(mirror, [needed])
    return {tree: _own_entries(tree, raw) for tree, raw in found.items()}


def require_objects(mirror: Path, object_ids: Sequence[str]) -> None:
    """Raise :class:`CommandFailed`, as git does, when one of these objects is missing although others name it."""
    for object_id, header in zip(object_ids, headers(mirror, object_ids), strict=True):
        if header is None:
            raise CommandFailed(("git", "cat-file"), 128, f"fatal: missing object {object_id}", what="git cat-file")


def kind_of(mode: bytes) -> Kind:
    """What an entry with this mode is, with or without the zero that git writes before a folder's."""
    return _KINDS.get(mode.lstrip(b"0"), "blob")


def _own_entries(tree: str, raw: bytes) -> dict[str, TreeEntry]:
    """The entries of a tree object: a mode, a space, a name, a NUL and the bytes of an id, and so on."""
    digits, position = len(tree), 0
    entries: dict[str, TreeEntry] = {}
    while position < len(raw):
        end = raw.index(b"\0", position)
        mode, _, name = raw[position:end].partition(b" ")
        position = end + 1 + digits // 2
        path, kind = os.fsdecode(name), kind_of(mode)
        entries[path] = TreeEntry(path, mode.decode().zfill(6), kind, raw[end + 1 : position].hex())
    return entries


def _read_objects(mirror: Path, object_ids: Sequence[str], kind: Kind) -> dict[str, bytes]:
    if not object_ids:
        return {}
    request = "".join(f"{object_id}\n" for object_id in object_ids).encode()
    answer = local(mirror, ("cat-file", "--batch", "--buffer"), stdin=request)
    contents: dict[str, bytes] = {}
    position = 0
    while position < len(answer):
        end = answer.index(b"\n", position)
        header = _header(answer[position:end])
        position = end + 1
        if header is None:
            continue
        if header.kind == kind:
            contents[header.object_id] = answer[position : position + header.size]
        position += header.size + 1
    return contents


def list_tree(mirror: Path, tree: str, *, recursive: bool, limit: int = ENTRIES) -> tuple[TreeEntry, ...]:
    """The entries of a tree; ``recursive`` gives files and submodules at any depth in place of folders.

    Raises :class:`TooManyEntries` when there are more than ``limit``.
    """
    options = ("-r",) if recursive else ()
    listing = _listing(mirror, (*options, tree), limit)
    return tuple(_entry(os.fsdecode(line)) for line in listing.split(b"\0") if line)


def extent_of(mirror: Path, tree: str, limit: int) -> Extent:
    """How much a tree holds, without reading any of it; raises :class:`TooManyEntries` for more than ``limit``."""
    listing = _listing(mirror, ("-r", "-l", tree), limit)
    # mode, kind, id and size stand before a tab; a submodule has no size
    lines = [line.partition(b"\t") for line in listing.split(b"\0") if line]
    sizes = (details.rpartition(b" ")[2] for details, _, _ in lines)
    depth = max((path.count(b"/") for _, _, path in lines), default=0)
    return Extent(len(lines), sum(int(size) for size in sizes if size.isdigit()), depth)


def _listing(mirror: Path, arguments: Sequence[str], limit: int) -> bytes:
    try:
        listing = local(mirror, ("ls-tree", "-z", "--full-tree", *arguments), limit_bytes=limit * ENTRY_BYTES)
    except OutputTooLong:
        raise TooManyEntries from None
    if listing.count(b"\0") > limit:
        raise TooManyEntries
    return listing


def checked_id(object_id: str) -> str:
    """A whole id, as git may be given it; raises :class:`RepositoryRefused` for any other text."""
    if not is_whole(object_id):
        raise RepositoryRefused(f"{object_id!r} is not the full id of a git object")
    return object_id


def tree_name(commit: str, directory: str) -> str:
    """How git names the tree of a folder (``.``: the root) at a commit."""
    folder = posixpath.normpath(directory)
    return f"{commit}^{{tree}}" if folder == "." else f"{commit}:{folder}"


def read_settings(mirror: Path, commit: str, path: str) -> Mapping[str, str]:
    """A file in git's configuration format at a commit (.gitmodules, .lfsconfig); empty when there is none."""
    header = headers(mirror, [f"{commit}:{path}"])[0]
    if header is None or header.kind != "blob":
        return {}
    try:
        listing = local(mirror, ("config", "--blob", header.object_id, "--list", "-z"))
    except CommandFailed as failure:
        if "bad config" not in failure.tail:
            raise
        raise StageFailed(
            f"{path} at {short(commit)} is not in git's format of settings", hint=f"correct {path}"
        ) from failure
    pairs = (item.partition("\n") for item in os.fsdecode(listing).split("\0") if item)
    return {name: value for name, _, value in pairs}


def _header(line: bytes) -> ObjectHeader | None:
    match = _HEADER.fullmatch(line)
    return None if match is None else ObjectHeader(match[1].decode(), match[2].decode(), int(match[3]))


def _entry(line: str) -> TreeEntry:
    details, _, path = line.partition("\t")
    mode, kind, object_id = details.split()
    return TreeEntry(path, mode, cast(Kind, kind), object_id)


def blob_of_tree(mirrors: Path, tree: str, path: str) -> bytes | None:
    """The content of a file of a tree, from whichever of the ``mirrors`` has the tree; ``None`` when none has."""
    try:
        folders = sorted(entry for entry in mirrors.iterdir() if (entry / "objects").is_dir())
    except FileNotFoundError:
        return None
    for mirror in folders:
        try:
            return local(mirror, ("cat-file", "blob", f"{tree}:{path}"))
        except (CommandFailed, RepositoryUnreachable):
            continue
    return None
