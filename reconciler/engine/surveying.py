"""Surveying: what a pass looks at for drift, and what becomes of it.

Site files, vassals and links are looked at with every plan of an app, which costs a stat each. The content of the
store is looked at when the clock or a person asks; a pass that a file event asked for looks at what the event named.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from reconciler.engine.drift import extra_files, served_outputs, stray_outputs
from reconciler.engine.drifting import Drifting, DriftNews, Seen
from reconciler.engine.recording import quarantine_key
from reconciler.host.contents import Output, output_of
from reconciler.host.observing import Observer
from reconciler.host.touched import Touched
from reconciler.model.manifest import DriftPolicy
from reconciler.model.plan import AppPlan, Outcome
from reconciler.model.stage import STORED, AppliedApp, AppliedApps, StageName, release_of
from reconciler.model.trigger import Trigger, triggers_of
from reconciler.stages import STAGES
from reconciler.stages.app_folder import ENVIRONMENT, TREE

if TYPE_CHECKING:
    from reconciler.engine.desired import Desired, DesiredApp
    from reconciler.engine.results import AppResult

WITH_SCAN = frozenset({Trigger.DRIFT, Trigger.SYNC})
"""Passes for these reasons look at the content of the store, and so does the first one of a process."""
RESTING = frozenset({Outcome.SUSPENDED, Outcome.WAITING, Outcome.QUARANTINED})
Busy = Callable[[], frozenset[str]]
"""Says which apps are being changed, or were since the look began."""


Forget = Callable[[Iterable[str] | None], None]
"""Hears of which apps nothing is known any more, or (``None``) that of none anything is."""


@dataclass(frozen=True, slots=True)
class Place:
    """A folder in which a change is worth a look at once, alone or with all folders in it."""

    path: Path
    recursive: bool = False


@dataclass(slots=True)
class _Known:
    """What the last pass that read git knew of an app."""

    policy: DriftPolicy
    key: str
    rests: bool


def nobody() -> frozenset[str]:
    """No app is being changed."""
    return frozenset()


def forget_nothing(_apps: Iterable[str] | None) -> None:
    """Nothing is remembered."""


def hear_nothing(_news: DriftNews) -> None:
    """Nobody listens."""


@dataclass(slots=True)
class Surveying:
    """Finds drift and tells it; ``listener`` hears every news at once, in the thread of the pass."""

    observer: Observer
    drifting: Drifting
    listener: Callable[[DriftNews], None] = hear_nothing
    touched: Touched = field(default_factory=Touched)
    _apps: dict[str, _Known] = field(default_factory=dict)
    _scanned: bool = False
    _fresh: bool = True
    _places: dict[str, tuple[object, list[Place]]] = field(default_factory=dict)
    _followed: tuple[AppliedApps, list[Place]] | None = None
    _outputs: tuple[AppliedApps, Mapping[Output, str]] | None = None

    def begin(
        self, trigger: str, applied: AppliedApps, busy: Busy = nobody, forget: Forget = forget_nothing
    ) -> tuple[DriftNews, ...]:
        """Look at the store as far as ``trigger`` asks for it; tell at once what file events led to.

        Apps that are ``busy`` are being changed: what is seen of them is no drift. Which apps the events were about,
        or that they were about anything (``None``), is told to ``forget``.
        """
        paths, everything = self.touched.take()
        self._scanned = everything or self._fresh or not WITH_SCAN.isdisjoint(triggers_of(trigger))
        self._fresh = False
        if self._scanned:
            forget(None)
            self.scan(applied)
            if Trigger.DRIFT in triggers_of(trigger):
                self.observer.contents.save()
        elif paths:
            apps, whose = self._apps_of(paths, applied)
            forget(apps if whose else None)
            return self._look_at(apps, applied, busy)
        return ()

    def scan(self, applied: AppliedApps) -> None:
        """Look at every file of the outputs that serve."""
        self.observer.contents.scan(self._served(applied))

    def note(
        self,
        planned: Iterable[AppResult],
        desired: Desired,
        applied: AppliedApps,
        busy: Busy = nobody,
        looked_at: Collection[str] | None = None,
    ) -> tuple[DriftNews, ...]:
        """Take up what planning saw of the apps that were ``looked_at`` (``None``: of all).

        Files of nobody's are looked for where the store was looked at too.
        """
        news: list[DriftNews] = []
        changing = busy()
        for result in planned if looked_at is None else [one for one in planned if one.app in looked_at]:
            app = desired.apps.get(result.app)
            if app is not None and app.name not in changing:
                news += self._note_app(app, result)
        if self._scanned and not changing:
            news += self._note_strangers(applied)
        return self._tell(news)

    def is_known(self, path: Path) -> bool:
        """Whether a path was found to differ already, so that another event of it is no news."""
        return self.observer.contents.knows(path)

    def healed(self, app: DesiredApp, plan: AppPlan) -> None:
        """Count what was put right and verified."""
        if any(change.heals for change in plan.changes):
            self._tell(self.drifting.healed(app.name, plan, quarantine_key(app)))

    def places(self, applied: AppliedApps) -> list[Place]:
        """The folders of the live releases that are worth a watch.

        Of an environment only the folders from which Python starts: it has thousands, and a watch costs the kernel a
        kilobyte. The rest of it is looked at by scans.
        """
        if self._followed is not None and self._followed[0] is applied:
            return self._followed[1]
        known, self._places = self._places, {}
        found: list[Place] = []
        for app, stages in sorted(applied.items()):
            before = known.get(app)
            places = before[1] if before is not None and before[0] is stages else self._places_of(app, stages)
            self._places[app] = stages, places
            found += places
        self._followed = applied, found
        return found

    def _places_of(self, app: str, stages: AppliedApp) -> list[Place]:
        layout = self.observer.layout
        digests = {name: stage.digest for name, stage in stages.items()}
        found: list[Place] = []
        if StageName.VASSAL in digests:
            found.append(Place(layout.release(app, release_of(digests[StageName.VASSAL]))))
        found += [
            Place(layout.output(name, digests[name]), recursive=True)
            for name in (StageName.SOURCE, StageName.STATIC)
            if name in digests
        ]
        if StageName.BUILD in digests:
            build = layout.output(StageName.BUILD, digests[StageName.BUILD])
            environment = build / ENVIRONMENT
            starts = (environment, environment / "bin", *environment.glob("lib/python*/site-packages"))
            found += [*map(Place, starts), Place(build / TREE, recursive=True)]
        return found

    def _note_app(self, app: DesiredApp, result: AppResult) -> tuple[DriftNews, ...]:
        plan = result.plan
        if not plan.drift and not self.drifting.knows(app.name):
            self._apps[app.name] = _Known(app.manifest.spec.drift, "", result.outcome in RESTING)
            return ()
        key = quarantine_key(app)
        known = _Known(app.manifest.spec.drift, key, result.outcome in RESTING)
        self._apps[app.name] = known
        return self.drifting.note(app.name, plan.drift, plan.held, known.policy, key, rests=known.rests)

    def _note_strangers(self, applied: AppliedApps) -> list[DriftNews]:
        """Files of apps that were never applied: nobody heals them."""
        layout = self.observer.layout
        found: dict[str, list[Seen]] = {}
        for drift in (*extra_files(layout, applied), *stray_outputs(layout, self.drifting.journal)):
            found.setdefault(drift.app, []).append((drift.stage, drift.difference))
        strangers = {*found, *(app for app in self.drifting.apps if app not in applied)}
        news: list[DriftNews] = []
        for app in sorted(strangers):
            news += self.drifting.note(app, found.get(app, ()), (), DriftPolicy.REPORT, "", rests=True)
        return news

    def _look_at(self, apps: Iterable[str], applied: AppliedApps, busy: Busy) -> tuple[DriftNews, ...]:
        """Tell of what file events named before git is asked for anything, which may take long."""
        news: list[DriftNews] = []
        for app in apps:
            known = self._apps.get(app)
            if known is None or app not in applied:
                continue
            stages = applied[app]
            seen = [
                (stage.name, difference)
                for stage in STAGES
                if stage.name in stages
                for difference in stage.observe(
                    app, stages[stage.name], stages[stage.name], self.observer
                ).differences
            ]
            if app in busy():
                continue
            held = self.drifting.holding(app, lambda known=known: known.key)  # type: ignore[misc]
            left = [(stage, difference) for stage, difference in seen if held(stage, difference)]
            if seen:
                news += self.drifting.note(app, seen, left, known.policy, known.key, rests=known.rests)
        return self._tell(news)

    def _apps_of(self, paths: Iterable[Path], applied: AppliedApps) -> tuple[list[str], bool]:
        """The apps that paths belong to, and whether it is known of each path whose it is."""
        layout = self.observer.layout
        outputs = self.observer.contents.touched(paths, self._served(applied))
        found: set[str] = set()
        whose = True
        for path in paths:
            if path.parent == layout.sites:
                found.add(path.name.removesuffix(".conf"))
            elif path.parent in (layout.vassals, layout.public):
                found.add(path.name.partition(".")[0])
            elif path.is_relative_to(layout.releases) and path != layout.releases:
                found.add(path.relative_to(layout.releases).parts[0])
            elif not path.is_relative_to(layout.store) or path == layout.store:
                # of the store, what no release serves from is nobody's any more
                whose = False
        if outputs:
            found.update(
                app
                for app, stages in applied.items()
                if any(output_of(name, stage.digest) in outputs for name, stage in stages.items() if name in STORED)
            )
        return sorted(found), whose

    def _served(self, applied: AppliedApps) -> Mapping[Output, str]:
        if self._outputs is None or self._outputs[0] is not applied:
            self._outputs = applied, served_outputs(applied)
        return self._outputs[1]

    def _tell(self, news: Iterable[DriftNews]) -> tuple[DriftNews, ...]:
        told = tuple(news)
        for one in told:
            self.listener(one)
        return told
