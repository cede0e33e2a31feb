"""An app's folder at one commit, read from the mirror without a checkout."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import PurePosixPath

from reconciler.host.git import RepositoryFiles, TreeEntry
from reconciler.model.errors import StageFailed
from reconciler.model.object_ids import short

READ_LIMIT_BYTES = 16 * 1024 * 1024
"""The largest file that is read from git as an input, such as a lock file."""


class GitSource:
    """Answers what stages ask about an app's files; every folder is listed at most once."""

    def __init__(
        self, files: RepositoryFiles, address: str, commit: str, tree: str, submodules: Mapping[str, str]
    ) -> None:
        self._files = files
        self._address = address
        self._listings: dict[str, Mapping[str, TreeEntry]] = {}
        self._contents: dict[str, bytes | None] = {}
        self.commit = commit
        self.tree = tree
        self.submodules = submodules

    def read(self, path: str) -> bytes | None:
        """A file's content; ``None`` when there is no regular file at that path."""
        if path not in self._contents:
            entry = self._entry(path)
            if entry is None or entry.kind != "blob" or entry.mode == "120000":
                self._contents[path] = None
            else:
                self._contents[path] = self._blob(path, entry.object_id)
        return self._contents[path]

    def _blob(self, path: str, object_id: str) -> bytes:
        size = self._files.sizes(self._address, [object_id]).get(object_id, 0)
        if size > READ_LIMIT_BYTES:
            raise StageFailed(
                f"{path} has {size:,} bytes at {short(self.commit)}, and {READ_LIMIT_BYTES:,} are the limit",
                hint="check that it is the file you mean",
            )
        return self._files.blobs(self._address, [object_id], limit_bytes=READ_LIMIT_BYTES)[object_id]

    def tree_of(self, path: str) -> str | None:
        """The git id of a folder below the app's folder."""
        if PurePosixPath(path) == PurePosixPath("."):
            return self.tree
        entry = self._entry(path)
        return entry.object_id if entry is not None and entry.kind == "tree" else None

    def _entry(self, path: str) -> TreeEntry | None:
        parent, name = str(PurePosixPath(path).parent), PurePosixPath(path).name
        if parent not in self._listings:
            above = self.tree_of(parent)
            self._listings[parent] = self._files.listing(self._address, above) if above is not None else {}
        return self._listings[parent].get(name)
