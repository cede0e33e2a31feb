"""What the Emperor and its vassals say about themselves, on their stats sockets."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from reconciler.host.pinned_sockets import pinned
from reconciler.model.errors import HostError

ANSWER_SECONDS = 2.0
WHOLE_ANSWER_SECONDS = 10.0
ANSWER_BYTES = 64 * 1024 * 1024
VASSAL_SUFFIX = ".ini"


class NobodyListens(HostError):
    """The process that would answer is gone, or is not there yet."""


@dataclass(frozen=True, slots=True)
class VassalState:
    """One vassal as the Emperor sees it.

    ``ready``: its uWSGI has started; a reload takes that back for good. ``accepting``: a worker takes requests; a
    reload takes that back until a worker of the new one does. ``loyal``: it has answered a request. ``stopping``: it
    was asked to end. ``last_mod`` is the second at which the file that it runs with was last written.
    """

    pid: int
    ready: bool
    accepting: bool
    loyal: bool
    stopping: bool
    respawns: int
    last_mod: int


@dataclass(frozen=True, slots=True)
class EmperorStats:
    """All vassals by name, and for those that died before they answered a request how often that happened."""

    pid: int
    vassals: Mapping[str, VassalState]
    failures: Mapping[str, int]

    @property
    def throttled(self) -> frozenset[str]:
        """The vassals that the Emperor starts less and less often, because they keep dying."""
        return frozenset(self.failures)


@dataclass(frozen=True, slots=True)
class Worker:
    """One uWSGI worker; ``pid`` is 0 while there is none, ``starts`` is how often it was started."""

    id: int
    pid: int
    status: str
    apps_loaded: bool
    accepting: bool
    busy: bool
    requests: int
    starts: int


@dataclass(frozen=True, slots=True)
class WorkerStats:
    """One vassal's workers; ``listen_queue`` counts waiting connections, which Linux tells for TCP sockets only."""

    pid: int
    listen_queue: int
    workers: tuple[Worker, ...]

    @property
    def ready(self) -> bool:
        """Whether every worker that is meant to run has loaded the app and takes requests."""
        wanted = [worker for worker in self.workers if worker.status != "cheap"]
        return bool(wanted) and all(worker.pid and worker.apps_loaded and worker.accepting for worker in wanted)

    @property
    def started_again(self) -> bool:
        """Whether a worker was started more than once: it died, or uWSGI ended it, as ``max-requests`` asks."""
        return any(worker.starts > 1 for worker in self.workers)

    @property
    def idle(self) -> bool:
        """Whether no request is being answered or waits."""
        return self.listen_queue == 0 and not any(worker.busy for worker in self.workers)


def emperor_stats(path: Path) -> EmperorStats:
    """Ask the Emperor, which looks at its folder after every answer; :class:`HostError` when it does not answer."""
    answer = _ask(path, "the uWSGI Emperor")
    return EmperorStats(
        answer["pid"],
        {_name(vassal): _vassal(vassal) for vassal in answer["vassals"]},
        # the first failure has attempt 0
        {_name(entry): entry["attempt"] + 1 for entry in answer["blacklist"]},
    )


def worker_stats(path: Path) -> WorkerStats:
    """Ask one vassal on its stats socket. Raises :class:`HostError` when it does not answer."""
    who = f"the vassal {path.stem}"
    answer = _ask(path, who)
    try:
        workers = tuple(_worker(entry) for entry in answer["workers"])
        return WorkerStats(_number(answer, "pid"), _number(answer, "listen_queue"), workers)
    except (LookupError, TypeError, AttributeError, ValueError) as error:
        raise HostError(f"{who} does not answer on {path} as uWSGI does: {error}") from error


def _vassal(entry: Mapping[str, Any]) -> VassalState:
    return VassalState(
        pid=entry["pid"],
        ready=bool(entry["ready"]),
        accepting=bool(entry["accepting"]),
        loyal=bool(entry["loyal"]),
        stopping=bool(entry["cursed"]),
        respawns=entry["respawns"],
        last_mod=entry["last_mod"],
    )


def _worker(entry: Mapping[str, Any]) -> Worker:
    return Worker(
        id=_number(entry, "id"),
        pid=_number(entry, "pid"),
        status=str(entry["status"]),
        apps_loaded=bool(entry["apps"]),
        accepting=bool(entry["accepting"]),
        busy=any(core["in_request"] for core in entry.get("cores", ())) or entry["status"] == "busy",
        requests=_number(entry, "requests"),
        starts=_number(entry, "respawn_count"),
    )


def _number(entry: Mapping[str, Any], key: str) -> int:
    if type(entry[key]) is not int:
        raise ValueError(f"{key} is no whole number")
    return int(entry[key])


def _name(entry: Mapping[str, Any]) -> str:
    return str(entry["id"]).removesuffix(VASSAL_SUFFIX)


def _ask(path: Path, who: str) -> Any:
    """The JSON document that a stats socket sends to everybody who connects; an app can have any answer sent."""
    content = bytearray()
    deadline = time.monotonic() + WHOLE_ANSWER_SECONDS
    try:
        with pinned(path) as place, socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(ANSWER_SECONDS)
            connection.connect(place)
            while chunk := connection.recv(65536):
                content += chunk
                if len(content) > ANSWER_BYTES or time.monotonic() > deadline:
                    raise ValueError("its answer has no end")
        # what an app puts into its process may be no UTF-8
        return json.loads(content.decode("utf-8", "replace"), strict=False)
    except (FileNotFoundError, ConnectionRefusedError) as error:
        raise NobodyListens(f"{who} does not answer on {path}: {error}") from error
    except (OSError, ValueError, RecursionError) as error:
        raise HostError(f"{who} does not answer on {path}: {error}") from error
