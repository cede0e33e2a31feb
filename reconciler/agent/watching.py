"""File events: a commit in a config repository on this machine, or a changed site file, starts a pass at once."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from pathlib import Path

import structlog
from watchdog.events import FileSystemEvent, FileSystemEventHandler
from watchdog.observers import Observer
from watchdog.observers.api import BaseObserver

from reconciler.host.files import TEMPORARY_PREFIX

STOP_SECONDS = 2.0
READING = frozenset({"opened", "closed_no_write"})


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


class _Asking(FileSystemEventHandler):
    def __init__(self, trigger: Callable[[str], None], name: str) -> None:
        self._trigger = trigger
        self._name = name

    def on_any_event(self, event: FileSystemEvent) -> None:
        """Ask for a pass, unless somebody only read, or a file is still being written aside."""
        if event.event_type in READING:
            return
        last = Path(str(event.dest_path or event.src_path)).name
        if last.startswith(TEMPORARY_PREFIX) or last.endswith(".lock"):
            return
        self._trigger(self._name)


def start_watching(
    trigger: Callable[[str], None], repositories: Iterable[Path], folders: Iterable[Path]
) -> BaseObserver | None:
    """Watch the refs of local repositories, and folders of managed files; ``None`` where the kernel refuses."""
    observer = Observer()
    try:
        for repository in repositories:
            observer.schedule(_Asking(trigger, "file:git"), str(repository / "refs"), recursive=True)
            observer.schedule(_Asking(trigger, "file:git"), str(repository), recursive=False)
        for folder in folders:
            observer.schedule(_Asking(trigger, "file:drift"), str(folder), recursive=False)
        observer.start()
    except OSError as error:
        structlog.get_logger().warning(
            "watch_failed",
            error=str(error),
            hint="changes are found by polls only; raise fs.inotify.max_user_watches",
        )
        return None
    return observer


def stop_watching(observer: BaseObserver) -> None:
    """End the watch; returns when its threads have ended, or after a while."""
    # it calls an event that comes while it ends an error
    logging.getLogger("watchdog.observers.inotify").disabled = True
    observer.stop()
    observer.join(timeout=STOP_SECONDS)
