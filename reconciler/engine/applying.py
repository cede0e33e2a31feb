"""Apply: bring one app from what serves to what git asks for, changed stages only, and back when that fails."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import NoReturn

from reconciler.engine.desired import DesiredApp
from reconciler.engine.hooks import Hooks
from reconciler.engine.progress import Progress
from reconciler.engine.recording import without_secrets
from reconciler.engine.restoring import Damage, set_aside, take_stock
from reconciler.engine.switching import Switch
from reconciler.host import reporting
from reconciler.host.contents import Contents
from reconciler.host.interruption import Interrupted, Superseded, TimeIsUp, stop_if_interrupted, to_the_end, within
from reconciler.host.journal import Journal, ReleaseState
from reconciler.host.old_assets import keep_assets
from reconciler.host.releases import public_release
from reconciler.host.services import Host
from reconciler.model.configuration import Limits
from reconciler.model.errors import CommandFailed, DiskError, HostError, OutOfTime, ReconcilerError, StageFailed
from reconciler.model.plan import AppPlan, Change
from reconciler.model.stage import STORED, Action, AppliedApp, DifferenceKind, StageName
from reconciler.stages import STAGES, Stage, Work
from reconciler.stages.vassal import vassal_of

HISTORY_READ = 5_000
"""How many verified attempts for one app are looked through."""
ENDED_BY = {Superseded: "given up for a newer commit", Interrupted: "interrupted"}
"""What is said of a stage that something else than an error ended."""


@dataclass(slots=True)
class Applying:
    """One app's way through its stages; ``seconds`` fills up as stages end, ``hooks`` come with the last of them."""

    host: Host
    journal: Journal
    progress: Progress
    app: DesiredApp
    plan: AppPlan
    applied: AppliedApp
    contents: Contents
    limits: Limits
    seconds: dict[StageName, float] = field(default_factory=dict)
    hooks: Hooks | None = None

    def apply(self, verified: Callable[[], None]) -> None:
        """Run the changed stages, prove the release, move traffic to it, and call ``verified``.

        Raises a :class:`ReconcilerError`; what served before serves on.
        """
        for stage in STAGES:
            stop_if_interrupted()
            change = self.plan.change(stage.name)
            if change.action is Action.DELETE:
                continue
            if stage.name is StageName.PACKAGES and change.needed:
                with self.timed(change):
                    self._run(stage)
            if stage.name in STORED and change.needed:
                with self.timed(change):
                    self._make(stage, change)
                    desired = self.app.stage(stage.name)
                    self.journal.record_output(stage.name, desired.inputs.key, desired.digest, time.time())
        nginx, vassal = self.plan.change(StageName.NGINX), self.plan.change(StageName.VASSAL)
        if nginx.needed:
            with self.timed(nginx, ends=vassal.needed):
                self._run(self._stage(StageName.NGINX))
        healed = any(change.heals for change in self.plan.changes)
        if not (nginx.needed or vassal.needed or healed):
            verified()
            return
        say = self._say(StageName.VASSAL)
        self.hooks = Hooks(self.host.layout, self.journal, self.app, say, verified_before=self._ran_before())
        switch = Switch(self.host, self.app, self.applied, say, self.hooks)
        if vassal.needed:
            with self.timed(vassal, ends=False):
                switch.start_candidate(self._start)
        # once traffic moves, the attempt ends as it would without a newer commit
        self._keep_assets()
        with to_the_end(), self.timed(vassal if vassal.needed else nginx, begins=False):
            switch.take_over(install_site=nginx.needed, verified=verified)
        switch.retire_old()

    @property
    def hooks_detail(self) -> Mapping[str, object]:
        """What an event says of the hooks that ran."""
        return self.hooks.detail if self.hooks is not None else {}

    def _keep_assets(self) -> None:
        """Let pages of both releases find their fingerprinted files, whichever of them serves meanwhile."""
        if not any(folder.fingerprint for folder in self.app.manifest.spec.static):
            return
        static = {self.app.stage(StageName.STATIC).digest}
        if (before := self.applied.get(StageName.STATIC)) is not None:
            static.add(before.digest)
        layout = self.host.layout
        try:
            for digest in static:
                keep_assets(layout, self.app.name, layout.output(StageName.STATIC, digest))
        except OSError as error:
            self._say(StageName.STATIC)(f"old assets cannot be kept: {error}")

    def _make(self, stage: Stage, change: Change) -> None:
        """Make an output of the store; one that is damaged is put right."""
        damage = take_stock(self.host.layout, self.contents, self.app.name, change)
        if not damage.done:
            self._run(stage, damage)
            self.contents.made(stage.name, change.digest)

    def _start(self) -> None:
        """Write the vassal; one that runs already loads what was put back in the store."""
        heals = self.plan.change(StageName.VASSAL).heals
        set_aside(self.host.layout, self.app.name, [d for d in heals if d.kind is DifferenceKind.EXTRA])
        self._run(self._stage(StageName.VASSAL))
        restored = [self.plan.change(name) for name in (StageName.SOURCE, StageName.INTERPRETER, StageName.BUILD)]
        before = self.applied.get(StageName.VASSAL)
        if before is None or before.digest != self.app.stage(StageName.VASSAL).digest:
            return
        if any(change.needed for change in restored):
            self.host.emperor.reload(vassal_of(self.app.name, before))

    def _run(self, stage: Stage, damage: Damage | None = None) -> None:
        desired = self.app.stage(stage.name)
        facts = self.app.facts
        work = Work(facts, desired, self._say(stage.name))
        if damage is not None:
            work = replace(work, replace=damage.replace, damaged=damage.damaged)
        try:
            with self._in_time(stage.name):
                stage.apply(work)
        except (DiskError, CommandFailed, OSError) as error:
            self._told(error, stage.name)

    def _told(self, error: DiskError | CommandFailed | OSError, stage: StageName) -> NoReturn:
        """Raise what is told of a stage that failed."""
        from reconciler.engine.shortage import stage_shortage  # noqa: PLC0415  only where something failed
        from reconciler.host.file_systems import disk_error  # noqa: PLC0415

        root = self.host.layout.root
        if (short := disk_error(error, root)) is not None:
            raise stage_shortage(short, stage, self.app, self.applied, self.host) from error
        if isinstance(error, CommandFailed):
            raise StageFailed(str(error), hint=error.hint, tail=error.tail) from error
        if isinstance(error, OSError):
            place = f" at {error.filename}" if error.filename else ""
            raise HostError(
                f"the {stage} stage could not write{place}: {error.strerror or error}",
                hint="check the free space and the rights of the state folder; it is tried again by itself",
            ) from error
        raise error

    @contextmanager
    def _in_time(self, stage: StageName) -> Iterator[None]:
        """Let a stage that makes an output end after its time, with all that it started."""
        limits = {
            StageName.SOURCE: self.limits.source,
            StageName.INTERPRETER: self.limits.interpreter,
            StageName.BUILD: self.limits.build,
            StageName.STATIC: self.limits.static,
        }
        if stage not in limits:
            # every program and wait of the other stages has a limit of its own
            yield
            return
        seconds = limits[stage].total_seconds()
        try:
            with within(seconds):
                yield
        except TimeIsUp:
            raise OutOfTime(
                f"the {stage} stage took longer than {seconds:g} s and was ended",
                hint=f"correct what hangs and commit; or raise limits.{stage} in agent.yaml, and run "
                f"`reconciler retry {self.app.name}`",
            ) from None

    def _ran_before(self) -> bool:
        """Whether this release was verified before: its hooks have run then, and run once per release."""
        name = self.app.name
        history = self.journal.releases(name, HISTORY_READ, state=ReleaseState.VERIFIED)
        if any(release.release == self.app.release for release in history):
            return True
        # traffic never moves before the hooks: a release that has it, of an app that a lost journal knew, ran them
        return (
            public_release(self.host.layout, name) == self.app.release
            and not self.journal.releases(name, 1)
            and not self.journal.hooks(name, self.app.release)
        )

    def _say(self, stage: StageName) -> Callable[[str], None]:
        return lambda line: self.progress.stage_said(self.app.name, stage, line)

    @staticmethod
    def _stage(name: StageName) -> Stage:
        return next(stage for stage in STAGES if stage.name is name)

    @contextmanager
    def timed(self, change: Change, *, begins: bool = True, ends: bool = True) -> Iterator[None]:
        """Report a stage's beginning and end; one that fails has ended, whatever was to follow."""
        started = time.monotonic()
        if begins:
            self.progress.stage_started(self.app.name, change)
        error: str | None = None
        try:
            with reporting.about(app=self.app.name, stage=change.stage.value):
                yield
        except BaseException as failure:
            if isinstance(failure, ReconcilerError):
                without_secrets(failure, self.app)
            error = str(failure) or ENDED_BY.get(type(failure), type(failure).__name__)
            raise
        finally:
            seconds = time.monotonic() - started
            self.seconds[change.stage] = self.seconds.get(change.stage, 0.0) + seconds
            if ends or error is not None:
                self.progress.stage_finished(self.app.name, change.stage, self.seconds[change.stage], error)
                self._report(change, error)

    def _report(self, change: Change, error: str | None) -> None:
        reporting.debug(
            "stage_ended",
            app=self.app.name,
            stage=change.stage.value,
            action=change.action.value,
            reasons=[reason.value for reason in change.reasons],
            detail=list(change.detail),
            seconds=round(self.seconds[change.stage], 3),
            **({} if error is None else {"error": error}),
        )
