"""Observed state: what is on disk for one app, stage by stage."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from reconciler.engine.desired import DesiredApp
from reconciler.engine.drifting import hold_nothing
from reconciler.host.observing import Observer
from reconciler.model.manifest import DriftPolicy
from reconciler.model.plan import AppPlan, StagePlanning, drop_stages, plan_app
from reconciler.model.stage import AppliedApp, Difference, StageName
from reconciler.stages import STAGES


def plan_of(
    app: DesiredApp,
    applied: AppliedApp,
    observer: Observer,
    *,
    forced: bool = False,
    drift: DriftPolicy | None = None,
    held: Callable[[StageName, Difference], bool] = hold_nothing,
) -> AppPlan:
    """Look at every stage of an app, and plan what has to change; ``drift`` takes the place of ``spec.drift``.

    Differences that are ``held`` are left as they are.
    """
    planning = []
    for stage in STAGES:
        desired = app.stages_by_name.get(stage.name)
        if desired is None:
            continue
        before = applied.get(stage.name)
        planning.append(StagePlanning(desired, before, stage.observe(app.name, before, desired, observer)))
    plan = plan_app(app.name, planning, drift=drift or app.manifest.spec.drift, forced=forced, held=held)
    dropped = tuple(known for name, known in applied.items() if name not in app.stages_by_name)
    return replace(plan, changes=(*drop_stages(dropped), *plan.changes)) if dropped else plan
