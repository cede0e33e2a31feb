"""The plan: what has to change and why, from desired, applied and observed state. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum

from reconciler.model.diffs import unified
from reconciler.model.manifest import DriftPolicy
from reconciler.model.object_ids import is_whole, short
from reconciler.model.stage import (
    OUTPUT_DIGITS,
    SECRET_PREFIX,
    STORED,
    Action,
    AppliedApp,
    AppliedStage,
    DesiredStage,
    Difference,
    DifferenceKind,
    Observation,
    Reason,
    StageName,
    release_of,
)

NOTHING_SEEN = Observation(output_exists=False)
DETAILS = 20
"""How many differences of one stage a plan lists."""
DROPPED = {
    StageName.PACKAGES: "no system package is asked for any more; those that are installed stay",
    StageName.INTERPRETER: "an interpreter of the host is asked for; this one goes with the last release on it",
}
"""What is said of an optional stage that git asks for no more."""


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
    """What happens to one stage, with its reasons; ``detail`` has one line per changed input.

    ``diff`` leads from what is there to what will be written; ``heals`` is the drift that ends with it.
    """

    stage: StageName
    action: Action
    reasons: tuple[Reason, ...] = ()
    detail: tuple[str, ...] = ()
    digest: str = ""
    diff: str = ""
    heals: tuple[Difference, ...] = ()

    @property
    def needed(self) -> bool:
        """Whether the stage has work to do."""
        return self.action is not Action.NONE


@dataclass(frozen=True, slots=True)
class AppPlan:
    """All changes of one app, in the order of the stages.

    ``drift`` is all that differs from what was applied, whatever is done about it; ``held`` is the part of it that
    is not put right now, because it came back too often.
    """

    app: str
    changes: tuple[Change, ...] = ()
    drift: tuple[tuple[StageName, Difference], ...] = ()
    held: tuple[tuple[StageName, Difference], ...] = ()

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
    held: Callable[[StageName, Difference], bool] = lambda _stage, _difference: False,
) -> AppPlan:
    """The changes that bring one app from what is there to what git asks for; ``held`` drift is left as it is."""
    stages = list(stages)
    seen = [(stage.desired.stage, difference) for stage in stages for difference in stage.observed.differences]
    left = [(stage, difference) for stage, difference in seen if held(stage, difference)] if seen else []
    if left:
        stages = [_without(stage, [difference for name, difference in left if name is stage.desired.stage])
                  for stage in stages]  # fmt: skip
    changes = _reloaded([_plan_stage(stage, drift, forced) for stage in stages])
    return AppPlan(app, tuple(changes), tuple(seen), tuple(left))


def _without(stage: StagePlanning, held: list[Difference]) -> StagePlanning:
    """The same stage as if nobody had seen what is held."""
    kept = tuple(difference for difference in stage.observed.differences if difference not in held)
    missing = any(difference.kind is DifferenceKind.MISSING for difference in kept)
    exists = stage.observed.output_exists or (bool(held) and not missing)
    return replace(stage, observed=Observation(exists, kept))


def _reloaded(changes: list[Change]) -> list[Change]:
    """Where code or environment of a running release are made anew, its processes have to load them."""
    restored = [
        change.stage.value for change in changes
        if change.stage in (StageName.SOURCE, StageName.INTERPRETER, StageName.BUILD) and change.needed
        and not {Reason.DRIFTED, Reason.OUTPUT_MISSING}.isdisjoint(change.reasons)
    ]  # fmt: skip
    if not restored:
        return changes
    detail = f"{' and '.join(restored)}: put back, so that its processes are reloaded"
    return [
        replace(change, action=Action.UPDATE, reasons=(Reason.DRIFTED,), detail=(detail,))
        if change.stage is StageName.VASSAL and not change.needed else change
        for change in changes
    ]  # fmt: skip


def plan_removal(app: str, applied: AppliedApp) -> AppPlan:
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


def drop_stages(applied: Iterable[AppliedStage]) -> Iterator[Change]:
    """What becomes of stages that git asks for no more: their outputs stay as long as something else needs them."""
    for stage in applied:
        yield Change(stage.stage, Action.DELETE, (Reason.REMOVED,), (DROPPED[stage.stage],), stage.digest)


def _plan_stage(stage: StagePlanning, drift: DriftPolicy, forced: bool) -> Change:
    desired, applied, observed = stage.desired, stage.applied, stage.observed
    name = desired.stage
    reasons, detail = _input_reasons(desired, applied)
    if name in STORED:
        return _plan_stored(stage, drift, reasons, detail, forced)
    drifted: list[Difference] = []
    if applied is not None and drift is DriftPolicy.HEAL:
        drifted = [difference for difference in observed.differences if not difference.byproduct]
        if drifted:
            reasons.append(Reason.DRIFTED)
            detail.extend(_drift_detail(drifted))
    if applied is not None and not observed.output_exists and drift is not DriftPolicy.IGNORE and not reasons:
        reasons.append(Reason.OUTPUT_MISSING)
    if forced and not reasons:
        reasons.append(Reason.FORCED)
    if name is StageName.PACKAGES and observed.output_exists and not drifted and not forced:
        return Change(name, Action.NONE, (), (*detail, "installed already") if reasons else (), desired.digest)
    if not reasons:
        return Change(name, Action.NONE, digest=desired.digest)
    detail.extend(observed.detail)
    diff = _release_diff(applied, desired) if applied is not None else _text_diff({}, desired.files)
    if Reason.DRIFTED in reasons:
        diff = "\n".join(part for part in (_undo(drifted), diff) if part)
    action = Action.CREATE if applied is None else Action.UPDATE
    return Change(name, action, tuple(reasons), tuple(detail), desired.digest, diff, tuple(drifted))


def _drift_detail(drifted: list[Difference]) -> Iterable[str]:
    yield from (f"{difference.path}: {difference.kind}" for difference in drifted[:DETAILS])
    if len(drifted) > DETAILS:
        yield f"and {len(drifted) - DETAILS} more"


def _undo(drifted: list[Difference]) -> str:
    """What putting things right will write."""
    return "\n".join(difference.undo or difference.diff for difference in drifted[:DETAILS])


def _plan_stored(
    stage: StagePlanning, drift: DriftPolicy, reasons: list[Reason], detail: list[str], forced: bool
) -> Change:
    """An output of the store is made when it is not there, and made anew when it is damaged."""
    desired, observed = stage.desired, stage.observed
    drifted = [difference for difference in observed.differences if not difference.byproduct]
    if observed.output_exists and drifted and drift is DriftPolicy.HEAL and not reasons:
        lines = tuple(_drift_detail(drifted))
        return Change(desired.stage, Action.UPDATE, (Reason.DRIFTED,), lines, desired.digest, _undo(drifted),
                      tuple(drifted))  # fmt: skip
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
    if is_whole(value):
        return short(value)
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
