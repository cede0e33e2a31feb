"""Asking: one question to one git server, which may take longer than anybody waits, and what is known of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from reconciler.host.git import RemoteRefs, masked
from reconciler.model.errors import ReconcilerError, RepositoryUnreachable

CHECK_SECONDS = 0.5
"""How long is waited without a look at what else may have happened."""

Answer = RemoteRefs | ReconcilerError
"""The refs of a repository, or why there are none."""


@dataclass(slots=True, eq=False)
class Task:
    """Something that is asked of one server; ``late`` when the look that wanted it has gone on without it."""

    address: str
    action: Callable[[], Answer]
    patience: float | None
    began: float = 0.0
    done: bool = False
    late: bool = False
    answer: Answer | None = None
    raised: BaseException | None = None


@dataclass(slots=True)
class Repository:
    """What is known of one repository: the refs that its mirror ``held`` last, what is ``asked`` of its server now.

    ``come`` is an answer that no look has seen yet.
    """

    held: RemoteRefs | None = None
    asked: Task | None = None
    come: Answer | None = None
    error: ReconcilerError | None = None
    of_fetch: bool = False
    failures: int = 0
    since: float = 0.0
    not_before: float = 0.0
    again: float = 0.0


def do(task: Task) -> None:
    """Ask, and keep the answer; what is no error of a user is raised."""
    try:
        task.answer = task.action()
    except ReconcilerError as error:
        task.answer = error


def is_awaited(task: Task, now: float) -> bool:
    """Whether the look still waits for a task, by the monotonic clock."""
    return task.patience is None or now < task.began + task.patience


def pause(awaited: Iterable[Task], now: float) -> float:
    """How many seconds to wait until the first of these tasks is not awaited any more, or until the next look."""
    ends = [task.began + task.patience - now for task in awaited if task.patience is not None]
    return max(0.0, min([CHECK_SECONDS, *ends]))


def not_yet(address: str) -> RepositoryUnreachable:
    """What is said of a repository of which nothing is known yet."""
    return RepositoryUnreachable(
        f"{masked(address)} has not answered yet, and is still being asked",
        hint="check the server and the network between; the pass after its answer goes on",
    )
