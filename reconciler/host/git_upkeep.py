"""Mirrors kept equal to their repositories: asked for, fetched, read, and made anew where they are damaged."""

from __future__ import annotations

import re
import resource
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from reconciler.host import git_history, git_mirror, reporting
from reconciler.host.git_addresses import Address, parse_address
from reconciler.host.git_commands import network
from reconciler.host.git_failures import unreachable
from reconciler.host.git_objects import parse_refs, read_refs
from reconciler.model.errors import CommandFailed, DiskError, RepositoryError, RepositoryUnreachable
from reconciler.model.object_ids import short

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

_HEAD_LINE = re.compile(r"^ref: (refs/heads/.+)\tHEAD$", re.MULTILINE)
_Answer = TypeVar("_Answer")


@dataclass(frozen=True, slots=True)
class RemoteRefs:
    """What a server answered: branches and tags (full name to commit), and the full name of its default branch."""

    refs: Mapping[str, str]
    head: str | None


class KeptMirrors:
    """Bare mirrors of repositories, all below one folder, which is a cache: what is removed is cloned anew.

    Addresses are https, ssh and file; any other raises :class:`RepositoryRefused`. Every method may be called from
    several threads at once. A method that finds a mirror damaged fetches it anew first; it raises
    :class:`RepositoryUnreachable` when there is none, or none that can be read.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        # refs that a mirror is known to hold; dictionaries, whose single operations are safe between threads
        self._known: dict[str, Mapping[str, str]] = {}
        # when a mirror was fetched anew because it was damaged
        self._renewed: dict[str, float] = {}

    def close(self) -> None:
        """Forget what is remembered; no call leaves a process or an open file behind."""
        self._known.clear()

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

    def provide(self, address: str, commit: str, *, timeout: float = FETCH_SECONDS) -> None:
        """Poll and update a repository unless its mirror has this commit already."""
        parsed = parse_address(address)
        mirror = self._folder / parsed.mirror_name
        if git_mirror.is_there(mirror) and self.read(parsed, lambda mirror: git_history.has_commits(mirror, commit)):
            return
        self.update(address, self.poll(address), timeout=timeout)

    def fetch_again(self, parsed: Address) -> None:
        """Fetch although no ref that is followed has moved, for what may have changed beside them."""
        git_mirror.fetch_again(self._folder / parsed.mirror_name, parsed, timeout=FETCH_SECONDS)

    def doubt(self, parsed: Address) -> None:
        """Compare a mirror with its refs again before anything is taken for current."""
        self._known.pop(parsed.mirror_name, None)

    def renewed_at(self, parsed: Address) -> float | None:
        """When a mirror was last fetched anew because it was damaged, by the monotonic clock."""
        return self._renewed.get(parsed.mirror_name)

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
