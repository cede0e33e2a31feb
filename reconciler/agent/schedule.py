"""What happens by the clock: polls of git, scans for drift, collections, and reminders of what is still wrong."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from apscheduler.executors.pool import ThreadPoolExecutor
from apscheduler.schedulers.background import BackgroundScheduler

from reconciler.model.trigger import Trigger

JITTER_SHARE = 0.1
"""Hosts that start together poll apart: each is shifted by up to this share of the interval, by its name."""

COLLECT_INTERVAL = timedelta(hours=6)
"""How often is looked for what nobody needs any more, although no work asked for it."""
CLOCK_STEP_SECONDS = 1.0
"""From which difference on the clock was set, and did not only run fast or slow."""
REMIND_INTERVAL = timedelta(hours=24)
"""How often errors that last are told again."""


def shift(host: str, interval: timedelta) -> timedelta:
    """How much later than the others this host polls; the same at every start."""
    share = int.from_bytes(hashlib.sha256(host.encode()).digest()[:4], "big") / 2**32
    return interval * JITTER_SHARE * share


class SteadyScheduler(BackgroundScheduler):  # type: ignore[misc]
    """A schedule by which so many seconds pass between two runs, wherever the clock of the host is set meanwhile.

    APScheduler compares times of day: set back by an hour, it would rest for an hour; set forward by a year, it would
    count every run that it takes for missed.
    """

    _offset: float | None = None

    def _process_jobs(self) -> Any:
        offset = time.time() - time.monotonic()
        before, self._offset = self._offset, offset
        if before is not None and abs(offset - before) > CLOCK_STEP_SECONDS:
            for job in self.get_jobs():
                self.modify_job(job.id, next_run_time=job.next_run_time + timedelta(seconds=offset - before))
        return super()._process_jobs()


def start_schedule(
    trigger: Callable[[str], None], *, host: str, poll: timedelta, drift: timedelta
) -> BackgroundScheduler:
    """Start the clock; every job only asks for a pass, so that none of them ever takes long."""
    scheduler = SteadyScheduler(
        timezone=UTC,
        executors={"default": ThreadPoolExecutor(1)},
        job_defaults={"coalesce": True, "max_instances": 1, "misfire_grace_time": None},
    )
    now = datetime.now(UTC)
    jobs = {
        Trigger.POLL: poll,
        Trigger.DRIFT: drift,
        Trigger.COLLECT: COLLECT_INTERVAL,
        Trigger.REMIND: REMIND_INTERVAL,
    }
    for name, interval in jobs.items():
        seconds = interval.total_seconds()
        scheduler.add_job(
            trigger,
            "interval",
            seconds=seconds,
            args=[name],
            id=name,
            next_run_time=now + interval + shift(host, interval),
        )
    scheduler.start()
    return scheduler
