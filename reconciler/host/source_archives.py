"""Source archives: fetched once, believed only by their sha256, unpacked without leaving their folder."""

from __future__ import annotations

import hashlib
import lzma
import os
import re
import tarfile
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path, PurePosixPath
from urllib.parse import unquote, urlsplit

from reconciler.host.files import remove_tree, temporary_sibling
from reconciler.host.interruption import stop_if_interrupted
from reconciler.model.errors import HostError, StageFailed

DOWNLOAD_SECONDS = 900.0
ANSWER_SECONDS = 30.0
ARCHIVE_BYTES = 256 * 1024**2
UNPACKED_BYTES = 2 * 1024**3
MEMBERS = 100_000
BLOCK_BYTES = 1024**2
REDIRECTS = 5
EXAMPLE_HINT = "name an archive of CPython's source, such as Python-3.13.5.tar.xz"
VERSION_FILE = "Include/patchlevel.h"
SAID_EVERY_BYTES = 8 * BLOCK_BYTES


def fetch(address: str, sha256: str, archive: Path, say: Callable[[str], None]) -> None:
    """Put the archive at ``address`` (http, https, file) at ``archive``, unless it is there already.

    Raises :class:`StageFailed` when it has another sha256 or is too large, and :class:`HostError` when it cannot be
    had.
    """
    if archive.exists() and _digest_of(archive) == sha256:
        return
    archive.parent.mkdir(parents=True, exist_ok=True)
    part = temporary_sibling(archive)
    try:
        found = _copy(address, part, say)
        if found != sha256:
            raise StageFailed(
                f"{address} has the sha256 {found}, and build.python.sha256 asks for {sha256}",
                hint="find out why it differs; correct build.python.sha256 only if this archive is the right one",
            )
        part.replace(archive)
    finally:
        part.unlink(missing_ok=True)


def _copy(address: str, part: Path, say: Callable[[str], None]) -> str:
    digest, size, told = hashlib.sha256(), 0, 0
    deadline = time.monotonic() + DOWNLOAD_SECONDS
    with part.open("wb") as file:
        for block in _blocks(address):
            stop_if_interrupted()
            if time.monotonic() > deadline:
                raise HostError(
                    f"{address} was not fetched within {DOWNLOAD_SECONDS:g} s", hint="use a nearer mirror"
                )
            size += len(block)
            if size > ARCHIVE_BYTES:
                raise StageFailed(
                    f"{address} is larger than {ARCHIVE_BYTES // 1024**2} MiB",
                    hint="name an archive of CPython's source",
                )
            digest.update(block)
            file.write(block)
            if size - told >= SAID_EVERY_BYTES:
                told = size
                say(f"fetch: {size // 1024**2} MiB")
    return digest.hexdigest()


def _blocks(address: str) -> Iterator[bytes]:
    parts = urlsplit(address)
    if parts.scheme == "file":
        yield from _read(address, Path(unquote(parts.path)))
        return
    import httpx  # noqa: PLC0415  hardly any pass fetches an archive

    try:
        with (
            httpx.Client(follow_redirects=True, max_redirects=REDIRECTS, timeout=ANSWER_SECONDS) as client,
            client.stream("GET", address, headers={"Accept-Encoding": "identity"}) as answer,
        ):
            if answer.status_code != httpx.codes.OK:
                raise HostError(
                    f"{address} answered with status {answer.status_code}",
                    hint="it is tried again by itself; correct build.python.source where the archive has moved",
                )
            yield from answer.iter_raw(BLOCK_BYTES)
    except httpx.HTTPError as error:
        raise HostError(
            f"{address} cannot be fetched: {re.sub(r'^.Errno -?[0-9]+. ', '', str(error)) or type(error).__name__}",
            hint="it is tried again by itself; check the network and the proxy variables of the agent",
        ) from error


def _read(address: str, path: Path) -> Iterator[bytes]:
    try:
        with path.open("rb") as file:
            while block := file.read(BLOCK_BYTES):
                yield block
    except OSError as error:
        raise HostError(
            f"{address} cannot be read: {error.strerror}", hint="put the archive there; it is tried again by itself"
        ) from error


def unpack(archive: Path, folder: Path) -> Path:
    """Unpack below ``folder``, which must not be there; the one folder in it that has ``configure``.

    Raises :class:`StageFailed` for what is no archive of a source tree, or leads out of the folder.
    """
    folder.mkdir(parents=True)
    try:
        with tarfile.open(archive) as opened:
            # interpreters older than 3.11.4 have no filters: what matters is checked below
            opened.extraction_filter = getattr(tarfile, "data_filter", None)
            opened.extractall(folder, members=_bounded(opened))  # noqa: S202  every member is checked
    except (tarfile.TarError, EOFError, ValueError, OSError, lzma.LZMAError, zlib.error) as error:
        remove_tree(folder)
        # what bz2 and gzip find wrong is no fault of the disk
        if isinstance(error, OSError) and error.errno is not None:
            raise
        reason = "it is none that tar knows, or a damaged one" if "could not be opened" in str(error) else error
        raise StageFailed(
            f"the archive of build.python.source cannot be unpacked: {reason}", hint=EXAMPLE_HINT
        ) from error
    found = [path.parent for path in folder.glob("*/configure")]
    if len(found) != 1:
        remove_tree(folder)
        raise StageFailed(
            "the archive of build.python.source has no folder with a configure script", hint=EXAMPLE_HINT
        )
    return found[0]


def version_of(source: Path) -> str:
    """Which Python an unpacked source is of, such as ``3.13.5``. Raises :class:`StageFailed` where it is of none."""
    try:
        found = re.search(r'^#define\s+PY_VERSION\s+"([^"]+)"', (source / VERSION_FILE).read_text("utf-8"), re.M)
    except (FileNotFoundError, NotADirectoryError, ValueError):
        found = None
    if found is None:
        raise StageFailed(
            f"the archive of build.python.source is no source of CPython: {VERSION_FILE} does not say its version",
            hint=EXAMPLE_HINT,
        )
    return found[1].removesuffix("+")


def _bounded(opened: tarfile.TarFile) -> Iterator[tarfile.TarInfo]:
    """The members, each checked before it is written; nothing is written through a link."""
    size, links = 0, set[PurePosixPath]()
    for number, member in enumerate(opened):
        stop_if_interrupted()
        size += member.size
        if number > MEMBERS or size > UNPACKED_BYTES:
            raise tarfile.TarError("it holds more than any source tree")
        place = PurePosixPath(member.name)
        if not (member.isreg() or member.isdir() or member.issym()):
            raise tarfile.TarError(f"{member.name} is neither a file, nor a folder, nor a symbolic link")
        if place.is_absolute() or ".." in place.parts or not links.isdisjoint((place, *place.parents)):
            raise tarfile.TarError(f"{member.name} leads out of it")
        if member.issym():
            links.add(place)
        member.uid, member.gid, member.uname, member.gname = os.geteuid(), os.getegid(), "", ""
        member.mode &= 0o755
        yield member


def _digest_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def forget_old(folder: Path, days: float) -> None:
    """Remove what lies in ``folder`` and was not touched for ``days``."""
    oldest = time.time() - days * 86_400
    for path in folder.iterdir() if folder.is_dir() else ():
        with suppress(OSError):
            if path.lstat().st_mtime < oldest:
                remove_tree(path)
