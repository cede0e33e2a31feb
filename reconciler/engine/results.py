"""What a pass found and did, as values and as the JSON that scripts read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from reconciler.engine.drifting import DriftNews
from reconciler.model.errors import ReconcilerError
from reconciler.model.plan import AppPlan, Change, Outcome
from reconciler.model.stage import Action, StageName


@dataclass(frozen=True, slots=True)
class AppResult:
    """One app's part of a pass; ``seconds`` has the time of every stage that ran."""

    app: str
    outcome: Outcome
    plan: AppPlan = field(default_factory=lambda: AppPlan(""))
    revision: str | None = None
    release: str | None = None
    error: ReconcilerError | None = None
    note: str | None = None
    seconds: Mapping[StageName, float] = field(default_factory=dict)
    total_seconds: float = 0.0

    def failed(self, error: ReconcilerError) -> AppResult:
        """The same app, with an error."""
        return replace(self, outcome=Outcome.FAILED, error=error)

    def as_json(self, *, with_diff: bool) -> dict[str, object]:
        """The object that ``once --json`` and ``plan --json`` print for an app."""
        return {
            "app": self.app,
            "outcome": self.outcome.value,
            "revision": self.revision,
            "release": self.release,
            "error": None if self.error is None else self.error.with_hint,
            "note": self.note,
            "stages": [self._stage(change, with_diff=with_diff) for change in self.plan.changes],
        }

    def _stage(self, change: Change, *, with_diff: bool) -> dict[str, object]:
        result: dict[str, object] = {
            "stage": change.stage.value,
            "action": change.action.value,
            "reasons": [reason.value for reason in change.reasons],
            "detail": list(change.detail),
            "digest": change.digest,
            "seconds": round(self.seconds.get(change.stage, 0.0), 3),
        }
        if with_diff and change.diff:
            result["diff"] = change.diff
        return result


@dataclass(frozen=True, slots=True)
class PassResult:
    """One pass over all apps of this host.

    ``problems`` are sentences about the config repository and the host as a whole, ``notes`` those that are worth
    telling and no problem. ``drift`` is what was found for the first time, or is worth a reminder.
    """

    revision: str
    apps: tuple[AppResult, ...]
    problems: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    error: ReconcilerError | None = None
    seconds: float = 0.0
    drift: tuple[DriftNews, ...] = ()

    @property
    def outcomes(self) -> Mapping[str, int]:
        """How many apps had which outcome."""
        return dict(Counter(app.outcome.value for app in self.apps))

    @property
    def failed(self) -> bool:
        """Whether anything is not as git asks for."""
        bad = {Outcome.FAILED, Outcome.QUARANTINED}
        return self.error is not None or bool(self.problems) or any(app.outcome in bad for app in self.apps)

    @property
    def changes(self) -> Counter[Action]:
        """How many stages are made, changed and removed."""
        return Counter(change.action for app in self.apps for change in app.plan.changes if change.needed)

    def as_json(self, *, with_diff: bool = False) -> dict[str, object]:
        """The object that ``once --json`` and ``plan --json`` print."""
        return {
            "revision": self.revision,
            "apps": [app.as_json(with_diff=with_diff) for app in self.apps],
            "problems": list(self.problems),
            "notes": list(self.notes),
            "drift": [{"app": news.app, **news.detail} for news in self.drift],
            "error": None if self.error is None else str(self.error),
            "seconds": round(self.seconds, 3),
        }


def followed_by(first: PassResult, second: PassResult) -> PassResult:
    """Two passes in a row as one: an app that the first one changed is told of as that did it, unless it failed."""
    before, fine = {app.app: app for app in first.apps}, {Outcome.UNCHANGED, Outcome.CHANGED}
    apps = tuple(
        before[app.app]
        if app.outcome in fine and app.app in before and before[app.app].outcome is Outcome.CHANGED
        else app
        for app in second.apps
    )
    return replace(
        second,
        apps=apps or first.apps,
        notes=(*first.notes, *second.notes),
        drift=(*first.drift, *second.drift),
        seconds=first.seconds + second.seconds,
    )
