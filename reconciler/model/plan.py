"""The plan: what has to change and why, from desired, applied and observed state. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from reconciler.model.diffs import unified
from reconciler.model.manifest import DriftPolicy
from reconciler.model.stage import (
    OUTPUT_DIGITS,
    SECRET_PREFIX,
    STORED,
    Action,
    AppliedStage,
    DesiredStage,
    Observation,
    Reason,
    StageName,
    release_of,
)

NOTHING_SEEN = Observation(output_exists=False)
SHORT_DIGITS = 7


class Outcome(StrEnum):
    """How a pass ended for one app."""

    UNCHANGED = "unchanged"
    CHANGED = "changed"
    FAILED = "failed"
    SUSPENDED = "suspended"
    WAITING = "waiting"
    QUARANTINED = "quarantined"


@dataclass(frozen=True, slots=True)
class Change:
    """What happens to one stage, with its reasons; ``detail`` has one line per changed input."""

    stage: StageName
    action: Action
    reasons: tuple[Reason, ...] = ()
    detail: tuple[str, ...] = ()
    digest: str = ""
    diff: str = ""

    @property
    def needed(self) -> bool:
        """Whether the stage has work to do."""
        return self.action is not Action.NONE


@dataclass(frozen=True, slots=True)
class AppPlan:
    """All changes of one app, in the order of the stages."""

    app: str
    changes: tuple[Change, ...] = ()

    @property
    def needed(self) -> bool:
        """Whether anything has to be done."""
        return any(change.needed for change in self.changes)

    def change(self, stage: StageName) -> Change:
        """The change of one stage."""
        return next((change for change in self.changes if change.stage is stage), Change(stage, Action.NONE))


@dataclass(frozen=True, slots=True)
class StagePlanning:
    """All that the planner knows about one stage of one app."""

    desired: DesiredStage
    applied: AppliedStage | None = None
    observed: Observation = field(default_factory=lambda: NOTHING_SEEN)


def plan_app(
    app: str,
    stages: Iterable[StagePlanning],
    *,
    drift: DriftPolicy = DriftPolicy.HEAL,
    forced: bool = False,
) -> AppPlan:
    """The changes that bring one app from what is there to what git asks for."""
    return AppPlan(app, tuple(_plan_stage(stage, drift, forced) for stage in stages))


def plan_removal(app: str, applied: Mapping[StageName, AppliedStage]) -> AppPlan:
    """The changes that take an app off this host after its manifest is gone."""
    return AppPlan(
        app,
        tuple(
            Change(
                stage,
                Action.DELETE,
                (Reason.REMOVED,),
                ("its manifest is gone",),
                applied[stage].digest,
                _text_diff(applied[stage].files, {}),
            )
            for stage in (StageName.NGINX, StageName.VASSAL)
            if stage in applied
        ),
    )


def _plan_stage(stage: StagePlanning, drift: DriftPolicy, forced: bool) -> Change:
    desired, applied, observed = stage.desired, stage.applied, stage.observed
    name = desired.stage
    reasons, detail = _input_reasons(desired, applied)
    if name in STORED:
        return _plan_stored(desired, observed, reasons, detail, forced)
    if applied is not None and drift is DriftPolicy.HEAL:
        drifted = list(observed.differences)
        if drifted:
            reasons.append(Reason.DRIFTED)
            detail.extend(f"{difference.path}: {difference.kind}" for difference in drifted)
    if applied is not None and not observed.output_exists and drift is not DriftPolicy.IGNORE and not reasons:
        reasons.append(Reason.OUTPUT_MISSING)
    if forced and not reasons:
        reasons.append(Reason.FORCED)
    if not reasons:
        return Change(name, Action.NONE, digest=desired.digest)
    diff = _release_diff(applied, desired) if applied is not None else _text_diff({}, desired.files)
    if Reason.DRIFTED in reasons:
        healing = "\n".join(difference.diff for difference in observed.differences if difference.diff)
        diff = "\n".join(part for part in (healing, diff) if part)
    action = Action.CREATE if applied is None else Action.UPDATE
    return Change(name, action, tuple(reasons), tuple(detail), desired.digest, diff)


def _plan_stored(
    desired: DesiredStage, observed: Observation, reasons: list[Reason], detail: list[str], forced: bool
) -> Change:
    """An output of the store is made when it is not there; one that is there is used as it is."""
    if observed.output_exists and not forced:
        kept = (*detail, "in the store already") if reasons else ()
        return Change(desired.stage, Action.NONE, (), kept, desired.digest)
    if not reasons:
        reasons = [Reason.FORCED if observed.output_exists else Reason.OUTPUT_MISSING]
    action = Action.CREATE if Reason.NEVER_APPLIED in reasons else Action.UPDATE
    return Change(desired.stage, action, tuple(reasons), tuple(detail), desired.digest)


def _input_reasons(desired: DesiredStage, applied: AppliedStage | None) -> tuple[list[Reason], list[str]]:
    if applied is None:
        return [Reason.NEVER_APPLIED], []
    if applied.key == desired.inputs.key:
        return [], []
    reasons: list[Reason] = []
    detail = list(_changed(applied.notes, desired.inputs.notes, only_known=True))
    own = list(_changed(applied.declared, desired.inputs.declared))
    above = [
        f"{name}: {_short(applied.upstream.get(name, ''))} -> {_short(desired.inputs.upstream.get(name, ''))}"
        for name in sorted({*applied.upstream, *desired.inputs.upstream})
        if applied.upstream.get(name, "") != desired.inputs.upstream.get(name, "")
    ]
    if own:
        reasons.append(Reason.INPUT_CHANGED)
    if above:
        reasons.append(Reason.UPSTREAM_CHANGED)
    return reasons or [Reason.INPUT_CHANGED], [*detail, *own, *above]


def _changed(old: Mapping[str, str], new: Mapping[str, str], *, only_known: bool = False) -> Iterable[str]:
    for name in sorted({*old, *new}):
        before, after = old.get(name, ""), new.get(name, "")
        if before == after or (only_known and not (before and after)):
            continue
        if name.startswith(SECRET_PREFIX):
            yield f"{name} {'changed' if before and after else 'added' if after else 'removed'}"
            continue
        yield f"{name}: {_short(before) or '(none)'} -> {_short(after) or '(none)'}"


def _short(value: str) -> str:
    """Object ids and digests by their first digits, as git shows them; other values as they are."""
    if len(value) in (40, 64) and all(character in "0123456789abcdef" for character in value):
        return value[:SHORT_DIGITS]
    return value if len(value) <= 120 else f"{value[:117]}..."


def _release_diff(applied: AppliedStage, desired: DesiredStage) -> str:
    """What a reviewer has to know: names that change with every release stand as ``<release>`` and ``<source>``."""
    old = {name: _neutral(text, applied.digest, applied.upstream) for name, text in applied.files.items()}
    new = {name: _neutral(text, desired.digest, desired.inputs.upstream) for name, text in desired.files.items()}
    return _text_diff(old, new)


def _neutral(text: str, digest: str, upstream: Mapping[StageName, str]) -> str:
    if not upstream:
        return text
    text = text.replace(release_of(digest), "<release>")
    for stage, above in upstream.items():
        text = text.replace(above[:OUTPUT_DIGITS], f"<{stage}>")
    return text


def _text_diff(old: Mapping[str, str], new: Mapping[str, str]) -> str:
    parts = [unified(old.get(name, ""), new.get(name, ""), name) for name in sorted({*old, *new})]
    return "\n".join(part for part in parts if part)
