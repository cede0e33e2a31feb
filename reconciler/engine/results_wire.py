"""A pass's result on its way from the agent to a command: everything that ``once`` prints, and nothing more."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from reconciler.engine.results import AppResult, PassResult
from reconciler.model.errors import ReconcilerError, StageFailed
from reconciler.model.plan import AppPlan, Change, Outcome
from reconciler.model.stage import Action, Reason, StageName


def as_wire(result: PassResult) -> dict[str, object]:
    """As JSON."""
    return {
        "revision": result.revision,
        "apps": [_app_as_wire(app) for app in result.apps],
        "problems": list(result.problems),
        "notes": list(result.notes),
        "error": _error_as_wire(result.error),
        "seconds": result.seconds,
    }


def from_wire(data: Mapping[str, Any]) -> PassResult:
    """From JSON that :func:`as_wire` made; raises ``KeyError``, ``TypeError`` or ``ValueError`` for anything else."""
    return PassResult(
        data["revision"],
        tuple(_app_from_wire(app) for app in data["apps"]),
        tuple(data["problems"]),
        tuple(data["notes"]),
        _error_from_wire(data["error"]),
        data["seconds"],
    )


def _app_as_wire(app: AppResult) -> dict[str, object]:
    return {
        "app": app.app,
        "outcome": app.outcome.value,
        "revision": app.revision,
        "release": app.release,
        "error": _error_as_wire(app.error),
        "note": app.note,
        "changes": [
            {
                "stage": change.stage.value,
                "action": change.action.value,
                "reasons": [reason.value for reason in change.reasons],
                "detail": list(change.detail),
                "digest": change.digest,
            }
            for change in app.plan.changes
        ],
        "seconds": {stage.value: seconds for stage, seconds in app.seconds.items()},
        "total_seconds": app.total_seconds,
    }


def _app_from_wire(data: Mapping[str, Any]) -> AppResult:
    changes = tuple(
        Change(
            StageName(change["stage"]),
            Action(change["action"]),
            tuple(Reason(reason) for reason in change["reasons"]),
            tuple(change["detail"]),
            change["digest"],
        )
        for change in data["changes"]
    )
    return AppResult(
        data["app"],
        Outcome(data["outcome"]),
        AppPlan(data["app"], changes),
        data["revision"],
        data["release"],
        _error_from_wire(data["error"]),
        data["note"],
        {StageName(stage): seconds for stage, seconds in dict(data["seconds"]).items()},
        data["total_seconds"],
    )


def _error_as_wire(error: ReconcilerError | None) -> dict[str, object] | None:
    if error is None:
        return None
    return {"message": str(error), "hint": error.hint, "tail": getattr(error, "tail", "")}


def _error_from_wire(data: Mapping[str, Any] | None) -> ReconcilerError | None:
    return None if data is None else StageFailed(data["message"], hint=data["hint"], tail=data["tail"])
