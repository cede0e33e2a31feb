"""Waiting for a vassal: until all of its workers have loaded the app, and until none of them is busy."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Protocol

from reconciler.host.files import tail_of
from reconciler.host.interruption import stop_if_interrupted
from reconciler.host.layout import Layout
from reconciler.host.uwsgi_stats import VASSAL_SUFFIX, EmperorStats, VassalState, WorkerStats, worker_stats
from reconciler.model.errors import HostError, VerificationFailed
from reconciler.model.uwsgi_log import about_vassal, cause_of_end, telling

POLL_SECONDS = 0.02
DRAIN_POLL_SECONDS = 0.05
RACY_SECONDS = 2.0
"""A file as young as this may have been written again within the second that the Emperor remembers."""
TAIL_BYTES = 16_384


class Emperor(Protocol):
    """The part of the Emperor that waiting needs."""

    layout: Layout
    log: Path

    def stats(self) -> EmperorStats:
        """Its view of its vassals."""

    def wake(self) -> EmperorStats:
        """The same, after it has looked at its folder."""

    def reload(self, vassal: str) -> None:
        """Make it reload a vassal whatever it remembers of its file."""


def wait_until_ready(
    emperor: Emperor,
    vassal: str,
    *,
    stats: Path,
    http: Path,
    log: Path,
    log_position: int,
    release: str,
    deadline: float,
) -> None:
    """Return when every worker of the vassal has loaded the app and its sockets are there.

    ``deadline`` is a :func:`time.monotonic` value; ``log_position`` is the size of the app's log before the start.
    Raises :class:`VerificationFailed` with the log since then: as soon as the vassal dies, else at the deadline.
    """
    emperor_log = emperor.log
    emperor_position = emperor_log.stat().st_size if emperor_log.exists() else 0
    failures_before = emperor.stats().failures.get(vassal, 0)
    _make_noticed(emperor, vassal)
    missing = "the Emperor has not started it"
    while True:
        state = emperor.stats()
        if state.failures.get(vassal, 0) > failures_before:
            # what uWSGI says before it opens the app's log, such as of a wrong option, is in the Emperor's
            tail = tail_of(log, TAIL_BYTES, since=log_position) or about_vassal(
                tail_of(emperor_log, TAIL_BYTES, since=emperor_position), vassal
            )
            raise VerificationFailed(
                f"the release {release} does not start: {cause_of_end(tail)}",
                hint=f"correct it and commit; `reconciler logs {vassal.partition('.')[0]}` shows the whole log",
                tail=telling(tail),
            )
        missing = _missing(state.vassals.get(vassal), stats, http)
        if not missing:
            return
        if time.monotonic() >= deadline:
            raise VerificationFailed(
                f"the release {release} is not ready in time: {missing}",
                hint="raise verify.timeout if the app needs longer to start",
                tail=telling(tail_of(log, TAIL_BYTES, since=log_position)),
            )
        stop_if_interrupted()
        time.sleep(POLL_SECONDS)


def drain(stats: Path, deadline: float) -> bool:
    """Wait until the vassal answers no request any more; ``False`` when it still does at the deadline.

    Traffic must have moved away before. A vassal that is gone has drained.
    """
    idle_since: int | None = None
    while True:
        try:
            state = worker_stats(stats)
        except HostError:
            return True
        done = sum(worker.requests for worker in state.workers)
        # twice in a row without a request in between: what waited on the socket has been taken up meanwhile
        if state.idle and idle_since == done:
            return True
        idle_since = done if state.idle else None
        if time.monotonic() >= deadline:
            return False
        stop_if_interrupted()
        time.sleep(DRAIN_POLL_SECONDS)


def _make_noticed(emperor: Emperor, vassal: str) -> None:
    """Let the Emperor see the file now, even one that was written twice within one second."""
    known = emperor.wake().vassals.get(vassal)
    try:
        written = (emperor.layout.vassals / f"{vassal}{VASSAL_SUFFIX}").stat().st_mtime
    except OSError:
        return
    if known is None or not (known.ready or known.accepting):
        return
    if known.last_mod >= int(written) and time.time() - written < RACY_SECONDS:
        emperor.reload(vassal)


def _missing(state: VassalState | None, stats: Path, http: Path) -> str:
    """What is still to come before the vassal can take requests; empty when nothing is."""
    if state is None or state.stopping:
        return "the Emperor has not started it"
    # after a reload the Emperor goes without `ready`, and says only that a worker takes requests
    if not (state.ready or state.accepting):
        return "it is loading the app"
    if not http.exists():
        return f"its socket {http.name} is not there"
    try:
        workers = worker_stats(stats)
    except HostError:
        return "it is loading the app"
    return "" if workers.ready else _slow_workers(workers)


def _slow_workers(stats: WorkerStats) -> str:
    waiting = [str(worker.id) for worker in stats.workers if not (worker.apps_loaded and worker.accepting)]
    return f"{len(waiting)} of {len(stats.workers)} workers have not loaded the app"
