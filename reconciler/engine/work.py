"""Work: every app that has something to be done, once; attempts side by side, failures backing off alone."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from reconciler.engine.attempt import Attempt, Listener, Nobody, Wish, Worker
from reconciler.engine.recording import as_reconciler_error, quarantine_key
from reconciler.engine.results import AppResult
from reconciler.engine.turns import Turns, next_turns
from reconciler.host.interruption import Interrupted, Superseded, giving_way
from reconciler.model.errors import Retry
from reconciler.model.plan import Outcome

if TYPE_CHECKING:
    from reconciler.engine.desired import Desired, DesiredApp

JOIN_SECONDS = 1.0
"""How often one who waits for the end of all work has a word meanwhile."""
FIRST_RETRY_SECONDS = 5.0
"""How long after its first failure an app is tried again that failed for a reason which may pass by itself;"""
LONGEST_RETRY_SECONDS = 600.0
"""twice as long after every further one, up to this."""


@dataclass(frozen=True, slots=True)
class _BackOff:
    """An app that failed ``failures`` times for a reason that may pass, all with the same ``key``."""

    key: str
    failures: int
    until: float
    result: AppResult


@dataclass(slots=True)
class Work:
    """The apps of one host that have work; safe between threads.

    Looks :meth:`submit` what they found. In a single pass the one who looked does the work with :meth:`finish`, and
    every app is tried once. After :meth:`start` a thread goes on as long as the agent does, and tries again what
    failed for a reason that may pass.
    """

    worker: Worker
    listener: Listener = field(default_factory=Nobody)
    _changed: threading.Condition = field(default_factory=threading.Condition)
    _wishes: dict[str, Wish] = field(default_factory=dict)
    _running: dict[str, Attempt] = field(default_factory=dict)
    _results: dict[str, AppResult] = field(default_factory=dict)
    _back_off: dict[str, _BackOff] = field(default_factory=dict)
    _touched: Counter[str] = field(default_factory=Counter)
    _ended: list[tuple[str, DesiredApp | None]] = field(default_factory=list)
    _going_on: bool = False
    _closed: bool = False
    _interrupted: bool = False

    # what looks say and ask

    def marks(self) -> Mapping[str, int]:
        """How often each app was touched so far, for a look to begin with."""
        with self._changed:
            return Counter(self._touched)

    def touched_since(self, marks: Mapping[str, int]) -> frozenset[str]:
        """The apps that are worked on, or were since."""
        with self._changed:
            return frozenset(app for app, times in self._touched.items() if times != marks.get(app, 0)).union(
                self._running
            )

    def take_ended(self) -> tuple[tuple[str, DesiredApp | None], ...]:
        """The attempts that have ended since this was asked last: the app's name, and what was deployed of it."""
        with self._changed:
            taken, self._ended = tuple(self._ended), []
            return taken

    @property
    def at_rest(self) -> bool:
        """Whether nothing is being done, and nothing could be now."""
        with self._changed:
            return not self._running and not self._turns().start

    def running(self) -> Mapping[str, Attempt]:
        """The attempts that are under way, by app."""
        with self._changed:
            return dict(self._running)

    def submit(
        self, desired: Desired, results: tuple[AppResult, ...], trigger: str, marks: Mapping[str, int]
    ) -> None:
        """Take over what a look found, which began with ``marks``.

        Equal wishes merge, and an attempt for what git does not ask for any more is given up.
        """
        with self._changed:
            self._results = {result.app: result for result in results}
            for app, attempt in self._running.items():
                attempt.overtaken = attempt.overtaken or _overtakes(desired, self._results.get(app), attempt)
            wanted = [result for result in results if result.outcome is Outcome.CHANGED]
            # removals come first: a renamed app may claim the server name of the old one
            wanted.sort(key=lambda result: result.app in desired.apps)
            self._wishes = {}
            for result in wanted:
                stale = result.app in self._running or self._touched[result.app] != marks.get(result.app, 0)
                self._wishes[result.app] = Wish(result, desired, trigger, stale)
            self._back_off = {app: known for app, known in self._back_off.items() if self._still(app, known)}
            self._results |= {app: known.result for app, known in self._back_off.items()}
            self._changed.notify_all()

    def as_it_stands(self, results: tuple[AppResult, ...]) -> tuple[AppResult, ...]:
        """The results of a look, with what is known of apps that back off or are held back by others."""
        with self._changed:
            held_back = self._turns().held_back
            return tuple(self._standing(result, held_back) for result in results)

    def abort(self, app: str, who: str) -> bool:
        """Let the attempt for an app end at the next boundary; ``False`` when there is none that could."""
        with self._changed:
            attempt = self._running.get(app)
            if attempt is None or attempt.app is None:
                return False
            attempt.aborted = who
            return True

    def forget_back_off(self, app: str) -> None:
        """Try an app again at once that failed."""
        with self._changed:
            self._back_off.pop(app, None)
            self._changed.notify_all()

    # doing it

    def finish(self) -> Mapping[str, AppResult]:
        """Do all work, every app once; returns how each app stands. Ends what is under way before it raises."""
        try:
            with self._changed:
                while turns := self._begin():
                    self._wait(turns)
        except BaseException:
            self.close()
            self.join()
            raise
        if self._interrupted:
            raise Interrupted
        with self._changed:
            self._wishes.clear()
            return dict(self._results)

    def start(self) -> None:
        """Go on doing the work, in a thread of its own, until :meth:`close`."""
        self._going_on = True
        threading.Thread(target=self._go_on, name="work", daemon=True).start()

    def close(self) -> None:
        """Begin nothing new."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def give_up(self) -> None:
        """Let all attempts end at the next boundary, as if git asked for something else."""
        with self._changed:
            for attempt in self._running.values():
                attempt.overtaken = attempt.app is not None

    @property
    def interrupted(self) -> bool:
        """Whether an attempt was cut short because the process is to end."""
        return self._interrupted

    def join(self, meanwhile: Callable[[], object] = lambda: None) -> None:
        """Wait for the end of all that is under way; ``meanwhile`` is called again and again."""
        with self._changed:
            while self._running:
                meanwhile()
                self._changed.wait(JOIN_SECONDS)

    def _go_on(self) -> None:
        with self._changed:
            while not self._closed:
                self._wait(self._begin() or self._turns())

    def _wait(self, turns: Turns) -> None:
        seconds = None if turns.look_again is None else max(0.0, turns.look_again - time.monotonic())
        self._changed.wait(seconds)

    def _turns(self) -> Turns:
        not_before = {app: known.until for app, known in self._back_off.items()}
        return next_turns(self._wishes, self._running, self._results, not_before, time.monotonic())

    def _begin(self) -> Turns | None:
        """Begin what can be begun; ``None`` when nothing is under way after that."""
        if self._closed:
            return None
        turns = self._turns()
        self._results |= turns.held_back
        for app in turns.start:
            attempt = self._running[app] = Attempt(self._wishes.pop(app), time.monotonic())
            self._touched[app] += 1
            self.listener.attempt_began(attempt)
            context = attempt.wish.context.copy()
            threading.Thread(target=context.run, args=[self._do, attempt], name=f"app {app}", daemon=True).start()
        return turns if self._running else None

    def _do(self, attempt: Attempt) -> None:
        result: AppResult | None = None
        try:
            with giving_way(lambda: attempt.given_up):
                result = self._done(attempt)
        except Superseded:
            pass
        except Interrupted:
            self._interrupted = True
        except Exception as error:
            # such as a journal that cannot be written: nobody may take that for a success
            result = attempt.wish.planned.failed(as_reconciler_error(error))
        finally:
            if not self._interrupted:
                self.listener.attempt_ended(attempt, result)
            self._end(attempt, result)

    def _done(self, attempt: Attempt) -> AppResult:
        if attempt.wish.stale:
            planned = self.worker.plan_again(attempt.wish)
            if planned.outcome is not Outcome.CHANGED:
                return planned
            attempt.wish = replace(attempt.wish, planned=planned, stale=False)
        return self.worker.attempt(attempt)

    def _end(self, attempt: Attempt, result: AppResult | None) -> None:
        app = attempt.wish.app
        with self._changed:
            del self._running[app]
            self._touched[app] += 1
            self._ended.append((app, attempt.app))
            if result is not None:
                self._results[app] = result
                self._learn(attempt, result)
            look = attempt.overtaken or self.at_rest
            self._changed.notify_all()
        if look:
            self.listener.look_needed()

    def _learn(self, attempt: Attempt, result: AppResult) -> None:
        """Try again later what failed for a reason that may pass, in an agent."""
        app = attempt.wish.app
        before = self._back_off.pop(app, None)
        if not self._going_on or result.error is None or result.error.retry is not Retry.NEXT_PASS:
            return
        key = _key(attempt.wish)
        failures = before.failures + 1 if before is not None and before.key == key else 1
        seconds = min(FIRST_RETRY_SECONDS * 2.0 ** (failures - 1), LONGEST_RETRY_SECONDS)
        self._back_off[app] = _BackOff(key, failures, time.monotonic() + seconds, result)
        self._wishes.setdefault(app, replace(attempt.wish, stale=True))

    def _still(self, app: str, known: _BackOff) -> bool:
        """Whether an app that failed is still asked for as it was then."""
        wish = self._wishes.get(app)
        return app in self._running if wish is None else _key(wish) == known.key

    def _standing(self, result: AppResult, held_back: Mapping[str, AppResult]) -> AppResult:
        known = self._back_off.get(result.app)
        if known is None or result.app in self._running or result.outcome is not Outcome.CHANGED:
            return held_back.get(result.app, result)
        seconds = max(0.0, known.until - time.monotonic())
        times = "once" if known.failures == 1 else f"{known.failures} times"
        note = f"failed {times}, is tried again in {seconds:.0f} s"
        return replace(result, outcome=Outcome.FAILED, error=known.result.error, note=note)


def _overtakes(desired: Desired, result: AppResult | None, attempt: Attempt) -> bool:
    """Whether git asks for something else than an attempt does. A commit that leaves the app alone does not."""
    app = attempt.app
    # a removal goes to its end, and a mistake in a newer manifest is no wish
    if app is None or app.name in desired.held:
        return False
    if result is not None and result.outcome is Outcome.SUSPENDED:
        return True
    newer = desired.apps.get(app.name)
    if newer is None:
        return not desired.unreadable
    return newer is not app and quarantine_key(newer) != quarantine_key(app)


def _key(wish: Wish) -> str:
    """What a failed app was asked for: a new commit of it is another key."""
    return "" if wish.removal else quarantine_key(wish.desired.apps[wish.app])
