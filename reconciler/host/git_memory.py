"""What was read of git objects: an object never changes, so it is read once however many passes look at it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from reconciler.host.git_objects import ObjectHeader, TreeEntry

HEADERS_REMEMBERED = 20_000
LISTINGS_REMEMBERED = 5_000

Listing = Mapping[str, TreeEntry]
"""The own entries of a tree, by name."""
_Key = tuple[str, str]
_Value = TypeVar("_Value")


@dataclass(slots=True)
class ObjectMemory:
    """Headers by the names that they were asked by, which hold whole object ids, and listings of trees.

    Both belong to a mirror, by its name. Every method may be called from several threads at once.
    """

    _headers: dict[_Key, ObjectHeader] = field(default_factory=dict)
    _listings: dict[_Key, Listing] = field(default_factory=dict)
    _expected: dict[str, list[str]] = field(default_factory=dict)

    def clear(self) -> None:
        """Forget everything."""
        self._headers.clear()
        self._listings.clear()
        self._expected.clear()

    def headers(
        self, mirror: str, names: Sequence[str], read: Callable[[Sequence[str]], Sequence[ObjectHeader | None]]
    ) -> list[ObjectHeader | None]:
        """The headers of objects, in order; ``read`` is asked once for those that are not remembered."""
        known = {name: self._headers.get((mirror, name)) for name in names}
        unknown = [name for name, header in known.items() if header is None]
        if unknown:
            known.update(zip(unknown, read(unknown), strict=True))
            # what is missing may come with the next fetch
            fresh = {(mirror, name): header for name in unknown if (header := known[name]) is not None}
            _remember(self._headers, fresh, HEADERS_REMEMBERED)
        return [known[name] for name in names]

    def note_trees(self, mirror: str, trees: Mapping[str, str]) -> None:
        """Take up what is known of trees from elsewhere: their ids, by the names that they are asked by."""
        known = {(mirror, name): ObjectHeader(tree, "tree", 0) for name, tree in trees.items()}
        _remember(self._headers, known, HEADERS_REMEMBERED)
        self.expect(mirror, trees.values())

    def expect(self, mirror: str, trees: Iterable[str]) -> None:
        """Say which trees are likely to be looked into next: they are read together with the first that is."""
        self._expected.setdefault(mirror, []).extend(trees)

    def listing(self, mirror: str, tree: str, read: Callable[[Sequence[str]], Mapping[str, Listing]]) -> Listing:
        """The entries of a tree; empty when the mirror has no such tree."""
        known = self._listings.get((mirror, tree))
        if known is not None:
            return known
        expected = self._expected.pop(mirror, [])[-LISTINGS_REMEMBERED:]
        found = read([each for each in dict.fromkeys([*expected, tree]) if (mirror, each) not in self._listings])
        _remember(self._listings, {(mirror, each): listed for each, listed in found.items()}, LISTINGS_REMEMBERED)
        return found.get(tree, {})


def _remember(memory: dict[_Key, _Value], news: Mapping[_Key, _Value], limit: int) -> None:
    """Add to a memory, and forget what was remembered first when it is full."""
    memory.update(news)
    for key in list(memory)[: max(0, len(memory) - limit)]:
        memory.pop(key, None)
