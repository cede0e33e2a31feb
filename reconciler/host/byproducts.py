"""What the app's own processes leave in the store although it is not theirs to write: bytecode, and data."""

from __future__ import annotations

import os
import posixpath
import re
from itertools import islice
from pathlib import Path

from reconciler.host.indexes import Index, split
from reconciler.model.stage import StageName

CACHE_FOLDER = b"__pycache__"
_BYTECODE = re.compile(rb"(?P<module>.+?)\.[a-z]+[0-9-]+(\.opt-[0-9a-z]+)?\.pyc(\.[0-9]+)?")
CODE_SUFFIXES = (".py", ".pyc", ".so", ".pth", ".zip", ".egg")
"""What Python imports, or is led by."""
APP_TREE = b"tree/"
"""Where a build output keeps the app's folder, when build commands work in it."""
FOLDERS_LOOKED_INTO = 200
"""How much of an extra folder is looked through for code."""


class Bytecode:
    """Tells bytecode that Python put beside a module of the index from other extra files of the same tree."""

    def __init__(self, root: Path, index: Index) -> None:
        self._root = os.fsencode(root)
        self._index = index
        self._names: dict[bytes, frozenset[bytes]] | None = None

    def __call__(self, path: bytes) -> bool:
        """Whether an extra file or folder, by its path from the top, is such bytecode and nothing else."""
        folder, name = posixpath.split(path)
        if name == CACHE_FOLDER:
            modules = self._modules(folder)
            try:
                inside = os.listdir(self._root + b"/" + path)  # noqa: PTH208 - names of any bytes
            except OSError:
                return False
            return all(_module_of(file) in modules for file in inside)
        holder, cache = posixpath.split(folder)
        return cache == CACHE_FOLDER and _module_of(name) in self._modules(holder)

    def _modules(self, folder: bytes) -> frozenset[bytes]:
        if self._names is None:
            self._names = {known.path: frozenset(split(known.names)) for known in self._index.folders}
        return self._names.get(folder, frozenset())


def _module_of(name: bytes) -> bytes | None:
    """The module that a file of bytecode was made from; ``None`` for any other file."""
    match = _BYTECODE.fullmatch(name)
    return None if match is None else match["module"] + b".py"


def may_be_data(stage: StageName, root: Path, path: bytes) -> bool:
    """Whether an extra file or folder may be the app's own data, in the folder that the app runs in.

    Nobody takes data away: it may be a database that ought to be listed in ``shared``. Code is none.
    """
    if stage is StageName.BUILD:
        if not path.startswith(APP_TREE):
            return False
    elif stage is not StageName.SOURCE:
        return False
    place = root / os.fsdecode(path)
    if place.is_symlink() or not place.is_dir():
        return not place.name.endswith(CODE_SUFFIXES)
    walk = islice(os.walk(place), FOLDERS_LOOKED_INTO)
    return not any(name.endswith(CODE_SUFFIXES) for _, _, files in walk for name in files)
