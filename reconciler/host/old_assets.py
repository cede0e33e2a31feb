"""Fingerprinted files of an app's last releases, for pages that are still open in browsers.

One folder per app has a hard link for every fingerprinted name of every release that is kept, so that nginx needs one
path that never changes. A name holds a digest of the content: two releases with one name have one file.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

from reconciler.host.files import flush_folder, make_folder, write_whole
from reconciler.host.layout import Layout

MANIFEST_NAME = "assets-manifest.json"
"""In every static folder that has fingerprints: ``{"files": {"site.css": "site.0123456789ab.css"}}``."""
TWIN_SUFFIXES = ("", ".gz", ".br", ".zst")
"""The file itself, and its compressed twins."""
_FINGERPRINT = re.compile(r"\.[0-9a-f]{12}(\.[^/]*)?$")


def keep_assets(layout: Layout, app: str, output: Path) -> int:
    """Link the fingerprinted files of a static output into the app's folder; returns how many were not there yet."""
    home = layout.old_assets(app)
    linked = 0
    changed: set[Path] = set()
    for folder, name in _fingerprinted(output):
        for suffix in TWIN_SUFFIXES:
            if _link(folder / f"{name}{suffix}", home / f"{name}{suffix}"):
                linked += 1
                changed.add((home / name).parent)
    for folder in changed:
        flush_folder(folder)
    return linked


def prune_assets(layout: Layout, app: str, outputs: Iterable[Path]) -> int:
    """Remove the app's files that none of these static outputs has; returns how many went."""
    home = layout.old_assets(app)
    kept = {
        str(home / f"{name}{suffix}")
        for output in outputs
        for _, name in _fingerprinted(output)
        for suffix in TWIN_SUFFIXES
    }
    removed = 0
    for folder, _, files in os.walk(home, topdown=False):
        for file in files:
            path = os.path.join(folder, file)  # noqa: PTH118 - a Path for each of many files costs seconds
            if path not in kept:
                Path(path).unlink(missing_ok=True)
                removed += 1
        # not empty: something in it stays
        with suppress(OSError):
            Path(folder).rmdir()
    return removed


def _fingerprinted(output: Path) -> Iterator[tuple[Path, str]]:
    """Every static folder of an output that has fingerprints, with each of the fingerprinted names in it."""
    try:
        with os.scandir(output) as entries:
            folders = sorted(Path(entry.path) for entry in entries)
    except FileNotFoundError:
        return
    for folder in folders:
        with suppress(OSError, ValueError, KeyError, AttributeError, TypeError):
            # an app may have a file of this name that is something else, where it asks for no fingerprints
            names = json.loads((folder / MANIFEST_NAME).read_bytes())["files"].values()
            yield from ((folder, name) for name in names if _is_fingerprinted(name))


def _is_fingerprinted(name: str) -> bool:
    inside = not name.startswith("/") and ".." not in name.split("/")
    return inside and _FINGERPRINT.search(name) is not None


def _link(source: Path, target: Path) -> int:
    """Make ``target`` a hard link to ``source``, if there is one; a copy where the file system has no more links."""
    for _ in range(2):
        try:
            os.link(source, target, follow_symlinks=False)
        except FileExistsError:
            return 0
        except FileNotFoundError:
            if not os.path.lexists(source):
                return 0
            make_folder(target.parent)
            continue
        except OSError:
            return _copy(source, target)
        return 1
    return 0


def _copy(source: Path, target: Path) -> int:
    if target.exists() or not source.exists():
        return 0
    make_folder(target.parent)
    write_whole(target, source.read_bytes())
    return 1
