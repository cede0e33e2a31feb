"""Keeps a bare mirror of a repository equal to it: clone aside and rename, fetch, lock, make anew what is broken."""

from __future__ import annotations

import fcntl
import resource
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TypeVar

from reconciler.host import reporting
from reconciler.host.files import TEMPORARY_PREFIX, remove_tree, size_of
from reconciler.host.git_addresses import Address
from reconciler.host.git_commands import local, network
from reconciler.host.git_failures import hint_of, needs_new_mirror, unreachable, useful_line
from reconciler.host.git_objects import read_refs
from reconciler.model.errors import CommandFailed, RepositoryUnreachable, StageFailed
from reconciler.model.sizes import readable

LOCK_POLL_SECONDS = 0.05
FETCH_BYTES = 8 * 1024**3
"""The largest pack that is taken from a server: it could send without end."""
PACKS_BEFORE_REPACK = 50
"""Every fetch adds a pack, and each makes every lookup a little slower."""

_Answer = TypeVar("_Answer")
_HEAD = "ref: refs/reconciler/none\n"
_REFSPECS = ("+refs/heads/*:refs/heads/*", "+refs/tags/*:refs/tags/*")
# what old and honest repositories have in them, written by old programs; it harms nobody
_TOLERATED = (
    "badDate",
    "badDateOverflow",
    "badEmail",
    "badName",
    "badTimezone",
    "missingEmail",
    "missingNameBeforeEmail",
    "missingSpaceBeforeDate",
    "missingSpaceBeforeEmail",
    "nulInCommit",
    "zeroPaddedDate",
    "zeroPaddedFilemode",
)
_SETTINGS = {
    "fetch.fsckObjects": "true",
    **{f"fetch.fsck.{name}": "ignore" for name in _TOLERATED},
    # a file of gigabytes is checked as it streams, and not held in memory
    "core.bigFileThreshold": "16m",
    # a server that lets a connection run dry is given up before the whole time is over
    "http.lowSpeedLimit": "1000",
    "http.lowSpeedTime": "60",
    # always packs, which are written whole, never thousands of loose objects
    "fetch.unpackLimit": "1",
}


class MirrorDamaged(Exception):
    """A mirror is not what was fetched; its text is what git says of it."""


def is_there(mirror: Path) -> bool:
    """Whether there is a mirror; one that is only half made never has this name."""
    return (mirror / "HEAD").exists()


def holds(mirror: Path, refs: Mapping[str, str]) -> bool:
    """Whether a mirror has exactly these refs; reads only, and not so when it cannot be read."""
    try:
        return is_there(mirror) and read_refs(mirror) == refs
    except CommandFailed:
        return False


def has_refs(mirror: Path) -> bool:
    """Whether there is a mirror that has a branch or a tag."""
    try:
        return is_there(mirror) and bool(read_refs(mirror))
    except CommandFailed:
        return True


def bring_up_to_date(
    mirror: Path, address: Address, refs: Mapping[str, str], *, timeout: float, behind: bool = False
) -> bool:
    """Make the mirror hold ``refs``; return whether that took a fetch. The caller holds :func:`locked`.

    ``behind``: it is known to hold others, so that it is not asked. Raises :class:`RepositoryUnreachable`; the mirror
    that was there is kept then.
    """
    try:
        if is_there(mirror):
            if not behind and read_refs(mirror) == refs:
                # another thread or process was first
                return False
            _fetch(mirror, address, timeout=timeout)
            with suppress(CommandFailed):
                # needs as much room again; without it lookups are slower, and nothing else
                _repack(mirror, timeout=timeout)
            return True
    except CommandFailed as failure:
        _refuse_full_disk(mirror, address, failure)
        if is_there(mirror) and not needs_new_mirror(failure.tail):
            raise unreachable(address, failure) from failure
        if is_there(mirror):
            reporting.error("mirror_renewed", repository=address.shown, error=useful_line(failure.tail))
    try:
        _clone(mirror, address, refs, timeout=timeout)
    except CommandFailed as failure:
        _refuse_full_disk(mirror, address, failure)
        raise unreachable(address, failure) from failure
    return True


def _refuse_full_disk(mirror: Path, address: Address, failure: BaseException) -> None:
    """Raise :class:`DiskError` where this host's own disk is why a repository cannot be fetched."""
    from reconciler.host.file_systems import disk_error  # noqa: PLC0415  only where something failed

    if (found := disk_error(failure, mirror.parent)) is not None:
        found.message = f"{address.shown} cannot be fetched: {found}"
        raise found from failure


def renew(mirror: Path, address: Address, refs: Mapping[str, str], *, timeout: float) -> None:
    """Put a new clone in the place of a damaged mirror, which stays where none can be had. The caller holds
    :func:`locked`.

    Raises :class:`RepositoryUnreachable` or :class:`DiskError`.
    """
    try:
        _clone(mirror, address, refs, timeout=timeout)
    except CommandFailed as failure:
        _refuse_full_disk(mirror, address, failure)
        raise unreachable(address, failure) from failure


def fetch_again(mirror: Path, address: Address, *, timeout: float) -> None:
    """Fetch although no commit moved: a tag may have been made anew for the same one.

    Raises :class:`RepositoryUnreachable`.
    """
    with locked(mirror, address, timeout=timeout):
        try:
            _fetch(mirror, address, timeout=timeout)
        except CommandFailed as failure:
            raise unreachable(address, failure) from failure


