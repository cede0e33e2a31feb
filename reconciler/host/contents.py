"""The content of the store's outputs: an index of each, and what differs from it."""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from collections.abc import Collection, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from reconciler.host.byproducts import Bytecode, may_be_data
from reconciler.host.comparing import Deviation, compare
from reconciler.host.deviations import difference_of
from reconciler.host.files import write_whole
from reconciler.host.indexes import Index, make_index, pack_index, unpack_index
from reconciler.host.layout import Layout
from reconciler.model.stage import OUTPUT_DIGITS, Difference, DifferenceKind, StageName

Output = tuple[StageName, str]
"""A stage and the beginning of a digest, as it names the folder in the store."""

MOST_DIFFERENCES = 200
"""Of one output; who changes the mode of everything has made his point by then."""
CACHE_BYTES = 8 * 1024**2
"""How many bytes of indexes are kept in memory between two looks."""


def output_of(stage: StageName, digest: str) -> Output:
    """The output of a stage, by the name of its folder."""
    return stage, digest[:OUTPUT_DIGITS]


@dataclass(slots=True)
class Contents:
    """Remembers what it found at the last look, so that a pass in between costs nothing.

    Safe between threads. An index that is missing or unreadable is made from what is there.
    """

    layout: Layout
    _indexes: OrderedDict[Output, Index] = field(default_factory=OrderedDict)
    _found: dict[Output, tuple[Difference, ...]] = field(default_factory=dict)
    _trees: dict[Output, str] = field(default_factory=dict)
    _looked: set[Output] = field(default_factory=set)
    _unsaved: set[Output] = field(default_factory=set)
    _lock: threading.RLock = field(default_factory=threading.RLock)

    def differences(self, stage: StageName, digest: str) -> tuple[Difference, ...]:
        """What the last look found in an output; reads nothing."""
        return self._found.get(output_of(stage, digest), ()) if self._found else ()

    def knows(self, path: Path) -> bool:
        """Whether a path was found to differ already, or lies in a folder that was."""
        if not self._found:
            return False
        known = {difference.path for found in self._found.values() for difference in found}
        return any(str(part) in known for part in (path, *path.parents))

    def made(self, stage: StageName, digest: str) -> None:
        """Take up an output that was just made: from now on it has to stay as it is."""
        output = output_of(stage, digest)
        with self._lock:
            self._found.pop(output, None)
            self._make(output)

    def scan(self, outputs: Mapping[Output, str]) -> None:
        """Look at every file of these outputs; each has the git tree that it was checked out from, or ``""``.

        What was found in outputs that are not among them is forgotten.
        """
        with self._lock:
            self._trees.update(outputs)
            self._found = {}
            self._looked = set()
            for output in outputs:
                self._look(output)

    def is_sound(self, stage: StageName, digest: str) -> bool:
        """Whether an output that nothing used for a while is as it was made; looked at once, until the next scan."""
        output = output_of(stage, digest)
        with self._lock:
            if output not in self._looked and self._path(output).exists():
                self._look(output)
            return all(difference.byproduct for difference in self._found.get(output, ()))

    def look_again(self, stage: StageName, digest: str) -> tuple[Difference, ...]:
        """Look at one output now."""
        output = output_of(stage, digest)
        with self._lock:
            self._look(output)
            return self._found.get(output, ())

    def touched(self, paths: Iterable[Path], outputs: Mapping[Output, str]) -> frozenset[Output]:
        """Look only at the folders of these paths in ``outputs`` (as :meth:`scan` takes them); those are returned."""
        self._trees.update(outputs)
        folders: dict[Output, set[bytes]] = {}
        for path in paths:
            with suppress(ValueError):
                stage, name, *rest = path.relative_to(self.layout.store).parts
                inside = os.fsencode(os.path.join(*rest)) if rest else b""  # noqa: PTH118 - a path of any bytes
                if (StageName(stage), name) not in outputs:
                    continue
                # a changed folder is told by the one that holds it, and has news of its own
                folders.setdefault((StageName(stage), name), set()).update((inside, os.path.dirname(inside)))  # noqa: PTH120 - bytes
        with self._lock:
            for output, these in folders.items():
                self._look(output, these)
        return frozenset(folders)

    def save(self) -> None:
        """Write the indexes in which stats were taken up that moved for nothing, such as by another hard link.

        A pass with nothing to do leaves that out: it costs the next process a read of these files, and no more.
        """
        with self._lock:
            for output in self._unsaved & self._indexes.keys():
                self._keep(output, self._indexes[output])
            self._unsaved.clear()

    # looking

    def _look(self, output: Output, only: Collection[bytes] | None = None) -> None:
        self._looked.add(output)
        root = self.layout.output(*output)
        index = self._index(output)
        if index is None or not root.is_dir():
            # that an output is gone, or cannot be read at all, is told by whoever looks whether it is there
            self._found.pop(output, None)
            return
        # static files have no modules
        tolerated = Bytecode(root, index) if output[0] is not StageName.STATIC else None
        comparison = compare(root, index, tolerated, only)
        found = [self._difference(output, root, deviation) for deviation in comparison.deviations[:MOST_DIFFERENCES]]
        if only is not None:
            found += self._elsewhere(output, root, only)
        self._found.pop(output, None)
        if found:
            self._found[output] = tuple(sorted(found, key=lambda difference: difference.path))
        if comparison.index is not index:
            self._remember(output, comparison.index)
            self._unsaved.add(output)

    def _elsewhere(self, output: Output, root: Path, folders: Collection[bytes]) -> list[Difference]:
        """What was found before in other folders than these."""
        looked_at = {os.path.join(root, os.fsdecode(folder)).rstrip("/") for folder in folders}  # noqa: PTH118
        return [
            difference
            for difference in self._found.get(output, ())
            if os.path.dirname(difference.path) not in looked_at and difference.path != str(root)  # noqa: PTH120
        ]

    def _difference(self, output: Output, root: Path, deviation: Deviation) -> Difference:
        data = deviation.kind is DifferenceKind.EXTRA and may_be_data(output[0], root, deviation.path)
        return difference_of(root, deviation, self.layout.mirrors, self._trees.get(output, ""), byproduct=data)

    # indexes

    def _index(self, output: Output) -> Index | None:
        known = self._indexes.get(output)
        if known is not None:
            self._indexes.move_to_end(output)
            return known
        index = None
        with suppress(OSError, ValueError, KeyError):
            index = unpack_index(self._path(output).read_bytes())
        if index is None:
            return self._make(output)
        self._remember(output, index)
        return index

    def _make(self, output: Output) -> Index | None:
        """An output that cannot be read has no index."""
        try:
            index = make_index(self.layout.output(*output))
        except OSError:
            return None
        self._keep(output, index)
        return index

    def _keep(self, output: Output, index: Index) -> None:
        self._remember(output, index)
        path = self._path(output)
        # without it the next process reads all files again; that is no reason to fail
        with suppress(OSError):
            path.parent.mkdir(parents=True, exist_ok=True)
            write_whole(path, pack_index(index), mode=0o600)

    def _remember(self, output: Output, index: Index) -> None:
        self._indexes[output] = index
        self._indexes.move_to_end(output)
        total = sum(known.size for known in self._indexes.values())
        while total > CACHE_BYTES and self._indexes:
            _, dropped = self._indexes.popitem(last=False)
            total -= dropped.size

    def _path(self, output: Output) -> Path:
        return _index_of(self.layout, output)


def _index_of(layout: Layout, output: Output) -> Path:
    return layout.indexes / f"{output[0].value}-{output[1]}"


def forget_index(layout: Layout, output: tuple[StageName, str]) -> None:
    """Remove the index of an output, given as stage and digest, that goes."""
    _index_of(layout, output_of(*output)).unlink(missing_ok=True)


def forget_indexes(layout: Layout) -> None:
    """Remove the indexes of outputs that are no longer there."""
    with suppress(FileNotFoundError), os.scandir(layout.indexes) as entries:
        for entry in entries:
            stage, _, name = entry.name.partition("-")
            if not (layout.store / stage / name).is_dir():
                Path(entry.path).unlink(missing_ok=True)
