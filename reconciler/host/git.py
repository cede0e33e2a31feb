"""All access to git repositories: poll, mirror, resolve, read and check out."""

from __future__ import annotations

import re
import resource
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from reconciler.host import git_differences, git_history, git_mirror, reporting
from reconciler.host.git_addresses import Address, masked, parse_address
from reconciler.host.git_checkout import Checkout, CheckoutLimits, Origin
from reconciler.host.git_commands import network
from reconciler.host.git_differences import Moved
from reconciler.host.git_failures import no_commit, revision_not_found, unreachable
from reconciler.host.git_memory import ObjectMemory
from reconciler.host.git_objects import (
    ENTRIES,
    ObjectHeader,
    TooManyEntries,
    TreeEntry,
    headers,
    list_tree,
    parse_refs,
    read_blobs,
    read_refs,
    read_trees,
    require_objects,
    tree_name,
)
from reconciler.host.git_signatures import Signers, check_commit, check_tag
from reconciler.model.errors import (
    CommandFailed,
    DiskError,
    RepositoryError,
    RepositoryRefused,
    RepositoryUnreachable,
    RevisionNotFound,
    SignatureRefused,
    StageFailed,
)
from reconciler.model.object_ids import is_whole, short
from reconciler.model.revision import TAGS, Selected, is_range, select

__all__ = ["CheckoutLimits", "Mirrors", "RemoteRefs", "Resolved", "TreeEntry", "masked"]

POLL_SECONDS = 30.0
FETCH_SECONDS = 600.0
REFS_BYTES = 32 * 1024 * 1024
"""The longest list of refs that is read from a server: about 400,000."""
POLL_MEMORY_BYTES = 2 * 1024**3
"""The most address space that git may take to read that list, all of which it keeps in memory."""
RENEWAL_PAUSE_SECONDS = 600.0
"""How long a mirror that was fetched anew is not fetched anew again, whatever git says of it."""
REFS_TOLD = 20
"""How many refs that moved are reported by name."""

_ABBREVIATED = re.compile(r"[0-9a-fA-F]{7,64}")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_HEAD_LINE = re.compile(r"^ref: (refs/heads/.+)\tHEAD$", re.MULTILINE)
_Answer = TypeVar("_Answer")


@dataclass(frozen=True, slots=True)
class RemoteRefs:
    """What a server answered: branches and tags (full name to commit), and the full name of its default branch."""

    refs: Mapping[str, str]
    head: str | None


@dataclass(frozen=True, slots=True)
class Resolved:
    """The commit that a revision means; ``ref`` is the full name of the branch or tag, ``None`` for a commit."""

    commit: str
    ref: str | None


