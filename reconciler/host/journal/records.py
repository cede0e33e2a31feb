"""The rows of the journal, as values. Times are seconds since 1970, in UTC."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from reconciler.model.times import local_time


class ReleaseState(StrEnum):
    """How an attempt to put a release in place ended."""

    VERIFIED = "verified"
    FAILED = "failed"
    SUPERSEDED = "superseded"
    REMOVED = "removed"


@dataclass(frozen=True, slots=True)
class AppRecord:
    """What is known of one app: what serves, and how the last attempts ended."""

    app: str
    release: str | None = None
    revision: str | None = None
    config_revision: str | None = None
    serving_since: float | None = None
    last_pass: float | None = None
    last_error: str | None = None
    quarantined_key: str | None = None
    quarantined_error: str | None = None
    suspended_reason: str | None = None
    waiting_reason: str | None = None


@dataclass(frozen=True, slots=True)
class ReleaseRecord:
    """One attempt to put a release in place; ``number`` grows with every attempt, which a clock does not."""

    app: str
    release: str
    revision: str
    config_revision: str
    digests: Mapping[str, str]
    state: ReleaseState
    at: float
    seconds: float
    error: str | None = None
    number: int = 0


@dataclass(frozen=True, slots=True)
class HookRecord:
    """One run of a hook: ``at`` is when it began; without ``status`` it was cut short, nobody knows how far.

    ``moment`` is ``beforeSwitch`` or ``afterSwitch``; ``after`` is the number of the attempt that was recorded last
    when it began (``None``: an earlier version of the reconciler ran it).
    """

    app: str
    release: str
    moment: str
    command: str
    irreversible: bool
    at: float
    seconds: float | None = None
    status: int | None = None
    after: int | None = None

    @property
    def succeeded(self) -> bool:
        """Whether it ended well."""
        return self.status == 0


@dataclass(frozen=True, slots=True)
class EventRecord:
    """Something worth telling about one app; ``detail`` holds the plan's reasons and a log's tail."""

    app: str
    kind: str
    message: str
    at: float
    detail: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class SuspensionRecord:
    """An operator's suspension of an app: why, ``by`` which account, and since when."""

    app: str
    reason: str
    by: str
    at: float

    @property
    def sentence(self) -> str:
        """Who suspended the app, since when, and why."""
        return f"suspended by {self.by} since {local_time(self.at)}: {self.reason}"


@dataclass(frozen=True, slots=True)
class PassRecord:
    """One pass: who asked, which commit of the config repository, and how many apps had which outcome."""

    started: float
    finished: float
    trigger: str
    revision: str
    outcomes: Mapping[str, int]
    error: str | None = None


@dataclass(frozen=True, slots=True)
class DriftRecord:
    """What is known of one path of an app that drifted.

    ``told`` is when it was told last, ``reminders`` how often after the first time; ``gone`` is when it was found as
    it should be, or put right. ``healed`` has the times at which it was put right while ``key`` (a hash of all inputs
    of the app) was asked for, and ``held`` is since when that is not done any more.
    """

    app: str
    stage: str
    path: str
    kind: str
    since: float
    told: float
    reminders: int = 0
    gone: float | None = None
    healed: tuple[float, ...] = ()
    key: str = ""
    held: float | None = None
