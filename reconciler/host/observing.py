"""Looking at what is on disk, by stat first: a file that has not been touched is not read again."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Container, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from reconciler.host.contents import Contents
from reconciler.host.files import TEMPORARY_PREFIX
from reconciler.host.indexes import clock_ns, is_settled
from reconciler.host.installed_packages import InstalledPackages
from reconciler.host.layout import Layout
from reconciler.host.owners import account_name, changed_at, folder_changed_at
from reconciler.host.sealing import seal_of
from reconciler.model.diffs import unified
from reconciler.model.sealed_environment import sealed_as, sealed_names
from reconciler.model.secret import masked
from reconciler.model.stage import Difference, DifferenceKind

_Signature = tuple[int, int, int, int, int, int]


@dataclass(slots=True)
class Observer:
    """Compares files and links with what was applied; remembers which files it has already read.

    ``mask`` is applied to every text before its difference is printed, so that no secret is.
    """

    layout: Layout
    mask: Callable[[str], str] = masked
    contents: Contents = field(init=False)
    packages: InstalledPackages = field(init=False)
    _known: dict[str, tuple[_Signature, str]] = field(default_factory=dict)
    _owner: int | None = None
    _remembered: dict[str, tuple[str, Mapping[str, str]]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.contents = Contents(self.layout)
        self.packages = InstalledPackages(self.layout.dpkg_status)

    @property
    def owner(self) -> int:
        """The account that the agent runs as, which need not be the one that looks: it owns the journal."""
        if self._owner is None:
            try:
                self._owner = self.layout.journal.stat().st_uid
            except FileNotFoundError:
                return os.geteuid()
        return self._owner

    def remembered(self, app: str, digest: str, make: Callable[[], Mapping[str, str]]) -> Mapping[str, str]:
        """What ``make`` returned for this app and digest; made again only for another digest."""
        known = self._remembered.get(app)
        if known is None or known[0] != digest:
            known = self._remembered[app] = (digest, make())
        return known[1]

    def environment(
        self, path: Path, expected: str, *, app: str, mode: int, owner: int | None = None
    ) -> tuple[Difference, ...]:
        """How a vassal's environment differs from what was applied; secrets are compared by their keyed hash."""
        if not sealed_names(expected):
            return self.text(path, expected, mode=mode, owner=owner)

        def sealed(actual: str) -> str:
            seal = seal_of(self.layout.root)
            return sealed_as(expected, actual, lambda name, value: seal.hash(app, name, value))

        return self.text(path, expected, mode=mode, owner=owner, form=sealed)

    def text(
        self,
        path: Path,
        expected: str,
        *,
        mode: int,
        owner: int | None = None,
        form: Callable[[str], str] | None = None,
    ) -> tuple[Difference, ...]:
        """How a text file differs from what was applied: by content (in a ``form`` to show), mode and owner.

        Without ``owner`` it is the agent's account.
        """
        name, began = str(path), clock_ns()
        try:
            status = os.lstat(name)
        except FileNotFoundError:
            gone = unified(self.mask(expected), "", path.name), unified("", self.mask(expected), path.name)
            return (Difference(name, DifferenceKind.MISSING, *gone, changed_at=folder_changed_at(name)),)
        if not stat.S_ISREG(status.st_mode):
            found = f"--- {name}\n+++ {name}\n(it is no regular file)"
            return (_difference(name, DifferenceKind.MODIFIED, status, found),)
        signature = (
            status.st_ino, status.st_mtime_ns, status.st_ctime_ns, status.st_size, status.st_mode, status.st_uid,
        )  # fmt: skip
        known = self._known.get(name)
        if known is not None and known[0] == signature and known[1] is expected:
            return ()
        differences = self._compare(path, expected, status, mode, self.owner if owner is None else owner, form)
        if not differences and is_settled(status, began):
            self._known[name] = (signature, expected)
        return differences

    def _compare(
        self,
        path: Path,
        expected: str,
        status: os.stat_result,
        mode: int,
        owner: int,
        form: Callable[[str], str] | None,
    ) -> tuple[Difference, ...]:
        found: list[Difference] = []
        actual = path.read_bytes().decode("utf-8", "surrogateescape")
        if form is not None:
            actual = form(actual)
        if actual != expected:
            old, new = self.mask(expected), self.mask(actual)
            # two texts that differ only in what is masked differ all the same
            change = unified(old, new, path.name) or f"--- {path}\n+++ {path}\n(a masked value differs)"
            undo = unified(new, old, path.name)
            found.append(_difference(str(path), DifferenceKind.MODIFIED, status, change, undo))
        rights, there = _rights(mode, owner), _rights(stat.S_IMODE(status.st_mode), status.st_uid)
        if there != rights:
            head = f"--- {path}\n+++ {path}"
            change, undo = f"{head}\n-{rights}\n+{there}", f"{head}\n-{there}\n+{rights}"
            found.append(_difference(str(path), DifferenceKind.MODE, status, change, undo))
        return tuple(found)

    @staticmethod
    def link(path: Path, expected: str) -> tuple[Difference, ...]:
        """How a symbolic link differs from what was applied."""
        name = str(path)
        try:
            actual = os.readlink(name)  # noqa: PTH115 - a Path costs more than the call
        except FileNotFoundError:
            change, undo = f"--- {name}\n+++ /dev/null\n-link to {expected}", f"+++ {name}\n+link to {expected}"
            return (Difference(name, DifferenceKind.MISSING, change, undo, changed_at=folder_changed_at(name)),)
        except OSError:
            return (
                _difference(name, DifferenceKind.LINK, os.lstat(name), f"--- {name}\n+++ {name}\n(it is no link)"),
            )
        if actual == expected:
            return ()
        head = f"--- {name}\n+++ {name}"
        change, undo = (
            f"{head}\n-link to {expected}\n+link to {actual}",
            f"{head}\n-link to {actual}\n+link to {expected}",
        )
        return (_difference(name, DifferenceKind.LINK, os.lstat(name), change, undo),)

    def extras(self, folder: Path, expected: Container[str]) -> tuple[Difference, ...]:
        """Names in a folder of ours that nobody applied; what is being written aside is none."""
        try:
            with os.scandir(folder) as entries:
                extra = [e for e in entries if e.name not in expected and not e.name.startswith(TEMPORARY_PREFIX)]
        except OSError:
            return ()
        return tuple(
            _difference(
                e.path, DifferenceKind.EXTRA, os.lstat(e.path), f"--- /dev/null\n+++ {e.path}\n(nobody applied it)"
            )
            for e in extra
        )


def _difference(name: str, kind: DifferenceKind, status: os.stat_result, diff: str, undo: str = "") -> Difference:
    return Difference(name, kind, diff, undo, account_name(status.st_uid), changed_at(status))


def _rights(mode: int, owner: int) -> str:
    return f"mode {mode:o}, owner {account_name(owner)}"
