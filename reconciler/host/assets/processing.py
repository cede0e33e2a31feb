"""The steps from source folder to served folder, in order."""

from __future__ import annotations

import contextlib
import errno
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from reconciler.host.allowance import Allowance
from reconciler.host.assets.bundling import bundle
from reconciler.host.assets.collecting import collect
from reconciler.host.assets.fingerprinting import fingerprint
from reconciler.host.assets.minifying import minify
from reconciler.host.assets.precompressing import compressed_twins, precompress
from reconciler.host.confinement import Confinement
from reconciler.model.configuration import Limits
from reconciler.model.errors import HostError, StageFailed
from reconciler.model.manifest import Encoding, StaticFolder

FILE_MODE = 0o644
FOLDER_MODE = 0o755

_MINIFIERS = ("lightningcss", "tdewolff-minify")
_COMPRESSORS = {Encoding.BROTLI: "brotli", Encoding.ZSTD: "zstandard"}
_FAULTS_OF_THE_FOLDER = frozenset(
    {errno.EACCES, errno.EPERM, errno.ELOOP, errno.ENAMETOOLONG, errno.ENOTDIR, errno.EEXIST}
)


@dataclass(frozen=True, slots=True)
class AssetReport:
    """What became of a folder.

    ``files`` and ``bytes_in`` count what was collected; ``bytes_out`` is the size of these files and the bundles
    after minifying. ``fingerprinted`` files have a second name; ``compressed`` counts the files written beside plain
    ones.
    """

    files: int
    bytes_in: int
    bytes_out: int
    bundles: int
    fingerprinted: int
    compressed: int


def process(
    source: Path,
    destination: Path,
    settings: StaticFolder,
    *,
    inside: Path | None = None,
    confinement: Confinement | None = None,
) -> AssetReport:
    """Fill ``destination`` (there, and empty) from ``source`` as ``settings`` ask.

    ``inside`` is the folder that ``source`` must lie in once its links are followed (default: its parent). Minifiers
    run as ``confinement`` says (default: as this process). Equal input gives equal names and bytes. The files' time
    is the moment of processing: nginx derives an ETag from size and time alone, so a stylesheet that only swaps one
    digest for another must not keep an old time.

    Raises :class:`StageFailed` for what only a change of the app can mend, :class:`HostError` for a full disk and the
    like; ``destination`` is then incomplete.
    """
    with _faults_named(settings.source):
        sizes = collect(source, destination, inside or source.parent, label=settings.source)
        if settings.minify:
            own = confinement or Confinement(None, Allowance.of(Limits()))
            minify(destination, sizes, label=settings.source, confinement=own)
        bundles = bundle(destination, settings.bundles, sizes.keys(), label=settings.source)
        names = sorted(sizes.keys() | set(bundles))
        twins = compressed_twins(names, settings.precompress)
        plain = [name for name in names if name not in twins]
        second_names = fingerprint(destination, plain, settings.url) if settings.fingerprint else {}
        compressed = precompress(destination, plain, settings.precompress, second_names)
        _settle(destination)
        return AssetReport(
            files=len(sizes),
            bytes_in=sum(sizes.values()),
            bytes_out=sum((destination / name).stat().st_size for name in names),
            bundles=len(bundles),
            fingerprinted=len(second_names),
            compressed=compressed,
        )


def tool_versions(settings: StaticFolder) -> dict[str, str]:
    """The installed versions of the libraries that these settings use; gzip is Python's own and has none.

    Raises :class:`HostError` when one is not installed.
    """
    names = [*_MINIFIERS] if settings.minify else []
    names += [_COMPRESSORS[encoding] for encoding in settings.precompress if encoding in _COMPRESSORS]
    try:
        return {name: metadata.version(name) for name in sorted(names)}
    except metadata.PackageNotFoundError as error:
        raise HostError(
            f"the Python package {error.name} is not installed", hint="install reconciler again"
        ) from error


def _settle(destination: Path) -> None:
    """Give every file and folder its mode, and one time to all."""
    now = int(time.time())
    for folder, _, files in os.walk(destination):
        Path(folder).chmod(FOLDER_MODE)
        for file in files:
            path = os.path.join(folder, file)  # noqa: PTH118 - a Path for each of 200,000 files costs a second
            os.chmod(path, FILE_MODE)  # noqa: PTH101
            os.utime(path, (now, now))


@contextlib.contextmanager
def _faults_named(label: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        place = f": {os.fsdecode(error.filename)}" if error.filename else ""
        message = f"the static folder {label} cannot be processed{place}: {error.strerror}"
        if error.errno in _FAULTS_OF_THE_FOLDER:
            raise StageFailed(message, hint="correct the names or permissions of the files") from error
        raise HostError(message) from error
