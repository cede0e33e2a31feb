"""What the stages may ask about an app's files in git, before anything is checked out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from reconciler.model.stage import StageName


class SourceView(Protocol):
    """The app's folder at one commit."""

    @property
    def commit(self) -> str:
        """The commit, 40 hexadecimal digits."""

    @property
    def tree(self) -> str:
        """The id of the folder's git tree."""

    @property
    def submodules(self) -> Mapping[str, str]:
        """Commit ids of the submodules below the folder, by path; empty when the manifest does not ask for them."""

    def read(self, path: str) -> bytes | None:
        """A file's content, by its path in the folder; ``None`` when there is no such file."""

    def tree_of(self, path: str) -> str | None:
        """The git id of a folder in the app's folder; ``None`` when there is no such folder in git."""


Upstream = Mapping[StageName, str]
