"""Looking at what is on disk, by stat first: a file that has not been touched is not read again."""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from reconciler.host.layout import Layout
from reconciler.host.sealing import seal_of
from reconciler.model.diffs import unified
from reconciler.model.sealed_environment import sealed_as, sealed_names
from reconciler.model.stage import Difference, DifferenceKind

RACY_NANOSECONDS = 2_000_000_000
"""A file that changed this shortly before it was read may change again without its stat showing it; git's rule."""

_Signature = tuple[int, int, int, int, int]


@dataclass(slots=True)
class Observer:
    """Compares files and links with what was applied; remembers which files it has already read."""

    layout: Layout
    _known: dict[str, tuple[_Signature, str]] = field(default_factory=dict)

    def environment(self, path: Path, expected: str, *, app: str, mode: int) -> tuple[Difference, ...]:
        """How a vassal's environment differs from what was applied; secrets are compared by their keyed hash."""
        if not sealed_names(expected):
            return self.text(path, expected, mode=mode)

        def sealed(actual: str) -> str:
            seal = seal_of(self.layout.root)
            return sealed_as(expected, actual, lambda name, value: seal.hash(app, name, value))

        return self.text(path, expected, mode=mode, form=sealed)

    def text(
        self, path: Path, expected: str, *, mode: int, form: Callable[[str], str] | None = None
    ) -> tuple[Difference, ...]:
        """How a text file differs from what was applied: by content, in a ``form`` that can be shown, and by mode."""
        name = str(path)
        try:
            status = os.lstat(name)
        except FileNotFoundError:
            return (Difference(name, DifferenceKind.MISSING, unified(expected, "", path.name)),)
        if not stat.S_ISREG(status.st_mode):
            return (Difference(name, DifferenceKind.MODIFIED, f"--- {name}\n+++ {name}\n(it is no regular file)"),)
        signature = (status.st_ino, status.st_mtime_ns, status.st_ctime_ns, status.st_size, status.st_mode)
        known = self._known.get(name)
        if known is not None and known[0] == signature and known[1] is expected:
            return ()
        differences = self._compare(path, expected, status, mode, form)
        if not differences and time.time_ns() - status.st_mtime_ns > RACY_NANOSECONDS:
            self._known[name] = (signature, expected)
        return differences

    @staticmethod
    def _compare(
        path: Path, expected: str, status: os.stat_result, mode: int, form: Callable[[str], str] | None
    ) -> tuple[Difference, ...]:
        found: list[Difference] = []
        actual = path.read_bytes().decode("utf-8", "surrogateescape")
        if form is not None:
            actual = form(actual)
        if actual != expected:
            found.append(Difference(str(path), DifferenceKind.MODIFIED, unified(expected, actual, path.name)))
        if stat.S_IMODE(status.st_mode) != mode:
            change = f"--- {path}\n+++ {path}\n-mode {mode:o}\n+mode {stat.S_IMODE(status.st_mode):o}"
            found.append(Difference(str(path), DifferenceKind.MODE, change))
        return tuple(found)

    @staticmethod
    def link(path: Path, expected: str) -> tuple[Difference, ...]:
        """How a symbolic link differs from what was applied."""
        try:
            actual = str(path.readlink())
        except FileNotFoundError:
            return (Difference(str(path), DifferenceKind.MISSING, f"--- {path}\n+++ /dev/null\n-link to {expected}"),)
        except OSError:
            return (Difference(str(path), DifferenceKind.LINK, f"--- {path}\n+++ {path}\n(it is no link)"),)
        if actual == expected:
            return ()
        change = f"--- {path}\n+++ {path}\n-link to {expected}\n+link to {actual}"
        return (Difference(str(path), DifferenceKind.LINK, change),)
