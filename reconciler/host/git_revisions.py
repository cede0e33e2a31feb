"""What revisions of a repository mean, how its commits are related, and who signed them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from reconciler.host import git_history
from reconciler.host.git_addresses import Address, parse_address
from reconciler.host.git_failures import no_commit, revision_not_found
from reconciler.host.git_objects import checked_id, read_refs
from reconciler.host.git_signatures import Signers, check_commit, check_tag
from reconciler.host.git_upkeep import KeptMirrors, RemoteRefs
from reconciler.model.errors import RepositoryRefused, RevisionNotFound, SignatureRefused
from reconciler.model.object_ids import is_whole
from reconciler.model.revision import TAGS, Selected, is_range, select

_ABBREVIATED = re.compile(r"[0-9a-fA-F]{7,64}")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


@dataclass(frozen=True, slots=True)
class Resolved:
    """The commit that a revision means; ``ref`` is the full name of the branch or tag, ``None`` for a commit."""

    commit: str
    ref: str | None


class Revisions:
    """Answers about branches, tags and commits from the mirrors; remembers what cannot mean anything else.

    Every method may be called from several threads at once, and fetches a damaged mirror anew, as
    :class:`KeptMirrors` does.
    """

    def __init__(self, mirrors: KeptMirrors) -> None:
        self._mirrors = mirrors
        # whole ids of commits that are there
        self._commits: dict[tuple[str, str], str] = {}
        # what a revision meant among refs that are still the same object: many apps share both
        self._selected: dict[tuple[str, str], tuple[Mapping[str, str], Selected | None]] = {}

    def forget(self) -> None:
        """Forget what is remembered."""
        self._commits.clear()
        self._selected.clear()

    def resolve(self, address: str, revision: str, refs: RemoteRefs | None) -> Resolved:
        """The commit that a branch, tag, commit (7 digits at least) or version range means, in this order.

        ``refs`` are those of :meth:`poll`; without them the mirror's are taken. Raises :class:`RevisionNotFound`,
        and :class:`RepositoryRefused` for what could be an option of git.
        """
        parsed = parse_address(address)
        if not revision or revision.startswith("-") or _CONTROL.search(revision):
            raise RepositoryRefused(
                f"{parsed.shown}: {revision!r} is not a revision", hint="write a branch, tag, commit or version range"
            )
        known = refs.refs if refs is not None else self._mirrors.read(parsed, read_refs)
        selected = self._select(parsed, revision, known)
        if selected is not None:
            return Resolved(selected.commit, selected.ref)
        commit = self._commit(parsed, revision) if _ABBREVIATED.fullmatch(revision) else None
        if commit is None:
            raise revision_not_found(parsed, revision, known)
        return Resolved(commit, None)

    def is_ancestor(self, address: str, older: str, newer: str) -> bool:
        """Whether ``newer`` contains ``older``; not so when the mirror does not even have ``older``."""
        ids = checked_id(older), checked_id(newer)
        return self._mirrors.read(parse_address(address), lambda mirror: git_history.is_ancestor(mirror, *ids))

    def vanished(self, address: str, older: str, newer: str, limit: int = 20) -> tuple[str, ...]:
        """The commits of ``older`` that ``newer`` lacks, newest first, as ``<short id> <subject>``."""
        ids = checked_id(older), checked_id(newer)
        return self._mirrors.read(parse_address(address), lambda mirror: git_history.vanished(mirror, *ids, limit))

    def subject(self, address: str, commit: str) -> str:
        """The subject line of a commit, shortened to 100 characters; raises :class:`RevisionNotFound`."""
        parsed = parse_address(address)
        found = self._mirrors.read(parsed, lambda mirror: git_history.subject(mirror, checked_id(commit)))
        if found is None:
            raise no_commit(parsed, commit)
        return found

    def check_signature(self, address: str, resolved: Resolved, signers: Signers) -> None:
        """Raise :class:`~reconciler.model.errors.SignatureRefused` unless a tag, or a commit that was not reached by
        one, is signed by a key of a list."""
        parsed = parse_address(address)
        tag = resolved.ref if resolved.ref is not None and resolved.ref.startswith(TAGS) else None

        def check(mirror: Path) -> None:
            if tag is not None:
                check_tag(mirror, parsed.shown, tag, checked_id(resolved.commit), signers)
            else:
                check_commit(mirror, parsed.shown, checked_id(resolved.commit), signers)

        try:
            self._mirrors.read(parsed, check)
        except SignatureRefused:
            if tag is None:
                raise
            # signed since then, it names the same commit, so that nothing was fetched
            self._mirrors.fetch_again(parsed)
            self._mirrors.read(parsed, check)

    def _select(self, parsed: Address, revision: str, refs: Mapping[str, str]) -> Selected | None:
        place = (parsed.mirror_name, revision)
        known = self._selected.get(place)
        if known is not None and known[0] is refs:
            return known[1]
        try:
            selected = select(revision, refs)
        except RevisionNotFound as error:
            raise RevisionNotFound(f"{parsed.shown}: {error.message}", hint=error.hint) from None
        if is_range(revision):
            self._selected[place] = (refs, selected)
        return selected

    def _commit(self, parsed: Address, digits: str) -> str | None:
        mirror_name = parsed.mirror_name
        known = self._commits.get((mirror_name, digits))
        if known is not None:
            return known
        found = self._mirrors.read(parsed, lambda mirror: git_history.resolve_commit(mirror, digits.lower()))
        # only a whole id stays what it is; a few digits may become ambiguous with the next fetch
        if found is not None and is_whole(digits):
            self._commits[mirror_name, digits] = found
        return found
