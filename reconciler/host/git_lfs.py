"""Large files: git-lfs fetches the objects, this module checks them and puts them where their pointers are.

No smudge filter runs, so that a repository cannot choose a program, and every object is checked before it is used.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from reconciler.host.files import temporary_sibling
from reconciler.host.git_addresses import Address, parse_address
from reconciler.host.git_commands import network
from reconciler.host.git_failures import hint_of, printable, unreachable, useful_line
from reconciler.host.git_objects import read_settings
from reconciler.model.errors import CommandFailed, RepositoryRefused, StageFailed

POINTER_BYTES = 1024
"""git-lfs itself takes no longer file for a pointer."""
COPY_BYTES = 1024 * 1024

_POINTER = re.compile(
    rb"version https://git-lfs\.github\.com/spec/v1\n(?:ext-[^\n]*\n)*"
    rb"oid sha256:(?P<oid>[0-9a-f]{64})\nsize (?P<size>[0-9]{1,18})\n?"
)


@dataclass(frozen=True, slots=True)
class Pointer:
    """A file that stands for a large object: its place, and the sha256 and size in bytes of what belongs there."""

    path: Path
    sha256: str
    size: int


def replace_pointers(
    mirror: Path, address: Address, commit: str, directory: str, destination: Path, *, timeout: float
) -> None:
    """Put the large objects where their pointers are, below ``destination``; fetch those that the mirror lacks.

    Raises :class:`StageFailed` when git-lfs is missing or an object is missing or wrong, and
    :class:`RepositoryUnreachable` when the server is.
    """
    store = mirror / "lfs" / "objects"
    wanted = [
        (
            pointer,
            _stored(store, pointer.sha256),
            f"{address.shown}: the LFS object of {_shown(pointer, destination)}",
        )
        for pointer in find_pointers(destination)
    ]
    missing = [what for _, stored, what in wanted if not stored.exists()]
    if missing:
        _fetch(mirror, address, commit, directory, what=missing[0], timeout=timeout)
    for pointer, stored, what in wanted:
        _replace(pointer, stored, what)


def _shown(pointer: Pointer, folder: Path) -> str:
    return printable(str(pointer.path.relative_to(folder)))


def find_pointers(folder: Path) -> Iterator[Pointer]:
    """The pointer files below a folder; symbolic links are not followed."""
    for parent, _, names in os.walk(folder):
        for name in names:
            path = Path(parent, name)
            status = path.lstat()
            if stat.S_ISREG(status.st_mode) and 0 < status.st_size <= POINTER_BYTES:
                match = _POINTER.fullmatch(path.read_bytes())
                if match is not None:
                    yield Pointer(path, match["oid"].decode(), int(match["size"]))


def _stored(store: Path, sha256: str) -> Path:
    return store / sha256[:2] / sha256[2:4] / sha256


def _fetch(mirror: Path, address: Address, commit: str, directory: str, *, what: str, timeout: float) -> None:
    if shutil.which("git-lfs") is None:
        raise StageFailed(
            f"{address.shown} keeps large files with LFS, and git-lfs is not on this host",
            hint="apt-get install git-lfs",
        )
    local = address.protocol == "file"
    settings = {"remote.origin.url": address.url, "lfs.fetchrecentalways": "false"}
    if local:
        # git-lfs starts itself on the other repository, and must not take the mirror for that one
        settings |= {
            "remote.origin.url": f"file://{address.url.removeprefix('file://')}",
            "safe.bareRepository": "all",
        }
    else:
        settings["lfs.storage"] = str(mirror / "lfs")
    server = _server(mirror, address, commit)
    if server is not None:
        settings["lfs.url"] = server
    # characters with a meaning in git-lfs' patterns: fetch all of the commit rather than the wrong part
    plain = directory != "." and re.fullmatch(r"[\w./-]+", directory)
    chosen = (f"--include={directory}",) if plain else ()
    command = ("lfs", "fetch", *chosen, "--exclude=", "origin", commit)
    try:
        network(address, command, repository=mirror, settings=settings, inside=local, timeout=timeout)
    except CommandFailed as failure:
        if hint_of(failure.tail) is not None and "404" not in failure.tail and not local:
            raise unreachable(address, failure) from failure
        raise StageFailed(
            f"{what} cannot be fetched: {useful_line(failure.tail)}",
            hint="push it with `git lfs push --all origin`",
            tail=failure.tail,
        ) from failure


def _server(mirror: Path, address: Address, commit: str) -> str | None:
    """The server that .lfsconfig names at this commit, held to the rules of every address."""
    url = read_settings(mirror, commit, ".lfsconfig").get("lfs.url")
    if url is None:
        return None
    server = parse_address(url)
    if server.protocol == "file" and address.protocol != "file":
        raise RepositoryRefused(f"{address.shown}: its .lfsconfig names a path on this host")
    return url


def _replace(pointer: Pointer, stored: Path, what: str) -> None:
    """Copy one object over its pointer, with the pointer's mode, checking size and sha256 on the way."""
    temporary = temporary_sibling(pointer.path)
    digest, size = hashlib.sha256(), 0
    try:
        with stored.open("rb") as source, temporary.open("xb") as target:
            while chunk := source.read(COPY_BYTES):
                digest.update(chunk)
                size += len(chunk)
                target.write(chunk)
        if (digest.hexdigest(), size) != (pointer.sha256, pointer.size):
            stored.unlink()
            raise StageFailed(f"{what} is damaged: it does not have the sha256 that its pointer gives")
        shutil.copymode(pointer.path, temporary)
        temporary.replace(pointer.path)
    except FileNotFoundError as error:
        raise StageFailed(
            f"{what} is missing at the server", hint="push it with `git lfs push --all origin`"
        ) from error
    finally:
        temporary.unlink(missing_ok=True)
