"""All access to git repositories: poll, mirror, resolve, read and check out."""

from __future__ import annotations

from pathlib import Path

from reconciler.host.git_addresses import masked
from reconciler.host.git_checkout import Checkout, CheckoutLimits, Origin
from reconciler.host.git_files import RepositoryFiles
from reconciler.host.git_objects import TreeEntry
from reconciler.host.git_revisions import Resolved, Revisions
from reconciler.host.git_upkeep import FETCH_SECONDS, KeptMirrors, RemoteRefs
from reconciler.model.errors import StageFailed

__all__ = [
    "CheckoutLimits",
    "Mirrors",
    "RemoteRefs",
    "RepositoryFiles",
    "Resolved",
    "Revisions",
    "TreeEntry",
    "masked",
]


class Mirrors(KeptMirrors):
    """The mirrors of one host, with what is asked of them: ``revisions``, ``files``, and checkouts."""

    def __init__(self, folder: Path, limits: CheckoutLimits = CheckoutLimits()) -> None:  # noqa: B008 - frozen
        super().__init__(folder)
        self._limits = limits
        self.revisions = Revisions(self)
        self.files = RepositoryFiles(self)

    def close(self) -> None:
        """Forget what is remembered; no call leaves a process or an open file behind."""
        super().close()
        self.revisions.forget()
        self.files.forget()

    def checkout(
        self,
        address: str,
        commit: str,
        directory: str,
        destination: Path,
        *,
        submodules: bool,
        lfs: bool,
        timeout: float = FETCH_SECONDS,
    ) -> None:
        """Write a folder at a commit to ``destination``, which must be empty or absent, without a ``.git``.

        ``submodules`` fetches those below the folder into mirrors of their own and places them, otherwise they are
        empty folders; ``lfs`` puts large files where their pointers are. Raises :class:`StageFailed`,
        :class:`RevisionNotFound`, :class:`RepositoryRefused` or :class:`RepositoryUnreachable`; what was written
        until then stays, for the caller to remove.
        """
        if destination.exists() and any(destination.iterdir()):
            raise StageFailed(f"{destination} is not empty", hint="check out into a new folder")
        checkout = Checkout(self, self.files, submodules=submodules, lfs=lfs, timeout=timeout, limits=self._limits)
        checkout.place(Origin(address, commit, directory), destination)
