"""Compresses files ahead of time, for nginx to send them as they are."""

from __future__ import annotations

import os
import zlib
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePosixPath

from reconciler.model.manifest import Encoding

SMALLEST_BYTES = 256
LARGEST_BYTES = 64 * 1024 * 1024
KEPT_RATIO = 0.95
"""A compressed file that is not 5 % smaller is not worth a second file."""
BROTLI_BEST_BYTES = 256 * 1024
"""Up to here brotli works at 11, at 300 KB/s; above at 9, a hundred times as fast for a tenth more bytes."""
ZSTD_BEST_BYTES = 4 * 1024 * 1024
WORKERS = 2
GZIP_WINDOW = 31

SUFFIXES = {Encoding.GZIP: ".gz", Encoding.BROTLI: ".br", Encoding.ZSTD: ".zst"}
# fmt: off
COMPRESSIBLE = frozenset({
    ".css", ".js", ".mjs", ".cjs", ".map", ".html", ".htm", ".xhtml", ".svg", ".json", ".jsonld", ".geojson",
    ".webmanifest", ".xml", ".rss", ".atom", ".txt", ".md", ".csv", ".tsv", ".ics", ".vtt", ".yaml", ".yml",
    ".ico", ".bmp", ".ttf", ".otf", ".eot", ".wasm",
})
# fmt: on


def precompress(
    folder: Path, names: Sequence[str], encodings: Collection[Encoding], second_names: Mapping[str, str]
) -> int:
    """Write ``name.gz`` and so on beside the files that gain by it; return how many.

    ``second_names`` get them too, as hard links.
    """
    wanted = [encoding for encoding in SUFFIXES if encoding in encodings]
    candidates = [name for name in names if _compressible(name)] if wanted else []

    def compress(name: str) -> int:
        written = 0
        data = _worth_it(folder / name)
        for encoding in wanted if data else ():
            content = _COMPRESSORS[encoding](data)
            if len(content) > len(data) * KEPT_RATIO:
                continue
            path = folder / (name + SUFFIXES[encoding])
            path.write_bytes(content)
            if name in second_names:
                os.link(path, folder / (second_names[name] + SUFFIXES[encoding]))
            written += 1
        return written

    # threads suffice: all three libraries let go of the interpreter while they work
    pool = ThreadPoolExecutor(WORKERS)
    try:
        return sum(pool.map(compress, candidates))
    finally:
        pool.shutdown(cancel_futures=True)


def compressed_twins(names: Collection[str], encodings: Collection[Encoding]) -> frozenset[str]:
    """Those of the names that the app itself ships as the compressed form of another, and that are made anew."""
    present = set(names)
    return frozenset(
        name
        for name in names
        for encoding in encodings
        if name.endswith(SUFFIXES[encoding])
        and (plain := name.removesuffix(SUFFIXES[encoding])) in present
        and _compressible(plain)
    )


def _compressible(name: str) -> bool:
    return PurePosixPath(name).suffix.lower() in COMPRESSIBLE


def _worth_it(path: Path) -> bytes:
    """The content of a file whose size makes compressing sensible, or nothing."""
    return path.read_bytes() if SMALLEST_BYTES < path.stat().st_size <= LARGEST_BYTES else b""


def _gzip(data: bytes) -> bytes:
    # the header that zlib writes has neither a time nor a name
    return zlib.compress(data, level=9, wbits=GZIP_WINDOW)


def _brotli(data: bytes) -> bytes:
    import brotli  # noqa: PLC0415 - only for folders that ask for it

    return bytes(brotli.compress(data, quality=11 if len(data) <= BROTLI_BEST_BYTES else 9))


def _zstd(data: bytes) -> bytes:
    import zstandard  # noqa: PLC0415

    return zstandard.ZstdCompressor(level=19 if len(data) <= ZSTD_BEST_BYTES else 9).compress(data)


_COMPRESSORS: dict[Encoding, Callable[[bytes], bytes]] = {
    Encoding.GZIP: _gzip,
    Encoding.BROTLI: _brotli,
    Encoding.ZSTD: _zstd,
}