@contextmanager
def locked(mirror: Path, address: Address, *, timeout: float) -> Iterator[None]:
    """Keep every other thread and process from changing the mirror; readers need no lock."""
    deadline = time.monotonic() + timeout
    try:
        mirror.parent.mkdir(parents=True, exist_ok=True)
        opened = mirror.with_suffix(".lock").open("a")
    except OSError as error:
        _refuse_full_disk(mirror, address, error)
        raise
    with opened as file:
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise RepositoryUnreachable(
                        f"{address.shown} is being fetched by another reconciler for more than {timeout:g} s",
                        hint="wait for it, or end it",
                    ) from None
                time.sleep(LOCK_POLL_SECONDS)
        yield


def reading(mirror: Path, address: Address, action: Callable[[Path], _Answer]) -> _Answer:
    """What ``action`` reads from the mirror.

    Raises :class:`RepositoryUnreachable` when there is no mirror, :class:`MirrorDamaged` when it is not what was
    fetched, and :class:`StageFailed` when git fails for another reason.
    """
    try:
        return action(mirror)
    except CommandFailed as failure:
        if not is_there(mirror):
            raise RepositoryUnreachable(
                f"{address.shown} has not been fetched to this host yet", hint="the next pass fetches it"
            ) from failure
        if not needs_new_mirror(failure.tail):
            hint = hint_of(failure.tail)
            raise StageFailed(
                f"{address.shown}: {useful_line(failure.tail)}", hint=hint, tail=failure.tail
            ) from failure
        raise MirrorDamaged(useful_line(failure.tail)) from failure


def remove(mirror: Path) -> None:
    """Remove a mirror; its name goes first, so that nobody meets half of it. The caller holds :func:`locked`."""
    old = _aside(mirror, "old")
    remove_tree(old)
    with suppress(FileNotFoundError):
        mirror.rename(old)
    remove_tree(old)


def _aside(mirror: Path, purpose: str) -> Path:
    # always the same name for a mirror: what an agent that was killed left behind goes with the next attempt
    return mirror.with_name(f"{TEMPORARY_PREFIX}{mirror.stem}-{purpose}")


def _clone(mirror: Path, address: Address, refs: Mapping[str, str], *, timeout: float) -> None:
    new = _aside(mirror, "new")
    remove_tree(new)
    digits = {len(commit) for commit in refs.values()}
    object_format = "sha256" if digits == {64} else "sha1"
    try:
        local(new, ("init", "--quiet", "--bare", "--template=", f"--object-format={object_format}"))
        # a HEAD that leads nowhere: nothing of the repository counts unless its commit is named
        (new / "HEAD").write_text(_HEAD)
        _fetch(new, address, timeout=timeout)
        remove(mirror)
        new.rename(mirror)
    finally:
        remove_tree(new)


def _fetch(mirror: Path, address: Address, *, timeout: float) -> None:
    """Fetch everything; what a fetch leaves behind that was cut short, this one or an earlier one, goes."""
    remove_remains(mirror)
    try:
        _fetch_refs(mirror, address, timeout=timeout)
    except BaseException as failure:
        # git does not say that this was why
        too_large = any(size_of(path) >= FETCH_BYTES for path in (mirror / "objects" / "pack").glob("tmp_*"))
        remove_remains(mirror)
        if too_large and isinstance(failure, CommandFailed):
            raise RepositoryUnreachable(
                f"{address.shown} sent a pack of more than {readable(FETCH_BYTES)}, which is not taken",
                hint="see what makes it so large, such as with `git count-objects -v` in it",
            ) from failure
        raise


def remove_remains(mirror: Path) -> None:
    """Remove half-fetched packs and the locks of a git that was killed. The caller holds :func:`locked`.

    git leaves both for ever: the one takes room, the other lets every later fetch fail.
    """
    objects = mirror / "objects"
    half_made = ("tmp_*", "??/tmp_*", "pack/tmp_*", "pack/.tmp-*", "pack/*.lock", "info/*.lock")
    remains = [path for pattern in half_made for path in objects.glob(pattern)]
    for path in (*remains, *mirror.glob("*.lock"), *(mirror / "refs").rglob("*.lock")):
        with suppress(OSError):
            path.unlink()


def _fetch_refs(mirror: Path, address: Address, *, timeout: float) -> None:
    options = ("--quiet", "--force", "--prune", "--no-tags", "--no-write-fetch-head", "--no-recurse-submodules")
    command = ("fetch", *options, "--", address.url, *_REFSPECS)
    limits = {resource.RLIMIT_FSIZE: FETCH_BYTES}
    network(address, command, repository=mirror, settings=_SETTINGS, timeout=timeout, limits=limits)


def _repack(mirror: Path, *, timeout: float) -> None:
    """Join the packs when there are many; commits that no ref reaches any more stay, an app may still run them."""
    if sum(1 for _ in (mirror / "objects" / "pack").glob("*.pack")) <= PACKS_BEFORE_REPACK:
        return
    local(mirror, ("repack", "-a", "-d", "-q", "--keep-unreachable"), timeout=timeout)
