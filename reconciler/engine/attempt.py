"""An attempt: work on one app that is under way, those who do it, and those who want to know of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from reconciler.engine.desired import DesiredApp
from reconciler.engine.results import AppResult
from reconciler.engine.turns import Wish


@dataclass(slots=True)
class Attempt:
    """Work on one app that is under way; ``started`` is by the monotonic clock.

    It is ``overtaken`` when git asks for something else by now, and ``aborted`` names the person who ended it.
    """

    wish: Wish
    started: float
    overtaken: bool = False
    aborted: str | None = None

    @property
    def app(self) -> DesiredApp | None:
        """The app as it is being deployed; ``None`` for one that is being removed."""
        return self.wish.desired.apps.get(self.wish.app)

    @property
    def given_up(self) -> bool:
        """Whether it is to end at the next boundary."""
        return self.overtaken or self.aborted is not None


class Worker(Protocol):
    """Who does the work, in threads of :class:`Work`."""

    def plan_again(self, wish: Wish) -> AppResult:
        """What is to be done for an app by now."""

    def attempt(self, attempt: Attempt) -> AppResult:
        """Do it; raises :class:`Superseded` when it was given up for something newer."""


class Listener(Protocol):
    """Who wants to know how the work goes on; called in the threads that do it, and must be quick."""

    def attempt_began(self, attempt: Attempt) -> None:
        """One attempt begins."""

    def attempt_ended(self, attempt: Attempt, result: AppResult | None) -> None:
        """One attempt ended; without a result it was given up for something newer."""

    def look_needed(self) -> None:
        """What was done may have left something to see to: the work is at rest, or git had moved on."""


class Nobody:
    """Hears nothing."""

    def attempt_began(self, attempt: Attempt) -> None:
        """Not heard."""

    def attempt_ended(self, attempt: Attempt, result: AppResult | None) -> None:
        """Not heard."""

    def look_needed(self) -> None:
        """Not heard."""
