"""Proves that a clock that is set back or forward neither stops the agent, nor drops or keeps what it should not."""

from __future__ import annotations

import itertools
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from reconciler.agent import schedule
from reconciler.agent.schedule import start_schedule
from reconciler.cli.views.times import ago
from reconciler.engine.hooks import crosses
from reconciler.engine.restoring import SET_ASIDE_KEPT, set_aside
from reconciler.engine.retention import retained_releases, within_budget
from reconciler.host.journal import HookRecord, Journal, ReleaseRecord, ReleaseState
from reconciler.host.layout import Layout
from reconciler.host.locking import state_lock
from reconciler.model.drift import HEALS_SECONDS, HOLD_SECONDS, MOST_HEALS, is_held, reminder_due
from reconciler.model.stage import Difference, DifferenceKind
from test_agent import wait_for

HOUR, YEAR = 3_600.0, 365 * 86_400.0
STEPS = [-HOUR, YEAR]
NOW = 1_800_000_000.0


@pytest.mark.parametrize("step", STEPS)
def test_the_schedule_goes_on_as_if_nobody_had_touched_the_clock(
    step: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    moved = 0.0

    class Clock(datetime):
        @classmethod
        def now(cls, tz: object = None) -> datetime:
            return datetime.fromtimestamp(real() + moved, UTC)

    real = time.time
    monkeypatch.setattr(schedule.time, "time", lambda: real() + moved)
    monkeypatch.setattr("apscheduler.schedulers.base.datetime", Clock)
    monkeypatch.setattr(schedule, "datetime", Clock)
    asked: list[float] = []
    every = timedelta(seconds=0.2)
    scheduler = start_schedule(
        lambda name: asked.append(time.monotonic()) if name == "poll" else None,
        host="a",
        poll=every,
        drift=timedelta(hours=1),
    )
    try:
        wait_for("two polls", lambda: len(asked) >= 2)
        moved = step
        before = len(asked)
        wait_for("two more polls", lambda: len(asked) >= before + 2, 5.0)
        pauses = [later - earlier for earlier, later in itertools.pairwise(asked)]
        assert min(pauses) > every.total_seconds() / 4, pauses
    finally:
        scheduler.shutdown(wait=False)


def test_drift_of_a_time_to_come_is_neither_held_nor_kept_quiet_until_then() -> None:
    healed = [NOW - 5.0] * MOST_HEALS
    assert is_held(healed, None, NOW)
    assert is_held([], NOW - 5.0, NOW)
    assert not is_held([at + YEAR for at in healed], NOW + YEAR, NOW)
    assert reminder_due(NOW + YEAR, 0, NOW)
    # a clock that is put right by seconds forgets nothing
    assert is_held(healed, None, NOW - 10.0)
    assert not reminder_due(NOW, 0, NOW - 10.0)
    assert HEALS_SECONDS < HOLD_SECONDS


def test_what_is_set_aside_last_is_not_what_goes_first_when_the_clock_was_set_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    layout = Layout(tmp_path / "v")
    layout.create()
    home = layout.set_aside("blog")
    for number in range(SET_ASIDE_KEPT + 3):
        file = layout.root / "store" / f"{number}.txt"
        file.write_text(str(number))
        monkeypatch.setattr(time, "gmtime", lambda number=number: time.struct_time((2030 - number, *(1,) * 8)))
        set_aside(layout, "blog", [Difference(str(file), DifferenceKind.EXTRA, "")])
    kept = [int(next(path.rglob("*.txt")).read_text()) for path in sorted(home.iterdir())]
    assert kept == list(range(3, SET_ASIDE_KEPT + 3))


def release(name: str, at: float) -> ReleaseRecord:
    return ReleaseRecord("blog", name, "c" * 40, "d" * 40, {"source": name * 64}, ReleaseState.VERIFIED, at, 0.5)


def test_the_order_of_the_history_is_that_of_its_rows(tmp_path: Path) -> None:
    """Deployed in a year to come, then the clock was put right: the release after that is the newer one."""
    with Journal.open(tmp_path / "j") as journal:
        for name, at in (("a", NOW), ("b", NOW + YEAR), ("c", NOW + 60), ("d", NOW + 120)):
            journal.record_verified(release(name, at), [])
        history = journal.releases("blog")
        assert [known.release for known in history] == ["d", "c", "b", "a"]
        assert journal.apps()["blog"].serving_since == NOW + 120
        retained = retained_releases(history, "d", 3)
        assert [known.release for known in retained] == ["c", "b", "a"]
        dropped = within_budget({}, (), retained, 0)
        assert dropped.dropped == ()
        assert [known.release for known in sorted(retained, key=lambda one: one.last_served)] == ["a", "b", "c"]


@pytest.mark.parametrize("step", STEPS)
def test_what_an_irreversible_hook_bars_does_not_depend_on_the_clock(step: float, tmp_path: Path) -> None:
    with Journal.open(tmp_path / "j") as journal:
        journal.record_verified(release("a", NOW), [])
        at = NOW + step
        journal.record_hook_started(HookRecord("blog", "b", "beforeSwitch", "migrate", irreversible=True, at=at))
        hook = journal.last_irreversible_hooks()["blog"]
        assert crosses(journal, "blog", "a", hook)
        journal.record_verified(release("b", at), [])
        journal.record_verified(release("a", NOW + 2 * HOUR), [])
        assert not crosses(journal, "blog", "a", hook)


def test_times_to_come_are_shown_as_now() -> None:
    assert ago(NOW + YEAR, NOW) == "0 s ago"


@pytest.mark.parametrize("written", ["", "\0\0\0", "{", "[]", "1", '{"process": 1, "since": 4e9, "what": "agent"}'])
def test_a_lock_that_nobody_holds_is_free_whatever_is_written_in_it(tmp_path: Path, written: str) -> None:
    """Process 1 runs, as one does that got the number of a dead agent; the kernel knows who holds the lock."""
    layout = Layout(tmp_path)
    layout.create()
    layout.lock.write_text(written)
    with state_lock(layout):
        assert layout.lock.read_text().startswith("{")
