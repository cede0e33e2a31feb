"""What happens by the clock: polls of git and scans for drift."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from apscheduler.executors.pool import ThreadPoolExecutor
from apscheduler.schedulers.background import BackgroundScheduler

JITTER_SHARE = 0.1
"""Hosts that start together poll apart: each is shifted by up to this share of the interval, by its name."""


def shift(host: str, interval: timedelta) -> timedelta:
    """How much later than the others this host polls; the same at every start."""
    share = int.from_bytes(hashlib.sha256(host.encode()).digest()[:4], "big") / 2**32
    return interval * JITTER_SHARE * share


def start_schedule(
    trigger: Callable[[str], None], *, host: str, poll: timedelta, drift: timedelta
) -> BackgroundScheduler:
    """Start the clock; every job only asks for a pass, so that none of them ever takes long."""
    scheduler = BackgroundScheduler(
        timezone=UTC,
        executors={"default": ThreadPoolExecutor(1)},
        job_defaults={"coalesce": True, "max_instances": 1, "misfire_grace_time": None},
    )
    now = datetime.now(UTC)
    for name, interval in (("poll", poll), ("drift", drift)):
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
