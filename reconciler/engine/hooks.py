"""Hooks: commands around the switch. Each runs once for a release, is logged whole, and may close the way back."""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from reconciler.engine.desired import DesiredApp
from reconciler.host import reporting
from reconciler.host.app_commands import app_environment, run_app_command, shown_command
from reconciler.host.hook_log import HookLog
from reconciler.host.interruption import to_the_end
from reconciler.host.journal import HookRecord, Journal
from reconciler.host.layout import Layout
from reconciler.host.shared import make_folder
from reconciler.host.transient_unit import places_of_apps
from reconciler.model.errors import CommandFailed, StageFailed
from reconciler.model.manifest import Hook, Moment
from reconciler.model.secret import MaskedLines, masked
from reconciler.model.stage import StageName
from reconciler.stages.app_folder import app_folder, environment_folder


@dataclass(slots=True)
class Hooks:
    """The hooks of one attempt to deploy one release.

    A hook that ended well for a release does not run again for it, however often the release is tried. A release that
    was verified before runs none (``verified_before``). ``runs`` are the runs of this attempt.
    """

    layout: Layout
    journal: Journal
    app: DesiredApp
    say: Callable[[str], None]
    verified_before: bool
    runs: list[HookRecord] = field(default_factory=list)

    def run(self, moment: Moment) -> None:
        """Run what is left of the hooks of one moment, in order; raises :class:`StageFailed` at the first failure."""
        hooks = () if self.verified_before else self.app.manifest.spec.hooks.at(moment)
        if not hooks:
            return
        history = self.journal.hooks(self.app.name, self.app.release)
        done = Counter(run.command for run in history if run.moment == moment and run.succeeded)
        for hook in hooks:
            if done[hook.command] > 0:
                done[hook.command] -= 1
                self.say(f"{moment}: `{shown_command(hook.command)}` has run for this release before")
                continue
            self._run(hook, moment)

    def crossed_by(self, release: str | None) -> HookRecord | None:
        """The irreversible hook that began since ``release`` was last verified; ``None``: the way back is open."""
        last = self.journal.last_irreversible_hooks(self.app.name).get(self.app.name)
        if release is None or last is None:
            return None
        return last if crosses(self.journal, self.app.name, release, last) else None

    @property
    def irreversible(self) -> HookRecord | None:
        """The last irreversible hook that began for this very release before it was ever verified."""
        last = (
            None if self.verified_before else self.journal.last_irreversible_hooks(self.app.name).get(self.app.name)
        )
        return last if last is not None and last.release == self.app.release else None

    @property
    def detail(self) -> dict[str, object]:
        """What an event says of the runs of this attempt: each of them, and the file with all that they printed."""
        if not self.runs:
            return {}
        return {"hooks": hooks_as_json(self.runs), "hooks_log": str(self.layout.hooks_log(self.app.name))}

    def _run(self, hook: Hook, moment: Moment) -> None:
        name, release = self.app.name, self.app.release
        self.say(f"{moment}: $ {hook.command}")
        title = f"release {release}, {moment} hook `{' '.join(hook.command.split())}`"
        with HookLog(self.layout.hooks_log(name), title) as log:
            record = HookRecord(name, release, moment.value, hook.command, hook.irreversible, time.time())
            # before it does anything: an agent that is killed must not forget what may have been done
            number = self.journal.record_hook_started(record)
            self.runs.append(record)
            began = time.monotonic()

            def ended(status: int) -> None:
                seconds = time.monotonic() - began
                log.ended(status, seconds)
                self.runs[-1] = replace(record, status=status, seconds=seconds)
                self.journal.record_hook_ended(number, status, seconds)

            try:
                # it changes what lies outside, such as a database, and nobody could take back a half of it
                with to_the_end():
                    self._command(hook, moment, log)
            except CommandFailed as error:
                ended(error.status)
                reporting.error(
                    "hook_failed",
                    app=name,
                    release=release,
                    moment=moment.value,
                    command=shown_command(hook.command),
                    status=error.status,
                    run=number,
                    log=str(self.layout.hooks_log(name)),
                    irreversible=hook.irreversible,
                )
                hint = f"`reconciler logs {name} --hooks` shows all that it printed; {error.hint}"
                raise StageFailed(str(error), hint=hint, tail=error.tail) from error
            ended(0)

    def _command(self, hook: Hook, moment: Moment, log: HookLog) -> None:
        spec = self.app.manifest.spec
        environment = environment_folder(self.layout, self.app.digests)
        account = self.app.facts.settle()
        home = make_folder(self.layout.shared(self.app.name), ".home", account)
        revealed = {name: secret.reveal() for name, secret in self.app.facts.secrets.items()}
        env = {
            **app_environment({**spec.env, **revealed}, environment, os.environ, home),
            "RECONCILER_APP": self.app.name,
            "RECONCILER_RELEASE": self.app.release,
            # the release's own folder of links is laid out after the hooks that go before it
            "RECONCILER_STATIC": str(self.layout.output(StageName.STATIC, self.app.digests[StageName.STATIC])),
        }
        secrets = self.app.facts.secrets.values()
        output = MaskedLines(log.write, secrets)
        try:
            run_app_command(
                hook.command,
                kind=f"{moment} hook",
                folder=app_folder(self.layout, spec, self.app.digests),
                env=env,
                say=lambda line: self.say(masked(line, secrets)),
                timeout=hook.timeout.total_seconds(),
                on_output=output.write,
                confinement=self.app.facts.confine(account, self.layout.shared(self.app.name), *places_of_apps()),
            )
        finally:
            output.end()


def crosses(journal: Journal, app: str, release: str, hook: HookRecord) -> bool:
    """Whether going back to ``release`` crosses a hook: it began for another one since ``release`` was proven."""
    if hook.release == release:
        return False
    proven = journal.attempted(app, release)
    if proven is None:
        return True
    # by the order in the journal: a clock may have been set back meanwhile
    return hook.at > proven[1] if hook.after is None else hook.after >= proven[0]


def not_switched_back(release: str, before: str, hook: HookRecord) -> str:
    """Why a failed release stays in place, as the end of a sentence."""
    ran_for = "" if hook.release == release else f" of release {hook.release}"
    return (
        f"; release {release} stays in place and was not switched back to {before}, "
        f"because the hook `{shown_command(hook.command)}`{ran_for} is irreversible"
    )


def already_done(hook: HookRecord) -> str:
    """What an irreversible hook has left behind although its release does not serve, as the end of a sentence."""
    if hook.succeeded:
        return f"; the irreversible hook `{shown_command(hook.command)}` has already run"
    return f"; the hook `{shown_command(hook.command)}` is irreversible, and what it has done stays"


def hooks_as_json(runs: list[HookRecord]) -> list[dict[str, object]]:
    """The runs of one attempt, as an event's detail has them."""
    return [
        {
            "moment": run.moment,
            "command": run.command,
            "irreversible": run.irreversible,
            "status": run.status,
            "seconds": None if run.seconds is None else round(run.seconds, 3),
        }
        for run in runs
    ]
