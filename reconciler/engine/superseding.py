"""Superseding: while apps are being applied git goes on, and what it does not ask for any more is given up."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Protocol

from reconciler.engine.desired import DesiredApp
from reconciler.engine.recording import quarantine_key
from reconciler.host.interruption import Interrupted, Superseded, giving_way
from reconciler.model.errors import ReconcilerError

if TYPE_CHECKING:
    from reconciler.engine.reading import Desired

LOOK_SECONDS = 0.1
"""How often is looked for a trigger that came during the work."""


class News(Protocol):
    """Who knows when git may have moved; asked by a thread beside the one that works."""

    def working(self) -> None:
        """Work begins on what git asks for now."""

    def moved(self) -> bool:
        """Whether git may have moved since; ``True`` once for each time. Must not block."""


class Silent:
    """Nobody tells: a single pass ends what it has begun."""

    def working(self) -> None:
        """Nobody wants to know."""

    def moved(self) -> bool:
        """Never."""
        return False


class Superseding:
    """The newest desired state during the work of one pass; ``read`` reads it, and is called when there are news."""

    def __init__(self, desired: Desired, news: News, read: Callable[[], Desired]) -> None:
        self.newest = desired
        self._news = news
        self._read = read
        self._ended = threading.Event()

    @contextmanager
    def looking(self) -> Iterator[None]:
        """Look for newer desired state as long as the block lasts."""
        self._news.working()
        if isinstance(self._news, Silent):
            yield
            return
        thread = threading.Thread(target=self._look, name="superseding", daemon=True)
        thread.start()
        try:
            yield
        finally:
            self._ended.set()
            # a poll that is under way is ended too: the reader belongs to the pass again
            thread.join()

    def overtaken(self, app: DesiredApp) -> bool:
        """Whether git asks for something else than this by now. A commit that leaves the app alone does not."""
        newest = self.newest
        if app.name in newest.held:
            # a mistake in a newer manifest is no wish
            return False
        newer = newest.apps.get(app.name)
        if newer is None:
            return not newest.unreadable
        return newer is not app and (newer.manifest.spec.suspend or quarantine_key(newer) != quarantine_key(app))

    def _look(self) -> None:
        with suppress(Superseded, Interrupted), giving_way(self._ended.is_set):
            while not self._ended.wait(LOOK_SECONDS):
                if not self._news.moved():
                    continue
                # what cannot be read says nothing about what is wanted; the next pass tells the error
                with suppress(ReconcilerError, OSError):
                    self.newest = self._read()
                    self._news.working()
