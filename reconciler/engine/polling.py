"""Poll: one ``ls-remote`` for each repository and pass, however many apps share it; a fetch only when a ref moved.

In the agent no server holds up another: one that is slow is asked on beside the passes, which go on with what it
answered last, and one that fails is asked less and less often, until it answers.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Collection, Iterable, Mapping
from contextvars import copy_context
from dataclasses import dataclass, field

from reconciler.engine.asking import CHECK_SECONDS, Answer, Repository, Task, do, is_awaited, not_yet, pause
from reconciler.host import reporting
from reconciler.host.git import Mirrors, RemoteRefs, masked
from reconciler.host.interruption import giving_way, stop_if_interrupted
from reconciler.model.errors import ReconcilerError, Retry
from reconciler.model.repositories import Trouble, pause_after
from reconciler.model.trigger import Trigger, triggers_of

AT_ONCE = 8
"""How many repositories are asked side by side;"""
SLOW_SECONDS = 2.0
"""one that takes longer gives its place to another,"""
AT_MOST = 32
"""up to this many in all."""
PATIENCE_SECONDS = 2.0
"""How long a look of the agent waits for a repository that was fetched before,"""
FIRST_PATIENCE_SECONDS = 10.0
"""and for one of which it knows nothing yet."""
END_SECONDS = 4.0
"""How long the end of the agent waits for programs that are ended with it."""
CALM = frozenset({
    Trigger.POLL, Trigger.DRIFT, Trigger.FILE_TOUCHED, Trigger.WORK, Trigger.COLLECT, Trigger.REMIND,
})  # fmt: skip
"""Triggers that nobody waits for: for all others every repository is asked, however often it has failed."""

Polled = Mapping[str, Answer]
"""What every repository answered, by address: its refs, or why there are none."""


def nobody() -> None:
    """Nobody wants to know."""


@dataclass(slots=True)
class Polls:
    """Asks the servers of one host; called by one thread, whose ``patience`` is endless unless it is an agent's.

    ``interval`` is the pause between polls in seconds; ``answered`` hears of answers that came late.
    """

    mirrors: Mirrors
    interval: float
    patient: bool = True
    answered: Callable[[], None] = nobody
    clock: Callable[[], float] = time.monotonic
    _urgent: bool = True
    _repositories: dict[str, Repository] = field(default_factory=dict)
    _flying: set[Task] = field(default_factory=set)
    _changed: threading.Condition = field(default_factory=threading.Condition)
    _closed: bool = False

    def begin(self, trigger: str) -> None:
        """A pass begins; where somebody waits for it, servers that failed are asked again at once."""
        self._urgent = not CALM.issuperset(triggers_of(trigger))

    def poll(self, addresses: Iterable[str]) -> dict[str, Answer]:
        """Ask every repository for its refs, side by side; one that backs off or is slow answers as it did last."""
        answers: dict[str, Answer] = {}
        tasks: dict[str, Task] = {}
        for address in sorted(addresses):
            known = self._of(address)
            if (answer := self._at_hand(known)) is not None:
                answers[address] = answer
            elif known.asked is None:
                tasks[address] = self._task(address, known, lambda address=address: self.mirrors.poll(address))  # type: ignore[misc]
            else:
                answers[address] = self._meanwhile(address)
        self._run(tasks.values())
        for address, task in tasks.items():
            answers[address] = self._taken(task, of_fetch=False)
        return answers

    def fetch(self, polled: Polled) -> dict[str, Answer]:
        """Bring the mirrors up to what was polled, side by side; of a slow one, the refs that it holds already."""
        answers = dict(polled)
        tasks: dict[str, Task] = {}
        for address, refs in polled.items():
            if isinstance(refs, ReconcilerError):
                continue
            known = self._of(address)
            if known.asked is None and self._is_current(address, refs):
                self._learn(address, refs, of_fetch=True)
            elif known.asked is None:
                action = lambda address=address, refs=refs: self._update(address, refs)  # noqa: E731
                tasks[address] = self._task(address, known, action)
            else:
                answers[address] = self._meanwhile(address)
        self._run(tasks.values())
        for address, task in tasks.items():
            answers[address] = self._taken(task, of_fetch=True)
        return answers

    def troubles(self, addresses: Collection[str]) -> tuple[Trouble, ...]:
        """The repositories among ``addresses`` that do not answer, and when each of them is asked again."""
        return tuple(
            Trouble(masked(address), str(known.error), known.failures, known.since, known.again)
            for address, known in sorted(self._repositories.items())
            if address in addresses and known.error is not None
        )

    def close(self) -> None:
        """End what is being asked."""
        deadline = time.monotonic() + END_SECONDS
        with self._changed:
            self._closed = True
            while self._flying and time.monotonic() < deadline:
                self._changed.wait(CHECK_SECONDS)

    # what is known

    def _of(self, address: str) -> Repository:
        return self._repositories.setdefault(address, Repository())

    def _at_hand(self, known: Repository) -> Answer | None:
        """An answer for which nobody has to be asked now."""
        with self._changed:
            come, known.come = known.come, None
        if come is not None:
            return come
        if known.error is not None and not self._urgent and self.clock() < known.not_before:
            return known.error
        return None

    def _taken(self, task: Task, *, of_fetch: bool) -> Answer:
        """What a task gave, or what is known without it."""
        if task.raised is not None:
            raise task.raised
        if task.answer is None or task.late:
            return self._meanwhile(task.address)
        self._learn(task.address, task.answer, of_fetch=of_fetch)
        return task.answer

    def _meanwhile(self, address: str) -> Answer:
        """What is known of a repository that has not answered yet."""
        known = self._of(address)
        if known.held is None:
            known.held = self.mirrors.held(address)
        return not_yet(address) if known.held is None else known.held

    def _learn(self, address: str, answer: Answer, *, of_fetch: bool) -> None:
        known = self._of(address)
        if isinstance(answer, RemoteRefs):
            if of_fetch:
                known.held = answer
            if known.error is not None and (of_fetch or not known.of_fetch):
                reporting.info("repository_answers", repository=masked(address), failures=known.failures)
                known.error, known.failures = None, 0
            return
        if answer.retry is not Retry.NEXT_PASS:
            # it answers; what is wrong with the answer, only git or a person can mend
            return
        known.since = known.since if known.error is not None else time.time()
        known.failures += 1
        known.error, known.of_fetch = answer, of_fetch
        seconds = pause_after(known.failures, self.interval)
        known.not_before, known.again = self.clock() + seconds, time.time() + seconds
        reporting.info(
            "repository_backs_off",
            repository=masked(address),
            failures=known.failures,
            seconds=round(seconds, 3),
            error=str(answer),
        )

    # asking

    def _task(self, address: str, known: Repository, action: Callable[[], Answer]) -> Task:
        if self.patient:
            return Task(address, action, None)
        fetched = known.held is not None or self._has_mirror(address)
        return Task(address, action, PATIENCE_SECONDS if fetched else FIRST_PATIENCE_SECONDS)

    def _has_mirror(self, address: str) -> bool:
        try:
            return self.mirrors.has_mirror(address)
        except ReconcilerError:
            # an address that is refused is answered at once
            return False

    def _is_current(self, address: str, refs: RemoteRefs) -> bool:
        try:
            return self.mirrors.is_current(address, refs)
        except ReconcilerError:
            return False

    def _update(self, address: str, refs: RemoteRefs) -> Answer:
        self.mirrors.update(address, refs)
        return refs

    def _run(self, tasks: Collection[Task]) -> None:
        """Begin every task, and wait for each as long as its look is patient."""
        if self.patient and len(tasks) == 1:
            # a command with one repository needs no thread
            for task in tasks:
                do(task)
                task.done = True
            return
        waiting, begun = deque(tasks), list[Task]()
        while True:
            with self._changed:
                begun += self._begin(waiting)
                now = time.monotonic()
                awaited = [task for task in begun if not task.done and is_awaited(task, now)]
                if not awaited and (not waiting or len(self._flying) >= AT_MOST):
                    for task in begun:
                        task.late = not task.done
                    return
                self._changed.wait(pause(awaited, now))
            stop_if_interrupted()

    def _begin(self, waiting: deque[Task]) -> list[Task]:
        """Start as many as may be under way; called with the lock."""
        now = time.monotonic()
        begun = []
        while waiting and len(self._flying) < AT_MOST and self._fresh(now) < AT_ONCE:
            task = waiting.popleft()
            task.began = now
            self._of(task.address).asked = task
            self._flying.add(task)
            begun.append(task)
            context = copy_context()
            name = f"git {masked(task.address)}"
            threading.Thread(target=context.run, args=[self._ask, task], name=name, daemon=True).start()
        return begun

    def _fresh(self, now: float) -> int:
        return sum(1 for task in self._flying if now - task.began < SLOW_SECONDS)

    def _ask(self, task: Task) -> None:
        """In a thread of its own; goes on when the look that wanted it does not wait any more."""
        try:
            with giving_way(lambda: self._closed):
                do(task)
        except BaseException as error:
            # such as the end of the process, which is news for the one who waits
            task.raised = error
        with self._changed:
            known = self._of(task.address)
            known.asked, task.done = None, True
            self._flying.discard(task)
            late = task.late and task.answer is not None and not self._closed
            if late:
                known.come = self._late_answer(task)
            self._changed.notify_all()
        if late:
            self.answered()

    def _late_answer(self, task: Task) -> Answer | None:
        """What the next look is given. A fetch that came to its end shows in the mirror."""
        if not isinstance(task.answer, ReconcilerError):
            return task.answer
        self._learn(task.address, task.answer, of_fetch=True)
        return task.answer


def refs_of(polled: Polled, address: str) -> RemoteRefs:
    """What a repository answered; raises the error of one that did not."""
    answer = polled[address]
    if isinstance(answer, ReconcilerError):
        raise answer
    return answer
