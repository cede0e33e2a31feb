"""Reasons to end, of the whole process or of the work of one thread: programs and long waits look here.

So the agent ends within seconds, an attempt that a newer commit has overtaken is given up, and no stage goes on for
ever, all at a safe point.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from concurrent.futures import wait as wait_for
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TypeVar

CHECK_SECONDS = 0.5
"""How long a wait for a program may go on without a look."""
ANSWER_CHECK_SECONDS = 0.05
"""The same for a wait for an answer."""

_asked = threading.Event()
_overtaken: ContextVar[Callable[[], bool] | None] = ContextVar("overtaken", default=None)
_deadline: ContextVar[float | None] = ContextVar("deadline", default=None)
_regardless: ContextVar[bool] = ContextVar("regardless", default=False)
_Value = TypeVar("_Value")


class Interrupted(BaseException):
    """The process is to end; no error, so that nobody records it as one. What is half made is taken back."""


class Superseded(BaseException):
    """What this thread works on is not asked for any more; no error either, and taken back in the same way."""


class TimeIsUp(BaseException):
    """What this thread works on has taken too long; no error, so that nobody takes it for one of his own."""


def interrupt() -> None:
    """Let every program and wait of this process end with :class:`Interrupted`, and every new one too."""
    _asked.set()


def forget_interruption() -> None:
    """Begin anew, in a process that goes on."""
    _asked.clear()


@contextmanager
def giving_way(overtaken: Callable[[], bool]) -> Iterator[None]:
    """Let programs and waits of this thread end with :class:`Superseded` once ``overtaken`` says so.

    ``overtaken`` is called often, and must be quick. Raises at once when it holds from the beginning.
    """
    token = _overtaken.set(overtaken)
    try:
        stop_if_interrupted()
        yield
    finally:
        _overtaken.reset(token)


@contextmanager
def to_the_end() -> Iterator[None]:
    """What must not be left half done, whatever is asked for now: only the end of the process still ends it."""
    token = _overtaken.set(None)
    try:
        yield
    finally:
        _overtaken.reset(token)


@contextmanager
def regardless() -> Iterator[None]:
    """What cleans up after work that was ended, and must be quick: nothing ends it."""
    token = _regardless.set(True)
    try:
        yield
    finally:
        _regardless.reset(token)


@contextmanager
def within(seconds: float) -> Iterator[None]:
    """Let programs and waits of this thread end with :class:`TimeIsUp` once the block has taken ``seconds``."""
    deadline = time.monotonic() + seconds
    outer = _deadline.get()
    token = _deadline.set(deadline if outer is None else min(outer, deadline))
    try:
        yield
    finally:
        _deadline.reset(token)


def stop_if_interrupted() -> None:
    """Raise what ends the work of this thread, where there is such a thing by now.

    :class:`Interrupted` once :func:`interrupt` was called, :class:`TimeIsUp` after the time that :func:`within` gave,
    and :class:`Superseded` where work gives way.
    """
    if _regardless.get():
        return
    if _asked.is_set():
        raise Interrupted
    deadline = _deadline.get()
    if deadline is not None and time.monotonic() >= deadline:
        raise TimeIsUp
    overtaken = _overtaken.get()
    if overtaken is not None and overtaken():
        raise Superseded


def left_behind_if_interrupted(ask: Callable[[], _Value]) -> _Value:
    """What ``ask`` returns or raises; it blocks in a thread of its own, which is left behind when this one is to end.

    For waits that have a deadline but no place to look in between.
    """
    answer: Future[_Value] = Future()

    def run() -> None:
        try:
            answer.set_result(ask())
        except BaseException as error:
            answer.set_exception(error)

    threading.Thread(target=run, name="ask", daemon=True).start()
    while not wait_for([answer], ANSWER_CHECK_SECONDS).done:
        stop_if_interrupted()
    return answer.result()
