"""What file events named since the last pass; filled by the watcher, taken by the pass."""

from __future__ import annotations

import threading
from pathlib import Path

MOST_PATHS = 2_000
"""More than these are as good as everything: then all is looked at."""


class Touched:
    """Paths that somebody wrote to; safe between threads.

    ``tells_all`` is for the watcher to say: every file of a release that serves is watched, and its site, vassal and
    link. Without a watcher nothing is told.
    """

    def __init__(self) -> None:
        self.tells_all = False
        self._paths: set[Path] = set()
        self._lock = threading.Lock()
        self._everything = False

    def add(self, path: Path) -> None:
        """Remember one path."""
        with self._lock:
            if len(self._paths) < MOST_PATHS:
                self._paths.add(path)
            else:
                self._everything = True

    def add_everything(self) -> None:
        """Events were lost: anything may have been written to."""
        with self._lock:
            self._everything = True

    def take(self) -> tuple[frozenset[Path], bool]:
        """The paths since the last time, and whether anything else may have been written to as well."""
        with self._lock:
            taken = frozenset(self._paths), self._everything
            self._paths, self._everything = set(), False
            return taken
