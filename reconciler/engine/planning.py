"""Plan every app of this host, and gate it: suspended, quarantined and refused work is told, not done."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from reconciler.engine.desired import DesiredApp
from reconciler.engine.observing import plan_of
from reconciler.engine.pruning import refusal, removable
from reconciler.engine.recording import as_reconciler_error, quarantine_key
from reconciler.engine.results import AppResult
from reconciler.host.journal import AppRecord
from reconciler.host.observing import Observer
from reconciler.model.configuration import Prune
from reconciler.model.errors import ReconcilerError, StageFailed, UsageError
from reconciler.model.plan import AppPlan, Outcome, plan_removal
from reconciler.model.stage import AppliedStage, StageName

if TYPE_CHECKING:
    from reconciler.engine.reading import Desired

AppliedApps = dict[str, dict[StageName, AppliedStage]]


@dataclass(frozen=True, slots=True)
class Planning:
    """What is known when a pass begins to plan."""

    desired: Desired
    applied: AppliedApps
    records: Mapping[str, AppRecord]
    observer: Observer
    prune: Prune

    def plan(self, only: str | None) -> list[AppResult]:
        """The result of every app as planned, in the order of names; ``only`` leaves the others out."""
        gone = removable(self.applied, self.desired.apps, self.desired.held)
        if only is not None and only not in {*self.desired.apps, *self.desired.held, *gone}:
            known = ", ".join(sorted({*self.desired.apps, *self.desired.held})) or "none"
            raise UsageError(f"there is no app {only} on this host", hint=f"the apps are: {known}")
        results = [self._plan_app(app) for app in self.desired.apps.values()]
        results += [AppResult(app, Outcome.FAILED, AppPlan(app), error=e) for app, e in self.desired.held.items()]
        results += self._removals(gone)
        return sorted((r for r in results if only in (None, r.app)), key=lambda result: result.app)

    def _plan_app(self, app: DesiredApp) -> AppResult:
        applied = self.applied.get(app.name, {})
        record = self.records.get(app.name)
        result = AppResult(app.name, Outcome.UNCHANGED, AppPlan(app.name), app.commit, app.release)
        try:
            plan = plan_of(app, applied, self.observer)
        except (ReconcilerError, OSError) as error:
            return result.failed(as_reconciler_error(error))
        result = replace(result, plan=plan)
        if app.manifest.spec.suspend:
            return replace(result, outcome=Outcome.SUSPENDED, note="spec.suspend is true")
        if not plan.needed:
            return result
        if record is not None and record.quarantined_key == quarantine_key(app):
            before = StageFailed(
                record.quarantined_error or "it failed before",
                hint=f"commit a correction, or run `reconciler retry {app.name}`",
            )
            return replace(result, outcome=Outcome.QUARANTINED, error=before)
        return replace(result, outcome=Outcome.CHANGED)

    def _removals(self, gone: list[str]) -> list[AppResult]:
        why_not = refusal(gone, len(self.applied), self.prune, unreadable=self.desired.unreadable)
        results = []
        for app in gone:
            result = AppResult(app, Outcome.CHANGED, plan_removal(app, self.applied[app]))
            if why_not is not None:
                result = replace(result, outcome=Outcome.WAITING, plan=AppPlan(app), note=why_not)
            results.append(result)
        return results
