"""File events: a commit in a config repository on this machine, or a touched file of a live release, starts a pass.

All watches share one inotify instance and one thread, and follow the live releases as deploys go on. Where the kernel
allows no more of them, what is watched stays watched, and scans find the rest.
"""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import structlog
from watchdog.observers.inotify_c import CallbackId, InotifyConstants, InotifyEvent, InotifyFD, Mask

from reconciler.engine.surveying import Place
from reconciler.host.byproducts import CACHE_FOLDER
from reconciler.host.files import TEMPORARY_PREFIX
from reconciler.host.touched import Touched
from reconciler.model.trigger import Trigger

STOP_SECONDS = 2.0
EVENTS = Mask(
    InotifyConstants.IN_MODIFY | InotifyConstants.IN_ATTRIB | InotifyConstants.IN_CLOSE_WRITE
    | InotifyConstants.IN_MOVED_FROM | InotifyConstants.IN_MOVED_TO | InotifyConstants.IN_CREATE
    | InotifyConstants.IN_DELETE | InotifyConstants.IN_DELETE_SELF | InotifyConstants.IN_ONLYDIR
)  # fmt: skip
"""Everything but reading."""
MOST_FOLDERS = 20_000
"""Each costs the kernel about a kilobyte; past this, scans find what changed."""
MOST_FOLDERS_EACH = 1_000
"""Of one tree, so that one app with a huge one leaves watches to the others."""
GIT, DRIFT = Trigger.GIT_TOUCHED, Trigger.FILE_TOUCHED
LIMIT_HINT = "raise fs.inotify.max_user_watches and fs.inotify.max_user_instances; until then scans find the rest"


def local_folder(address: str) -> Path | None:
    """The git folder of a repository on this machine; ``None`` for one that is elsewhere."""
    text = address.removeprefix("file://")
    if not text.startswith("/"):
        return None
    path = Path(text)
    for candidate in (path / ".git", path):
        if (candidate / "refs").is_dir():
            return candidate
    return None


def git_places(repository: Path, manifests: str) -> Iterator[Place]:
    """What shows a commit, and an edit of a manifest, in a repository on this machine."""
    yield Place(repository)
    yield Place(repository / "refs", recursive=True)
    if repository.name == ".git":
        yield Place(repository.parent / manifests, recursive=True)


