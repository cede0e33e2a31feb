"""Which commits are deployed at all: those that are signed by a key of the list that guards their repository."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from reconciler.host.git import Resolved, Revisions
from reconciler.host.git_signatures import Signers, read_signers, signers_digest
from reconciler.host.layout import Layout


@dataclass(slots=True)
class Trust:
    """Checks signatures; what was checked once against the same list is not checked again."""

    revisions: Revisions
    layout: Layout
    _lists: dict[Path, tuple[str, Signers]] = field(default_factory=dict)
    _good: set[tuple[str, str, Resolved]] = field(default_factory=set)

    def check(self, address: str, resolved: Resolved, file: Path | None) -> None:
        """Raise :class:`SignatureRefused` unless a tag, or a commit that no tag names, is signed as ``file`` asks.

        ``None`` asks for nothing. Raises :class:`ConfigurationError` for a list that is not to be relied on.
        """
        if file is None:
            return
        signers = self._signers(file, address)
        known = (signers.digest, address, resolved)
        if known not in self._good:
            self.revisions.check_signature(address, resolved, signers)
            self._good.add(known)

    @property
    def lists(self) -> Mapping[str, str]:
        """The lists that were relied on, each with the hash of what it said."""
        return {str(file): digest for file, (digest, _) in self._lists.items()}

    def _signers(self, file: Path, address: str) -> Signers:
        digest = signers_digest(file)
        known = self._lists.get(file)
        if known is None or known[0] != digest or not digest or not known[1].folder.is_dir():
            outside = (self.layout.root, *((Path(address),) if address.startswith("/") else ()))
            known = (digest, read_signers(file, self.layout.cache, outside=outside))
            self._lists[file] = known
        return known[1]


def unchanged(lists: Mapping[str, str]) -> bool:
    """Whether lists still say what they said."""
    return all(digest and signers_digest(Path(file)) == digest for file, digest in lists.items())
