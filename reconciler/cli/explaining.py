"""Why an app serves what it serves, and why it serves nothing else: gathered from journal, disk and git."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from reconciler.cli.views.once import urls_of
from reconciler.engine.drifting import DRIFT_EVENTS
from reconciler.engine.known_apps import require_known
from reconciler.engine.status import AppStatus, read_status
from reconciler.host.journal import EventRecord, Journal
from reconciler.model.condition import ConditionReason, ConditionType
from reconciler.model.errors import ReconcilerError, UsageError
from reconciler.model.plan import Outcome
from reconciler.model.times import iso_time

if TYPE_CHECKING:
    from reconciler.cli.wiring import Installation
    from reconciler.engine.results import AppResult

EVENTS_READ = 200
FAILED = "failed"
NO_CHANGE = frozenset({FAILED, "suspended", "resumed", *DRIFT_EVENTS})
"""Events after which what serves is what served before."""


@dataclass(frozen=True, slots=True)
class Explanation:
    """All that is known of one app.

    ``asks`` is what the next pass would do; where that cannot be known, ``unknown`` says why, and ``unknown_hint``
    how to learn it. ``failed_before`` is whether the last failure came before the last change.
    """

    app: str
    status: AppStatus | None
    url: str | None
    last_change: EventRecord | None
    last_failure: EventRecord | None
    asks: AppResult | None
    unknown: str | None
    unknown_hint: str | None = None
    failed_before: bool = False

    @property
    def mended(self) -> bool:
        """Whether the last failure is history: something was verified after it."""
        if self.last_change is None or self.last_failure is None:
            return False
        return self.failed_before

    @property
    def next_action(self) -> str | None:
        """What a person can do now; ``None`` when all is well."""
        if self.asks is not None and self.asks.outcome is not Outcome.UNCHANGED:
            by_operator = self.status is not None and self.status.suspension is not None
            return _next_for(self.asks, by_operator=by_operator)
        if self.status is None or self.unknown_hint is not None:
            return self.unknown_hint
        reason = self.status.condition(ConditionType.READY).reason
        if reason in (ConditionReason.NOT_LISTENING, ConditionReason.LINK_LEADS_ELSEWHERE):
            return f"run `reconciler once`; if that does not help, `reconciler logs {self.app}` says why it ended"
        if reason is ConditionReason.NGINX_DOWN:
            return "run `reconciler once`, which starts nginx again or says why it cannot"
        if self.asks is None and self.status.last_error is not None and not self.mended:
            hint = self.last_failure.detail.get("hint") if self.last_failure is not None else None
            return str(hint) if hint else "correct the cause and commit, or run `reconciler once` to try again"
        return None

    def as_json(self) -> dict[str, object]:
        """The object that ``explain --json`` prints."""
        return {
            "app": self.app,
            "status": self.status.as_json() if self.status is not None else None,
            "url": self.url,
            "last_change": _event_json(self.last_change),
            "last_failure": _event_json(self.last_failure),
            "asks": self.asks.as_json(with_diff=True) if self.asks is not None else None,
            "unknown": self.unknown,
            "next": self.next_action,
        }


def explain(installation: Installation, app: str, *, offline: bool) -> Explanation:
    """Gather everything about ``app``; :class:`UsageError` when this host does not know it."""
    asks = _Asked(None, "unknown, git was not asked (--offline)") if offline else _ask(installation, app)
    with installation.journal() as journal:
        if asks.result is None:
            require_known(journal, app)
        return _explanation(installation, journal, app, asks)


@dataclass(frozen=True, slots=True)
class _Asked:
    """What git asks for, or why that is not known."""

    result: AppResult | None
    unknown: str | None = None
    hint: str | None = None


def _explanation(installation: Installation, journal: Journal, app: str, asked: _Asked) -> Explanation:
    status = read_status(installation.layout, journal)
    events = journal.events(app, EVENTS_READ)
    # newest first
    telling = [event for event in events if event.kind == FAILED or event.kind not in NO_CHANGE]
    return Explanation(
        app,
        next((known for known in status.apps if known.app == app), None),
        urls_of(journal.applied()).get(app),
        next((event for event in telling if event.kind != FAILED), None),
        next((event for event in telling if event.kind == FAILED), None),
        asked.result,
        asked.unknown,
        asked.hint,
        failed_before=bool(telling) and telling[0].kind != FAILED,
    )


def _ask(installation: Installation, app: str) -> _Asked:
    try:
        with installation.engine(looking=True) as engine:
            return _Asked(engine.plan(app=app).apps[0])
    except UsageError:
        return _Asked(None, "nothing, no manifest of the config repository is about it")
    except ReconcilerError as error:
        # the journal still has an answer while the repository or nginx is away
        return _Asked(None, f"cannot be told now, {error}", error.hint)


def _next_for(asks: AppResult, *, by_operator: bool) -> str | None:
    if asks.error is not None:
        return asks.error.hint
    if asks.outcome is Outcome.SUSPENDED and by_operator:
        return f"`reconciler resume {asks.app}` lets it change again"
    if asks.outcome is Outcome.SUSPENDED:
        return "set spec.suspend to false in its manifest and commit"
    if asks.outcome is Outcome.WAITING:
        return asks.note
    return f"`reconciler plan --app {asks.app}` shows the change, `reconciler once` makes it now"


def _event_json(event: EventRecord | None) -> dict[str, object] | None:
    if event is None:
        return None
    return {"at": iso_time(event.at), "kind": event.kind, "message": event.message, **event.detail}
