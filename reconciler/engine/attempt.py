"""Work on one app: wished for, under way as an attempt, those who do it, and those who want to know of it."""

from __future__ import annotations

from contextvars import Context, copy_context
from dataclasses import dataclass, field
from typing import Protocol

from reconciler.engine.desired import Desired, DesiredApp
from reconciler.engine.results import AppResult
from reconciler.model.stage import StageName


@dataclass(frozen=True, slots=True)
class Wish:
    """Work that a look found for one app, as planned against ``desired``; an app that is not in it is to be removed.

    ``stale`` work was planned before something else was done for the app, and is planned again first. ``context`` is
    what log lines say of the pass.
    """

    planned: AppResult
    desired: Desired
    trigger: str
    stale: bool = False
    context: Context = field(default_factory=copy_context, repr=False, compare=False)

    @property
    def app(self) -> str:
        """The app's name."""
        return self.planned.app

    @property
    def removal(self) -> bool:
        """Whether the app is to be taken off this host."""
        return self.app not in self.desired.apps

    @property
    def needs(self) -> tuple[str, ...]:
        """The apps that must be verified before."""
        return () if self.removal else self.desired.apps[self.app].manifest.spec.depends_on

    @property
    def moves_site(self) -> bool:
        """Whether nginx gets another site file."""
        return self.planned.plan.change(StageName.NGINX).needed


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