@dataclass(slots=True)
class Watcher:
    """Turns file events into triggers; ``touched`` gets the paths, ``known`` tells those that are no news."""

    trigger: Callable[[str], None]
    touched: Touched = field(default_factory=Touched)
    known: Callable[[Path], bool] = lambda _path: False
    _inotify: InotifyFD = field(default_factory=InotifyFD)
    _watches: dict[int, tuple[Path, str]] = field(default_factory=dict)
    _paths: dict[Path, int] = field(default_factory=dict)
    _fixed: tuple[tuple[Place, str], ...] = ()
    _followed: frozenset[Path] = frozenset()
    _places: Sequence[Place] | None = None
    _trees: dict[Path, tuple[Path, ...]] = field(default_factory=dict)
    _limit_told: bool = False
    _lost: bool = False
    _lock: threading.RLock = field(default_factory=threading.RLock)

    def start(self, repositories: Iterable[Place], folders: Iterable[Place]) -> None:
        """Watch what stays the same as long as the agent lives."""
        self._inotify.start()
        self._fixed = (*((place, GIT) for place in repositories), *((place, DRIFT) for place in folders))
        with self._lock:
            for place, name in self._fixed:
                for folder in _folders(place):
                    self._add(folder, name)

    def follow(self, places: Sequence[Place]) -> None:
        """Watch the live releases, and no longer what was one; called after every pass.

        What is not watched because there is too much of it is told: then events do not tell everything.
        """
        if self._lost:
            self._watch_again()
        elif places is self._places and self.touched.tells_all:
            return
        self._places = places
        wanted: set[Path] = set()
        trees: dict[Path, tuple[Path, ...]] = {}
        all_of_them = all(place.path in self._paths for place, name in self._fixed if name == DRIFT)
        for place in places:
            known = self._trees.get(place.path)
            trees[place.path] = known if known is not None else tuple(_folders(place))
            if len(wanted) < MOST_FOLDERS:
                wanted.update(trees[place.path])
            else:
                all_of_them = False
        self._trees = trees
        with self._lock:
            gone = [path for path in self._followed - wanted if path in self._paths]
            for path in gone:
                self._remove(path)
            self._followed = frozenset(wanted)
            news = sorted(wanted - self._paths.keys())
            for path in news:
                if not self._add(path, DRIFT):
                    all_of_them = False
                    break
                # what was written to it before the watch began was heard of by nobody
                self.touched.add(path)
        self.touched.tells_all = all_of_them
        if news:
            self.trigger(DRIFT)

    def stop(self) -> None:
        """End the watch; returns when its thread has ended, or after a while."""
        self._inotify.stop()
        self._inotify.join(timeout=STOP_SECONDS)

    @property
    def watched(self) -> frozenset[Path]:
        """The folders that are watched now."""
        return frozenset(self._paths)

    # what watchdog calls, in its own thread

    def on_event(self, event: InotifyEvent) -> None:
        """Ask for a pass, unless a file is still being written aside, or the path is no news."""
        place = self._watches.get(event.wd)
        if place is None:
            return
        folder, name = place
        file = os.fsdecode(event.name)
        if file.startswith(TEMPORARY_PREFIX) or file.endswith((".lock", ".pyc")) or file == os.fsdecode(CACHE_FOLDER):
            return
        path = folder / file if file else folder
        if name == GIT:
            if event.is_directory and event.mask & InotifyConstants.IN_CREATE:
                # the folder of a new branch such as feature/x
                with self._lock:
                    for inside in _folders(Place(path, recursive=True)):
                        self._add(inside, GIT)
        elif self.known(path):
            return
        else:
            self.touched.add(path)
        self.trigger(name)

    def on_watch_deleted(self, wd: int) -> None:
        """A folder that was watched is gone; what takes its place is watched after the next pass."""
        with self._lock:
            place = self._watches.pop(wd, None)
            if place is not None and self._paths.get(place[0]) == wd:
                del self._paths[place[0]]
                self._lost = True

    def on_queue_overflow(self) -> None:
        """Events were lost: look at everything."""
        self.touched.add_everything()
        self.trigger(GIT)
        self.trigger(DRIFT)

    # watches

    def _watch_again(self) -> None:
        """Watch the folders anew that were gone, and look at everything where one of those is that always stay."""
        self._lost = False
        with self._lock:
            gone = [(folder, name) for place, name in self._fixed for folder in _folders(place)
                    if folder not in self._paths]  # fmt: skip
            for folder, name in gone:
                self._add(folder, name)
        if any(name == DRIFT for _, name in gone):
            self.touched.add_everything()
            self.trigger(DRIFT)

    def _add(self, path: Path, name: str) -> bool:
        """Watch one folder; ``False`` where the kernel allows no more."""
        if path in self._paths:
            return True
        try:
            wd = self._inotify.add_callback(os.fsencode(path), EVENTS, self, CallbackId(id(self)))
        except OSError as error:
            # ENOENT and ENOTDIR come without a number: the folder went meanwhile, and its own folder tells that
            if error.errno in (errno.ENOSPC, errno.ENOMEM):
                self._tell_limit(error)
                return False
            return True
        self._watches[wd], self._paths[path] = (path, name), wd
        return True

    def _remove(self, path: Path) -> None:
        wd = self._paths.pop(path)
        self._watches.pop(wd, None)
        self._inotify.remove_callbacks([(wd, CallbackId(id(self)))])  # type: ignore[list-item]

    def _tell_limit(self, error: OSError) -> None:
        if not self._limit_told:
            self._limit_told = True
            structlog.get_logger().warning(
                "watch_limited", error=str(error), watched=len(self._paths), hint=LIMIT_HINT
            )


def start_watching(
    trigger: Callable[[str], None],
    repositories: Iterable[Place],
    folders: Iterable[Place],
    touched: Touched | None = None,
    known: Callable[[Path], bool] = lambda _path: False,
) -> Watcher | None:
    """Watch local repositories, and folders of managed files; ``None`` where the kernel refuses altogether."""
    try:
        watcher = Watcher(trigger, touched if touched is not None else Touched(), known)
    except OSError as error:
        structlog.get_logger().warning("watch_failed", error=str(error), hint=LIMIT_HINT)
        return None
    watcher.start(repositories, folders)
    return watcher


def stop_watching(watcher: Watcher) -> None:
    """End the watch."""
    watcher.stop()


def _folders(place: Place) -> list[Path]:
    """The folders of a place, the ones at the top first; none when it is not there."""
    if not place.recursive:
        return [place.path] if place.path.is_dir() else []
    found = []
    for folder, names, _ in os.walk(place.path):
        found.append(Path(folder))
        if len(found) >= MOST_FOLDERS_EACH:
            break
        names[:] = sorted(name for name in names if os.fsencode(name) != CACHE_FOLDER)
    return found
