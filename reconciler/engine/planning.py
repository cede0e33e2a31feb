"""Plan every app of this host, and gate it: suspended, quarantined and refused work is told, not done."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from reconciler.engine.desired import Desired, DesiredApp
from reconciler.engine.drifting import Drifting, held_note, hold_nothing
from reconciler.engine.hooks import crosses
from reconciler.engine.observing import plan_of
from reconciler.engine.ordering import hold_back
from reconciler.engine.pruning import refusal, removable
from reconciler.engine.recording import as_reconciler_error, quarantine_key
from reconciler.engine.results import AppResult
from reconciler.engine.standing import Basis, Standing
from reconciler.host import reporting
from reconciler.host.app_commands import shown_command
from reconciler.host.journal import AppRecord, HookRecord, Journal, SuspensionRecord
from reconciler.host.observing import Observer
from reconciler.model.configuration import Prune
from reconciler.model.errors import ReconcilerError, StageFailed, UsageError
from reconciler.model.manifest import DriftPolicy
from reconciler.model.plan import AppPlan, Outcome, plan_removal
from reconciler.model.stage import AppliedApps, Difference, StageName, release_of
from reconciler.stages.packages import packages_of

SUSPENDED_BY_MANIFEST = "spec.suspend is true"


@dataclass(frozen=True, slots=True)
class Planning:
    """What is known when a pass begins to plan.

    ``irreversible`` has the last irreversible hook of apps with one, ``suspensions`` those by operators. Where
    something is ``standing``, only the other apps are looked at, which are ``looked_at`` then; ``marks`` say how
    often each app was worked on before.
    """

    desired: Desired
    applied: AppliedApps
    records: Mapping[str, AppRecord]
    observer: Observer
    prune: Prune
    journal: Journal
    irreversible: Mapping[str, HookRecord] = field(default_factory=dict)
    suspensions: Mapping[str, SuspensionRecord] = field(default_factory=dict)
    drifting: Drifting | None = None
    standing: Standing | None = None
    marks: Mapping[str, int] = field(default_factory=dict)
    looked_at: set[str] = field(default_factory=set)

    def plan(self, only: str | None, *, alone: bool = False) -> list[AppResult]:
        """The result of every app as planned, in the order of names; ``only`` leaves the others out.

        With ``alone`` the others are not changed either, so that ``only`` waits for those that it depends on.
        """
        gone = removable(self.applied, self.desired.apps, self.desired.held)
        if only is not None and only not in {*self.desired.apps, *self.desired.held, *gone}:
            known = ", ".join(sorted({*self.desired.apps, *self.desired.held})) or "none"
            raise UsageError(f"there is no app {only} on this host", hint=f"the apps are: {known}")
        results = self._planned()
        results += [AppResult(app, Outcome.FAILED, AppPlan(app), error=e) for app, e in self.desired.held.items()]
        results += self._removals(gone)
        self.looked_at.update(self.desired.held, gone)
        dependencies = {name: app.manifest.spec.depends_on for name, app in self.desired.apps.items()}
        results = hold_back(results, dependencies, alone=only if alone else None)
        for result in results:
            if self.standing is None or result.app in self.looked_at:
                reporting.debug("app_planned", **_told(result))
        return sorted((r for r in results if only in (None, r.app)), key=lambda result: result.app)

    def _planned(self) -> list[AppResult]:
        """Every app that git asks for: as it was found before, where that stands."""
        if self.standing is None:
            return [self.plan_app(app) for app in self.desired.apps.values()]
        results: list[AppResult] = []
        planned: dict[str, tuple[Basis, AppResult]] = {}
        for name, app in self.desired.apps.items():
            basis = self._basis(name, app)
            result = self.standing.result(name, app.commit, basis)
            if result is None:
                result = self.plan_app(app)
                planned[name] = basis, result
            results.append(result)
        self.looked_at.update(planned)
        self.standing.remember(planned)
        # no file event tells of a package
        self.standing.forget(name for name, app in self.desired.apps.items() if packages_of(app.facts))
        self.standing.keep_only(self.desired.apps)
        return results

    def _basis(self, name: str, app: DesiredApp) -> Basis:
        return (
            self.marks.get(name, 0), app.stages, app.manifest, self.applied.get(name), self.records.get(name),
            self.irreversible.get(name), self.suspensions.get(name),
        )  # fmt: skip

    def plan_app(self, app: DesiredApp) -> AppResult:
        """One app that git asks for."""
        applied = self.applied.get(app.name, {})
        record = self.records.get(app.name)
        result = AppResult(app.name, Outcome.UNCHANGED, AppPlan(app.name), app.commit, app.release)
        try:
            plan = plan_of(app, applied, self.observer, drift=self._healing(app), held=self._held(app))
        except (ReconcilerError, OSError) as error:
            return result.failed(as_reconciler_error(error))
        result = replace(result, plan=plan)
        if (why := suspended(app, self.suspensions)) is not None:
            return replace(result, outcome=Outcome.SUSPENDED, note=why)
        if not plan.needed:
            return replace(result, note=held_note(plan))
        if record is not None and record.quarantined_key == quarantine_key(app):
            before = StageFailed(
                record.quarantined_error or "it failed before",
                hint=f"commit a correction, or run `reconciler retry {app.name}`",
            )
            return replace(result, outcome=Outcome.QUARANTINED, error=before)
        return replace(result, outcome=Outcome.CHANGED, note=self._note(app, plan))

    def _held(self, app: DesiredApp) -> Callable[[StageName, Difference], bool]:
        """Which drift is not healed for a while, because it came back too often."""
        if self.drifting is None:
            return hold_nothing
        return self.drifting.holding(app.name, lambda: quarantine_key(app))

    def _healing(self, app: DesiredApp) -> DriftPolicy | None:
        """Drift that the reconciler made itself is put right whatever the policy: a release that it left in place."""
        vassal = self.applied.get(app.name, {}).get(StageName.VASSAL)
        hook = self.irreversible.get(app.name)
        if vassal is None or hook is None:
            return None
        return DriftPolicy.HEAL if crosses(self.journal, app.name, release_of(vassal.digest), hook) else None

    def _note(self, app: DesiredApp, plan: AppPlan) -> str | None:
        """What a person should know: of held drift, or who asks for a release from before an irreversible hook."""
        hook = self.irreversible.get(app.name)
        if hook is None or not plan.change(StageName.VASSAL).needed:
            return held_note(plan)
        tried = self.journal.attempted(app.name, app.release) is not None
        if not tried or not crosses(self.journal, app.name, app.release, hook):
            return held_note(plan)
        return (
            f"goes back to before the irreversible hook `{shown_command(hook.command)}` of release {hook.release}: "
            "what it did stays"
        )

    def _removals(self, gone: list[str]) -> list[AppResult]:
        why_not = refusal(gone, len(self.applied), self.prune, unreadable=self.desired.unreadable)
        results = []
        for app in gone:
            result = AppResult(app, Outcome.CHANGED, plan_removal(app, self.applied[app]))
            if why_not is not None:
                result = replace(result, outcome=Outcome.WAITING, plan=AppPlan(app), note=why_not)
            if (suspension := self.suspensions.get(app)) is not None:
                result = replace(result, outcome=Outcome.SUSPENDED, note=suspension.sentence)
            results.append(result)
        return results


def _told(result: AppResult) -> dict[str, object]:
    reasons = {
        change.stage.value: [reason.value for reason in change.reasons]
        for change in result.plan.changes
        if change.needed
    }
    known = {"release": result.release, "reasons": reasons, "note": result.note}
    told = {name: value for name, value in known.items() if value}
    return {"app": result.app, "outcome": result.outcome.value, **told}


def suspended(app: DesiredApp, suspensions: Mapping[str, SuspensionRecord]) -> str | None:
    """Why an app is left as it is although git may ask for something else; ``None`` when it is not suspended."""
    by_operator = suspensions.get(app.name)
    reasons = [SUSPENDED_BY_MANIFEST] if app.manifest.spec.suspend else []
    reasons += [by_operator.sentence] if by_operator is not None else []
    return "; ".join(reasons) or None