class Mirrors:
    """Bare mirrors of repositories, all below one folder, which is a cache: what is removed is cloned anew.

    Addresses are https, ssh and file; any other raises :class:`RepositoryRefused`. Every method may be called from
    several threads at once. A method that finds a mirror damaged fetches it anew first; it raises
    :class:`RepositoryUnreachable` when there is none, or none that can be read.
    """

    def __init__(self, folder: Path, limits: CheckoutLimits = CheckoutLimits()) -> None:  # noqa: B008 - frozen
        self._folder = folder
        self._limits = limits
        # refs that a mirror is known to hold; dictionaries, whose single operations are safe between threads
        self._known: dict[str, Mapping[str, str]] = {}
        self._commits: dict[tuple[str, str], str] = {}
        self._objects = ObjectMemory()
        # when a mirror was fetched anew because it was damaged, and commits that were found to be there as a whole
        self._renewed: dict[str, float] = {}
        self._whole: set[tuple[str, str]] = set()
        # what a revision meant among refs that are still the same object: many apps share both
        self._selected: dict[tuple[str, str], tuple[Mapping[str, str], Selected | None]] = {}
        # the last two commits that were compared in a mirror, and what differs
        self._moves: dict[str, tuple[tuple[str, str], Moved | None]] = {}

    def close(self) -> None:
        """Forget what is remembered; no call leaves a process or an open file behind."""
        self._known.clear()
        self._commits.clear()
        self._objects.clear()
        self._whole.clear()
        self._selected.clear()
        self._moves.clear()

    def poll(self, address: str, *, timeout: float = POLL_SECONDS) -> RemoteRefs:
        """Ask the server for its refs, with one ``git ls-remote`` and no write; raises
        :class:`RepositoryUnreachable`."""
        return self._poll(parse_address(address), timeout)

    def _poll(self, parsed: Address, timeout: float) -> RemoteRefs:
        began = time.monotonic()
        try:
            command = ("ls-remote", "--quiet", "--symref", "--", parsed.url)
            limits = {resource.RLIMIT_AS: POLL_MEMORY_BYTES}
            listing = network(parsed, command, timeout=timeout, limit_bytes=REFS_BYTES, limits=limits)
        except CommandFailed as failure:
            raise unreachable(parsed, failure) from failure
        text = listing.decode("utf-8", "surrogateescape")
        head = _HEAD_LINE.search(text)
        refs = RemoteRefs(parse_refs(text), head[1] if head else None)
        if not refs.refs and git_mirror.has_refs(self._folder / parsed.mirror_name):
            # what a page of a proxy looks like to git; believed, it would empty the mirror
            raise RepositoryUnreachable(
                f"{parsed.shown} answers that it has no branch and no tag any more, which is not believed",
                hint="check the server, and proxies before it: `git ls-remote` with this address shows its answer",
            )
        seconds = round(time.monotonic() - began, 3)
        reporting.debug("repository_polled", repository=parsed.shown, refs=len(refs.refs), seconds=seconds)
        return refs

    def is_current(self, address: str, refs: RemoteRefs) -> bool:
        """Whether the mirror is known to hold ``refs``; asks nobody."""
        mirror = self._folder / parse_address(address).mirror_name
        return self._known.get(mirror.name) == refs.refs and git_mirror.is_there(mirror)

    def held(self, address: str) -> RemoteRefs | None:
        """The refs that the mirror holds, as it was fetched last; ``None`` without one that can be read."""
        mirror = self._folder / parse_address(address).mirror_name
        try:
            return RemoteRefs(read_refs(mirror), None) if git_mirror.is_there(mirror) else None
        except (CommandFailed, RepositoryUnreachable):
            return None

    def has_mirror(self, address: str) -> bool:
        """Whether a repository was ever fetched to this host."""
        return git_mirror.is_there(self._folder / parse_address(address).mirror_name)

    def update(self, address: str, refs: RemoteRefs, *, timeout: float = FETCH_SECONDS) -> bool:
        """Make the mirror hold ``refs``; return whether it had to be cloned or fetched.

        Nothing is asked of the server when no ref moved. Raises :class:`RepositoryUnreachable`.
        """
        parsed = parse_address(address)
        mirror = self._folder / parsed.mirror_name
        if self.is_current(address, refs):
            return False
        known = self._known.get(mirror.name)
        behind = known is not None and known != refs.refs
        began = time.monotonic()
        try:
            with git_mirror.locked(mirror, parsed, timeout=timeout):
                fetched = git_mirror.bring_up_to_date(mirror, parsed, refs.refs, timeout=timeout, behind=behind)
        except DiskError:
            # on a read-only disk there is no lock, and nobody who changes anything either
            if not git_mirror.holds(mirror, refs.refs):
                raise
            fetched = False
        if fetched:
            seconds = round(time.monotonic() - began, 3)
            reporting.debug(
                "repository_fetched",
                repository=parsed.shown,
                moved=_moved(known or {}, refs.refs),
                seconds=seconds,
            )
        self._known[mirror.name] = refs.refs
        return fetched

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
        known = refs.refs if refs is not None else self.read(parsed, read_refs)
        selected = self._select(parsed, revision, known)
        if selected is not None:
            return Resolved(selected.commit, selected.ref)
        commit = self._commit(parsed, revision) if _ABBREVIATED.fullmatch(revision) else None
        if commit is None:
            raise revision_not_found(parsed, revision, known)
        return Resolved(commit, None)

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
        names = [tree_name(_checked(commit), directory) for commit, directory in wanted]
        parsed = parse_address(address)
        found = self._headers_of(parsed, names)
        lacking = {commit for (commit, _), header in zip(wanted, found, strict=True) if header is None}
        if lacking:
            # perhaps the mirror lost something, which must not be taken for a folder that is gone
            self._known.pop(parsed.mirror_name, None)
            before = self._renewed.get(parsed.mirror_name)
            for commit in sorted(lacking):
                self._require_whole(parsed, commit)
            if self._renewed.get(parsed.mirror_name) != before:
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
        pair = _checked(older), _checked(newer)
        known = self._moves.get(parsed.mirror_name)
        if known is None or known[0] != pair:
            known = pair, self.read(parsed, lambda mirror: git_differences.moved(mirror, *pair))
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
            return self.read(parsed, lambda mirror: read_trees(mirror, trees, needed=tree))

        return self._objects.listing(parsed.mirror_name, tree, read)

    def file_ids(self, address: str, commit: str, paths: Sequence[str]) -> Mapping[str, str | None]:
        """The object ids of files at a commit with one git process; ``None`` where there is no file."""
        names = [f"{_checked(commit)}:{path}" for path in paths]
        found = self.read(parse_address(address), lambda mirror: headers(mirror, names))
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
            return self.read(parsed, lambda mirror: list_tree(mirror, tree, recursive=recursive))
        except TooManyEntries:
            raise StageFailed(
                f"the folder {directory} of {parsed.shown} holds more than {ENTRIES:,} files at {short(commit)}",
                hint="name a folder that holds less",
            ) from None

    def sizes(self, address: str, object_ids: Sequence[str]) -> Mapping[str, int]:
        """The sizes of objects in bytes, by their ids; ids that the mirror lacks are left out."""
        wanted = [_checked(object_id) for object_id in dict.fromkeys(object_ids)]
        found = self._headers_of(parse_address(address), wanted)
        return {header.object_id: header.size for header in found if header is not None}

    def blobs(self, address: str, object_ids: Sequence[str], *, limit_bytes: int) -> Mapping[str, bytes]:
        """The contents of files by their object ids.

        Raises :class:`StageFailed`, before anything is read, when one has more than ``limit_bytes`` or is no file.
        """
        parsed = parse_address(address)
        wanted = [_checked(object_id) for object_id in dict.fromkeys(object_ids)]
        found = self._headers_of(parsed, wanted)
        if any(header is None for header in found):
            missing = [object_id for object_id, header in zip(wanted, found, strict=True) if header is None]
            self.read(parsed, lambda mirror: require_objects(mirror, missing))
            found = self._headers_of(parsed, wanted)
        for object_id, header in zip(wanted, found, strict=True):
            if header is None or header.kind != "blob":
                raise StageFailed(f"{parsed.shown} has no file with the id {object_id}")
            if header.size > limit_bytes:
                raise StageFailed(
                    f"{parsed.shown}: the file {short(object_id)} has {header.size} bytes, {limit_bytes} are allowed"
                )
        return self.read(parsed, lambda mirror: read_blobs(mirror, wanted))

    def is_ancestor(self, address: str, older: str, newer: str) -> bool:
        """Whether ``newer`` contains ``older``; not so when the mirror does not even have ``older``."""
        ids = _checked(older), _checked(newer)
        return self.read(parse_address(address), lambda mirror: git_history.is_ancestor(mirror, *ids))

    def check_signature(self, address: str, resolved: Resolved, signers: Signers) -> None:
        """Raise :class:`~reconciler.model.errors.SignatureRefused` unless a tag, or a commit that was not reached by
        one, is signed by a key of a list."""
        parsed = parse_address(address)
        tag = resolved.ref if resolved.ref is not None and resolved.ref.startswith(TAGS) else None

        def check(mirror: Path) -> None:
            if tag is not None:
                check_tag(mirror, parsed.shown, tag, _checked(resolved.commit), signers)
            else:
                check_commit(mirror, parsed.shown, _checked(resolved.commit), signers)

        try:
            self.read(parsed, check)
        except SignatureRefused:
            if tag is None:
                raise
            # signed since then, it names the same commit, so that nothing was fetched
            git_mirror.fetch_again(self._folder / parsed.mirror_name, parsed, timeout=FETCH_SECONDS)
            self.read(parsed, check)

    def vanished(self, address: str, older: str, newer: str, limit: int = 20) -> tuple[str, ...]:
        """The commits of ``older`` that ``newer`` lacks, newest first, as ``<short id> <subject>``."""
        ids = _checked(older), _checked(newer)
        return self.read(parse_address(address), lambda mirror: git_history.vanished(mirror, *ids, limit))

    def subject(self, address: str, commit: str) -> str:
        """The subject line of a commit, shortened to 100 characters; raises :class:`RevisionNotFound`."""
        parsed = parse_address(address)
        found = self.read(parsed, lambda mirror: git_history.subject(mirror, _checked(commit)))
        if found is None:
            raise no_commit(parsed, commit)
        return found

    def submodules(self, address: str, commit: str, directory: str) -> Mapping[str, str]:
        """The submodules below a folder: path relative to the folder, and the commit that each is at."""
        entries = self.entries(address, commit, directory)
        return {entry.path: entry.object_id for entry in entries if entry.kind == "commit"}

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
        checkout = Checkout(self, submodules=submodules, lfs=lfs, timeout=timeout, limits=self._limits)
        checkout.place(Origin(address, commit, directory), destination)

    def provide(self, address: str, commit: str, *, timeout: float = FETCH_SECONDS) -> None:
        """Poll and update a repository unless its mirror has this commit already."""
        parsed = parse_address(address)
        mirror = self._folder / parsed.mirror_name
        if git_mirror.is_there(mirror) and self.read(parsed, lambda mirror: git_history.has_commits(mirror, commit)):
            return
        self.update(address, self.poll(address), timeout=timeout)

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

    def _headers_of(self, parsed: Address, names: Sequence[str]) -> list[ObjectHeader | None]:
        """What git knows of objects, whose names hold whole ids; only those are read that were not read before."""

        def read(unknown: Sequence[str]) -> list[ObjectHeader | None]:
            return self.read(parsed, lambda mirror: headers(mirror, unknown))

        return self._objects.headers(parsed.mirror_name, names, read)

    def _commit(self, parsed: Address, digits: str) -> str | None:
        mirror_name = parsed.mirror_name
        known = self._commits.get((mirror_name, digits))
        if known is not None:
            return known
        found = self.read(parsed, lambda mirror: git_history.resolve_commit(mirror, digits.lower()))
        # only a whole id stays what it is; a few digits may become ambiguous with the next fetch
        if found is not None and is_whole(digits):
            self._commits[mirror_name, digits] = found
        return found

    def read(self, parsed: Address, action: Callable[[Path], _Answer]) -> _Answer:
        """What ``action`` reads from the mirror of an address, failures of git made into this package's errors.

        A damaged mirror is fetched anew at once, and read again.
        """
        mirror, began = self._folder / parsed.mirror_name, time.monotonic()
        try:
            return git_mirror.reading(mirror, parsed, action)
        except git_mirror.MirrorDamaged as damage:
            self._renew(mirror, parsed, damage, began)
        try:
            return git_mirror.reading(mirror, parsed, action)
        except git_mirror.MirrorDamaged as damage:
            raise _damaged(parsed, damage, "although it was just fetched") from damage

    def _renew(self, mirror: Path, parsed: Address, damage: git_mirror.MirrorDamaged, since: float) -> None:
        """Fetch a damaged mirror anew, unless another thread did since then, or it was of no use a moment ago."""
        with git_mirror.locked(mirror, parsed, timeout=FETCH_SECONDS):
            last = self._renewed.get(mirror.name, float("-inf"))
            if last >= since:
                return
            if time.monotonic() - last < RENEWAL_PAUSE_SECONDS:
                raise _damaged(parsed, damage, "although it was fetched anew a moment ago") from damage
            reporting.error("mirror_renewed", repository=parsed.shown, error=str(damage))
            self._known.pop(mirror.name, None)
            try:
                refs = self._poll(parsed, POLL_SECONDS)
                git_mirror.renew(mirror, parsed, refs.refs, timeout=FETCH_SECONDS)
            except (RepositoryError, DiskError) as error:
                failure = _damaged(parsed, damage, f"and cannot be fetched anew: {error}")
                failure.hint = error.hint
                raise failure from error
            self._renewed[mirror.name] = time.monotonic()
            self._known[mirror.name] = refs.refs

    def _require_whole(self, parsed: Address, commit: str) -> None:
        """See to it that the mirror has all of a commit, where it has the commit itself."""
        known = (parsed.mirror_name, commit)
        if known not in self._whole:
            self.read(parsed, lambda mirror: git_history.require_whole(mirror, commit))
            self._whole.add(known)


def _damaged(parsed: Address, damage: git_mirror.MirrorDamaged, more: str) -> RepositoryUnreachable:
    return RepositoryUnreachable(
        f"the mirror of {parsed.shown} is damaged ({damage}), {more}",
        hint="check the disk of this host; the next pass tries again",
    )


def _moved(before: Mapping[str, str], after: Mapping[str, str]) -> list[str]:
    """Which refs are elsewhere now, as ``refs/heads/main 1a2b3c4 -> 5d6e7f8``; after a start, where they are."""
    names = sorted(name for name in {*before, *after} if before.get(name) != after.get(name))
    told = [
        f"{name} {short(before.get(name, 'none'))} -> {short(after.get(name, 'none'))}" for name in names[:REFS_TOLD]
    ]
    return [*told, f"and {len(names) - REFS_TOLD} more"] if len(names) > REFS_TOLD else told


def _checked(object_id: str) -> str:
    if not is_whole(object_id):
        raise RepositoryRefused(f"{object_id!r} is not the full id of a git object")
    return object_id
