"""Folders and files of repositories at a commit, read from the mirrors: each object once, many at a time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from reconciler.host import git_differences, git_history
from reconciler.host.git_addresses import Address, parse_address
from reconciler.host.git_differences import Moved
from reconciler.host.git_failures import no_commit
from reconciler.host.git_memory import ObjectMemory
from reconciler.host.git_objects import (
    ENTRIES,
    ObjectHeader,
    TooManyEntries,
    TreeEntry,
    checked_id,
    headers,
    list_tree,
    read_blobs,
    read_trees,
    require_objects,
    tree_name,
)
from reconciler.host.git_upkeep import KeptMirrors
from reconciler.model.errors import StageFailed
from reconciler.model.object_ids import short


class RepositoryFiles:
    """What repositories hold, and the sizes and contents of that; remembers what it has read of objects.

    Every method may be called from several threads at once, and fetches a damaged mirror anew, as
    :class:`KeptMirrors` does.
    """

    def __init__(self, mirrors: KeptMirrors) -> None:
        self._mirrors = mirrors
        self._objects = ObjectMemory()
        # commits that were found to be there as a whole
        self._whole: set[tuple[str, str]] = set()
        # the last two commits that were compared in a mirror, and what differs
        self._moves: dict[str, tuple[tuple[str, str], Moved | None]] = {}

    def forget(self) -> None:
        """Forget what is remembered."""
        self._objects.clear()
        self._whole.clear()
        self._moves.clear()

    def tree(self, address: str, commit: str, directory: str = ".") -> str:
        """The tree id of a folder; submodules are not followed.

        Raises :class:`RevisionNotFound` when the mirror lacks the commit, :class:`StageFailed` when the commit has
        no such folder.
        """
        found = self.trees(address, [(commit, directory)])[commit, directory]
        if found is not None:
            return found
        shown = parse_address(address).shown
        if self.trees(address, [(commit, ".")])[commit, "."] is None:
            raise no_commit(parse_address(address), commit)
        raise StageFailed(
            f"{shown} has no folder {directory!r} at {short(commit)}",
            hint="check source.directory in the manifest",
        )

    def trees(self, address: str, wanted: Sequence[tuple[str, str]]) -> Mapping[tuple[str, str], str | None]:
        """The tree ids of many (commit, folder) pairs with one git process; ``None`` where there is no folder."""
        names = [tree_name(checked_id(commit), directory) for commit, directory in wanted]
        parsed = parse_address(address)
        found = self._headers_of(parsed, names)
        lacking = {commit for (commit, _), header in zip(wanted, found, strict=True) if header is None}
        if lacking:
            # perhaps the mirror lost something, which must not be taken for a folder that is gone
            self._mirrors.doubt(parsed)
            before = self._mirrors.renewed_at(parsed)
            for commit in sorted(lacking):
                self._require_whole(parsed, commit)
            if self._mirrors.renewed_at(parsed) != before:
                found = self._headers_of(parsed, names)
        trees = {
            pair: header.object_id if header is not None and header.kind == "tree" else None
            for pair, header in zip(wanted, found, strict=True)
        }
        self._objects.expect(parsed.mirror_name, (tree for tree in trees.values() if tree is not None))
        return trees

    def moved(self, address: str, older: str, newer: str) -> Moved | None:
        """What differs between two commits, as :func:`~reconciler.host.git_differences.moved` says; read once."""
        parsed = parse_address(address)
        pair = checked_id(older), checked_id(newer)
        known = self._moves.get(parsed.mirror_name)
        if known is None or known[0] != pair:
            known = pair, self._mirrors.read(parsed, lambda mirror: git_differences.moved(mirror, *pair))
            self._moves[parsed.mirror_name] = known
        return known[1]

    def note_trees(self, address: str, trees: Mapping[tuple[str, str], str]) -> None:
        """Take up the tree ids of (commit, folder) pairs that were found out otherwise than by :meth:`trees`."""
        names = {tree_name(commit, directory): tree for (commit, directory), tree in trees.items()}
        self._objects.note_trees(parse_address(address).mirror_name, names)

    def listing(self, address: str, tree: str) -> Mapping[str, TreeEntry]:
        """The own entries of a tree, by name; a mirror that lacks the tree is damaged.

        One git process reads this tree and all others that :meth:`trees` has told of since: who asks for the trees of
        many apps goes on to look into each of them.
        """
        parsed = parse_address(address)

        def read(trees: Sequence[str]) -> Mapping[str, Mapping[str, TreeEntry]]:
            return self._mirrors.read(parsed, lambda mirror: read_trees(mirror, trees, needed=tree))

        return self._objects.listing(parsed.mirror_name, tree, read)

    def file_ids(self, address: str, commit: str, paths: Sequence[str]) -> Mapping[str, str | None]:
        """The object ids of files at a commit with one git process; ``None`` where there is no file."""
        names = [f"{checked_id(commit)}:{path}" for path in paths]
        found = self._mirrors.read(parse_address(address), lambda mirror: headers(mirror, names))
        return {
            path: header.object_id if header is not None and header.kind == "blob" else None
            for path, header in zip(paths, found, strict=True)
        }

    def entries(
        self, address: str, commit: str, directory: str = ".", *, recursive: bool = True
    ) -> tuple[TreeEntry, ...]:
        """The entries of a folder, paths relative to it: files and submodules at any depth, or its own entries."""
        parsed = parse_address(address)
        tree = self.tree(address, commit, directory)
        try:
            return self._mirrors.read(parsed, lambda mirror: list_tree(mirror, tree, recursive=recursive))
        except TooManyEntries:
            raise StageFailed(
                f"the folder {directory} of {parsed.shown} holds more than {ENTRIES:,} files at {short(commit)}",
                hint="name a folder that holds less",
            ) from None

    def sizes(self, address: str, object_ids: Sequence[str]) -> Mapping[str, int]:
        """The sizes of objects in bytes, by their ids; ids that the mirror lacks are left out."""
        wanted = [checked_id(object_id) for object_id in dict.fromkeys(object_ids)]
        found = self._headers_of(parse_address(address), wanted)
        return {header.object_id: header.size for header in found if header is not None}

    def blobs(self, address: str, object_ids: Sequence[str], *, limit_bytes: int) -> Mapping[str, bytes]:
        """The contents of files by their object ids.

        Raises :class:`StageFailed`, before anything is read, when one has more than ``limit_bytes`` or is no file.
        """
        parsed = parse_address(address)
        wanted = [checked_id(object_id) for object_id in dict.fromkeys(object_ids)]
        found = self._headers_of(parsed, wanted)
        if any(header is None for header in found):
            missing = [object_id for object_id, header in zip(wanted, found, strict=True) if header is None]
            self._mirrors.read(parsed, lambda mirror: require_objects(mirror, missing))
            found = self._headers_of(parsed, wanted)
        for object_id, header in zip(wanted, found, strict=True):
            if header is None or header.kind != "blob":
                raise StageFailed(f"{parsed.shown} has no file with the id {object_id}")
            if header.size > limit_bytes:
                raise StageFailed(
                    f"{parsed.shown}: the file {short(object_id)} has {header.size} bytes, {limit_bytes} are allowed"
                )
        return self._mirrors.read(parsed, lambda mirror: read_blobs(mirror, wanted))

    def submodules(self, address: str, commit: str, directory: str) -> Mapping[str, str]:
        """The submodules below a folder: path relative to the folder, and the commit that each is at."""
        entries = self.entries(address, commit, directory)
        return {entry.path: entry.object_id for entry in entries if entry.kind == "commit"}

    def _headers_of(self, parsed: Address, names: Sequence[str]) -> list[ObjectHeader | None]:
        """What git knows of objects, whose names hold whole ids; only those are read that were not read before."""

        def read(unknown: Sequence[str]) -> list[ObjectHeader | None]:
            return self._mirrors.read(parsed, lambda mirror: headers(mirror, unknown))

        return self._objects.headers(parsed.mirror_name, names, read)

    def _require_whole(self, parsed: Address, commit: str) -> None:
        """See to it that the mirror has all of a commit, where it has the commit itself."""
        known = (parsed.mirror_name, commit)
        if known not in self._whole:
            self._mirrors.read(parsed, lambda mirror: git_history.require_whole(mirror, commit))
            self._whole.add(known)
