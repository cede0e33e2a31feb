"""Waiting for a vassal: until all of its workers have loaded the app, and until none of them is busy."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Protocol

from reconciler.host.files import tail_of
from reconciler.host.interruption import stop_if_interrupted
from reconciler.host.layout import Layout
from reconciler.host.uwsgi_stats import (
    VASSAL_SUFFIX,
    EmperorStats,
    NobodyListens,
    VassalState,
    WorkerStats,
    worker_stats,
)
from reconciler.model.errors import HostError, VerificationFailed
from reconciler.model.uwsgi_log import about_vassal, cause_of_end, death_of_worker, telling

POLL_SECONDS = 0.02
DRAIN_POLL_SECONDS = 0.05
RACY_SECONDS = 2.0
"""A file as young as this may have been written again within the second that the Emperor remembers."""
UNHEARD_SECONDS = 1.0
"""All workers serving for so long while the Emperor still waits for the first one: its reload was not heard."""
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
    rewritten: bool = True,
) -> None:
    """Return when every worker of the vassal has loaded the app and its sockets are there.

    ``deadline`` is a :func:`time.monotonic` value; ``log_position`` is the size of the app's log before the start.
    ``rewritten``: the Emperor may have started the vassal with what the file was before.
    Raises :class:`VerificationFailed` with the log since then: as soon as the vassal dies, else at the deadline.
    """
    emperor_log = emperor.log
    emperor_position = emperor_log.stat().st_size if emperor_log.exists() else 0
    failures_before = emperor.stats().failures.get(vassal, 0)
    _make_noticed(emperor, vassal, rewritten=rewritten)
    missing = "the Emperor has not started it"
    unheard_since: float | None = None
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
        known = state.vassals.get(vassal)
        missing = _missing(known, stats, http)
        if known is not None and _has_started(known):
            refuse_dying_workers(stats, log=log, log_position=log_position, release=release)
        if not missing:
            return
        unheard_since = _still_unheard(emperor, vassal, known, stats, unheard_since)
        if time.monotonic() >= deadline:
            raise VerificationFailed(
                f"the release {release} is not ready in time: {missing}",
                hint="raise verify.timeout if the app needs longer to start",
                tail=telling(tail_of(log, TAIL_BYTES, since=log_position)),
            )
        stop_if_interrupted()
        time.sleep(POLL_SECONDS)


def refuse_dying_workers(stats: Path, *, log: Path, log_position: int, release: str) -> None:
    """Raise :class:`VerificationFailed` when a worker has died since its start, though uWSGI started another one.

    A release whose workers die answers now and then: its probes alone would let it pass, or wait for the timeout.
    """
    try:
        if not worker_stats(stats).started_again:
            return
    except HostError:
        # it is starting, or gone: whoever waits for it, or asks it, notices
        return
    # uWSGI says so before it starts another one; a worker that it ended itself dies without these words
    error = death_in(log, log_position, release)
    if error is not None:
        raise error


def death_in(log: Path, position: int, release: str) -> VerificationFailed | None:
    """What the app's log says from ``position`` on of a worker that died; ``None`` when none did."""
    tail = tail_of(log, TAIL_BYTES, since=position)
    how = death_of_worker(tail)
    if how is None:
        return None
    return VerificationFailed(
        f"the release {release} does not stay up: one of its workers {how}",
        hint=f"correct it and commit; `reconciler logs {log.stem}` shows the whole log",
        tail=telling(tail),
    )


def drain(stats: Path, deadline: float) -> bool:
    """Wait until the vassal answers no request any more; ``False`` when it still does at the deadline.

    Traffic must have moved away before. A vassal that is gone has drained; one that is too busy to say has not.
    """
    idle_since: int | None = None
    while True:
        done: int | None = None
        try:
            state = worker_stats(stats)
        except NobodyListens:
            return True
        except HostError:
            pass
        else:
            done = sum(worker.requests for worker in state.workers) if state.idle else None
        # twice in a row without a request in between: what waited on the socket has been taken up meanwhile
        if done is not None and idle_since == done:
            return True
        idle_since = done
        if time.monotonic() >= deadline:
            return False
        stop_if_interrupted()
        time.sleep(DRAIN_POLL_SECONDS)


def _make_noticed(emperor: Emperor, vassal: str, *, rewritten: bool) -> None:
    """Let the Emperor see the file now, even one that was written twice within one second.

    A vassal that is new is not reloaded, however soon it is there: the reload would come late, when it has traffic.
    """
    known = emperor.wake().vassals.get(vassal)
    if not rewritten:
        return
    try:
        written = (emperor.layout.vassals / f"{vassal}{VASSAL_SUFFIX}").stat().st_mtime
    except OSError:
        return
    if known is None or not (known.ready or known.accepting):
        return
    if known.last_mod >= int(written) and time.time() - written < RACY_SECONDS:
        emperor.reload(vassal)


def _still_unheard(
    emperor: Emperor, vassal: str, known: VassalState | None, stats: Path, since: float | None
) -> float | None:
    """Since when a vassal has served while the Emperor waits for it; reloads it again when that lasts.

    uWSGI ignores the Emperor's signal from its start until its master has forked all workers, and the first of them
    may take requests before that: on a busy machine a reload that soon is lost, and the Emperor waits for ever.
    """
    if known is None or known.stopping or _has_started(known):
        return None
    try:
        if not worker_stats(stats).ready:
            return None
    except HostError:
        return None
    now = time.monotonic()
    if since is None or now - since < UNHEARD_SECONDS:
        return now if since is None else since
    emperor.reload(vassal)
    return None


def _has_started(state: VassalState) -> bool:
    # after a reload the Emperor goes without `ready`, and says only that a worker takes requests
    return not state.stopping and (state.ready or state.accepting)


def _missing(state: VassalState | None, stats: Path, http: Path) -> str:
    """What is still to come before the vassal can take requests; empty when nothing is."""
    if state is None or state.stopping:
        return "the Emperor has not started it"
    if not _has_started(state):
        return "it is loading the app"
    if not http.exists():
        return f"its socket {http.name} is not there"
    try:
        workers = worker_stats(stats)
    except NobodyListens:
        return f"nobody answers on its socket {stats.name}"
    except HostError:
        return "it is loading the app"
    return "" if workers.ready else _slow_workers(workers)


def _slow_workers(stats: WorkerStats) -> str:
    waiting = [str(worker.id) for worker in stats.workers if not (worker.apps_loaded and worker.accepting)]
    return f"{len(waiting)} of {len(stats.workers)} workers have not loaded the app"
