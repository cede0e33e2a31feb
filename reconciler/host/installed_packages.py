"""Which system packages this host has, by dpkg's own records."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

_FIELD = re.compile(rb"^(Package|Status|Provides): *(.*)$", re.MULTILINE)
_RELATION = re.compile(r" *([^ (:,]+)[^,]*,?")

Stamp = tuple[int, int, int]


@dataclass(slots=True)
class InstalledPackages:
    """What ``dpkg-query`` would answer, read from ``status``, dpkg's file of everything that it has installed.

    A pass looks at every app that asks for packages; the file is read again only when it is another one.
    """

    status: Path
    _known: tuple[Stamp, frozenset[str]] | None = None

    def missing(self, names: Iterable[str]) -> tuple[str, ...]:
        """Those of ``names`` that are not installed, nor provided by what is; all of them on a host without dpkg."""
        installed = self._installed()
        return tuple(sorted(name for name in set(names) if name not in installed))

    def _installed(self) -> frozenset[str]:
        try:
            found = self.status.stat()
            stamp = (found.st_ino, found.st_size, found.st_mtime_ns)
            if self._known is None or self._known[0] != stamp:
                self._known = (stamp, frozenset(_installed_in(self.status.read_bytes())))
        except OSError:
            return frozenset()
        return self._known[1]


def _installed_in(status: bytes) -> Iterable[str]:
    for entry in status.split(b"\n\n"):
        fields = {name: value.decode("utf-8", "replace").strip() for name, value in _FIELD.findall(entry)}
        # such as `install ok installed` and `hold ok installed`
        if fields.get(b"Status", "").endswith(" ok installed"):
            yield fields.get(b"Package", "")
            yield from _RELATION.findall(fields.get(b"Provides", ""))
