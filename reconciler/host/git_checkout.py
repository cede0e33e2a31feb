"""Puts a folder of a repository at a commit onto the disk, with its submodules and large files where asked."""

from __future__ import annotations

import posixpath
import re
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from reconciler.host.files import TEMPORARY_PREFIX
from reconciler.host.git_addresses import Address, masked, parse_address, submodule_address
from reconciler.host.git_commands import local
from reconciler.host.git_files import RepositoryFiles
from reconciler.host.git_lfs import find_pointers, replace_pointers
from reconciler.host.git_objects import TooManyEntries, extent_of, read_settings
from reconciler.host.git_upkeep import KeptMirrors
from reconciler.model.errors import RevisionNotFound, StageFailed
from reconciler.model.object_ids import short

SUBMODULE_DEPTH = 5
"""Submodules of submodules are followed this far; more is a loop or an attack."""

SUBMODULES = 100
"""Submodules in one checkout, those of submodules too; each may be another repository to fetch."""
FOLDER_DEPTH = 200
"""Folders in each other; deeper ones have paths that some programs cannot take."""
GIBIBYTE = 1024**3

_MODULE_SETTING = re.compile(r"submodule\.(?P<name>.+)\.(?P<key>path|url)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Origin:
    """A folder of a repository at a commit."""

    address: str
    commit: str
    directory: str


@dataclass(frozen=True, slots=True)
class CheckoutLimits:
    """How much one checkout may hold: files, and their bytes, with submodules and large files."""

    files: int = 200_000
    size: int = 4 * GIBIBYTE


@dataclass(slots=True)
class _Used:
    """What a checkout holds so far."""

    files: int = 0
    size: int = 0
    submodules: int = 0


@dataclass(frozen=True, slots=True)
class Checkout:
    """How a folder is placed; ``timeout`` in seconds holds for each of git's commands."""

    mirrors: KeptMirrors
    files: RepositoryFiles
    submodules: bool
    lfs: bool
    timeout: float
    limits: CheckoutLimits = CheckoutLimits()
    _used: _Used = field(default_factory=_Used)

    def place(self, origin: Origin, destination: Path, *, depth: int = 0) -> None:
        """Write the files of ``origin`` to ``destination``; ``depth`` counts the submodules above it."""
        parsed = parse_address(origin.address)
        tree = self.files.tree(origin.address, origin.commit, origin.directory)
        self._check_extent(parsed, origin, tree)
        self.mirrors.read(parsed, lambda mirror: place_tree(mirror, tree, destination, timeout=self.timeout))
        if self.lfs:
            # before the submodules, whose large files are on other servers
            self.mirrors.read(parsed, lambda mirror: self._place_large_files(mirror, parsed, origin, destination))
        if not self.submodules:
            return
        for path, commit in self.files.submodules(origin.address, origin.commit, origin.directory).items():
            self._place_submodule(origin, path, commit, place_of_submodule(destination, path), depth=depth + 1)

    def _check_extent(self, parsed: Address, origin: Origin, tree: str) -> None:
        """Raise :class:`StageFailed`, before anything is written, for a tree that is too large."""
        used, limits = self._used, self.limits
        try:
            # what the checkout may still hold of files; a few trees can stand for billions
            extent = self.mirrors.read(parsed, lambda mirror: extent_of(mirror, tree, limits.files - used.files))
        except TooManyEntries:
            raise StageFailed(
                f"{_named(parsed, origin)} holds more than {limits.files:,} files",
                hint="leave files out, name a smaller folder in source.directory, or raise limits.checkoutFiles in "
                "agent.yaml",
            ) from None
        if extent.depth > FOLDER_DEPTH:
            raise StageFailed(
                f"{_named(parsed, origin)} has files deeper than {FOLDER_DEPTH} folders", hint="make the tree flatter"
            )
        used.files += extent.files
        self._take_bytes(parsed, origin, extent.size)

    def _take_bytes(self, parsed: Address, origin: Origin, size: int) -> None:
        self._used.size += size
        if self._used.size > self.limits.size:
            raise StageFailed(
                f"{_named(parsed, origin)} holds {self._used.size / GIBIBYTE:.1f} GiB of files, and "
                f"{self.limits.size / GIBIBYTE:.1f} are the limit",
                hint="keep large files elsewhere, or raise limits.checkoutSize in agent.yaml",
            )

    def _place_large_files(self, mirror: Path, parsed: Address, origin: Origin, destination: Path) -> None:
        self._take_bytes(parsed, origin, sum(pointer.size for pointer in find_pointers(destination)))
        replace_pointers(mirror, parsed, origin.commit, origin.directory, destination, timeout=self.timeout)

    def _place_submodule(self, parent: Origin, path: str, commit: str, place: Path, *, depth: int) -> None:
        parsed = parse_address(parent.address)
        if depth > SUBMODULE_DEPTH:
            raise StageFailed(
                f"{parsed.shown}: its submodule {path!r} is nested deeper than {SUBMODULE_DEPTH} repositories",
                hint="a submodule must not contain itself",
            )
        self._used.submodules += 1
        if self._used.submodules > SUBMODULES:
            raise StageFailed(
                f"{parsed.shown} brings more than {SUBMODULES} submodules", hint="set source.submodules to false"
            )
        whole_path = posixpath.normpath(posixpath.join(parent.directory, path))
        url = self.mirrors.read(parsed, lambda mirror: submodule_urls(mirror, parent.commit)).get(whole_path)
        if url is None:
            raise StageFailed(
                f"{parsed.shown} has a submodule {whole_path!r} without path and url in .gitmodules",
                hint="add it with `git submodule add`, or remove it",
            )
        address = submodule_address(parent.address, url)
        self.mirrors.provide(address, commit, timeout=self.timeout)
        try:
            self.files.tree(address, commit)
        except RevisionNotFound as error:
            raise RevisionNotFound(
                f"{parsed.shown}: its submodule {whole_path!r} is at {short(commit)}, which "
                f"{masked(address)} does not have",
                hint="push the submodule's commit to one of its branches",
            ) from error
        self.place(Origin(address, commit, "."), place, depth=depth)


def _named(parsed: Address, origin: Origin) -> str:
    folder = "" if origin.directory == "." else f"the folder {origin.directory} of "
    return f"{folder}{parsed.shown} at {short(origin.commit)}"


def place_tree(mirror: Path, tree: str, destination: Path, *, timeout: float) -> None:
    """Write the files of ``tree`` to ``destination``, an empty folder or none; submodules become empty folders.

    Modes and symbolic links are kept, no filter and no hook runs, and nothing of git stays behind. Raises
    :class:`CommandFailed`, also for a tree with paths that git refuses (``..``, ``.git``).
    """
    destination.mkdir(parents=True, exist_ok=True)
    # an index of its own: several checkouts may run on one mirror at once. It lies where the next pass clears away
    # what an agent that was killed left behind
    with tempfile.TemporaryDirectory(prefix=TEMPORARY_PREFIX, dir=destination.parent) as folder:
        environment = {"GIT_INDEX_FILE": f"{folder}/index", "GIT_WORK_TREE": str(destination)}
        local(mirror, ("read-tree", "--reset", "-u", tree), environment=environment, timeout=timeout)


def submodule_urls(mirror: Path, commit: str) -> Mapping[str, str]:
    """What .gitmodules says at a commit: path from the root of the repository, and URL as written there."""
    modules: dict[str, dict[str, str]] = {}
    for name, value in read_settings(mirror, commit, ".gitmodules").items():
        match = _MODULE_SETTING.fullmatch(name)
        if match is not None:
            modules.setdefault(match["name"], {})[match["key"]] = value
    complete = [module for module in modules.values() if module.keys() >= {"path", "url"}]
    return {posixpath.normpath(module["path"]): module["url"] for module in complete}


def place_of_submodule(destination: Path, path: str) -> Path:
    """The folder for a submodule inside ``destination``; raises :class:`StageFailed` when it would lie outside."""
    place = destination / path
    if place.is_symlink() or not place.resolve().is_relative_to(destination.resolve()):
        raise StageFailed(f"the submodule {path!r} would be placed outside of its repository")
    return place
