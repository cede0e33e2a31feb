"""The way back: what served before an attempt serves again after its failure, and the error says what was done."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field

from reconciler.engine.desired import DesiredApp
from reconciler.engine.hooks import Hooks, already_done, not_switched_back
from reconciler.engine.kept_environment import environment_of, keep_environment
from reconciler.engine.recording import as_reconciler_error
from reconciler.engine.verifying import wait_for_release
from reconciler.host.layout import Layout
from reconciler.host.releases import (
    public_release,
    remove_release,
    remove_sockets,
    remove_vassal,
    switch_back,
    write_vassal,
)
from reconciler.host.services import Host
from reconciler.model.errors import DiskError, HostError, ReconcilerError, Retry, VerificationFailed
from reconciler.model.stage import AppliedApp, AppliedStage, StageName, release_of
from reconciler.stages.vassal import vassal_of

PUT_BACK_SECONDS = 30.0
"""How long a pass waits for the old release of ``touch`` to serve again."""


@dataclass(slots=True)
class WayBack:
    """From one release back to the one before it, as far as the attempt has come by then.

    The candidate has ``started``, visitors may have ``visited`` it, its ``site`` was installed.
    """

    host: Host
    app: DesiredApp
    applied: AppliedApp
    say: Callable[[str], None]
    hooks: Hooks
    vassal: str
    started: bool = field(init=False, default=False)
    visited: bool = field(init=False, default=False)
    site: bool = field(init=False, default=False)
    before: str | None = field(init=False)

    def __post_init__(self) -> None:
        self.before = self._release_before()

    @property
    def layout(self) -> Layout:
        """Where everything lies."""
        return self.host.layout

    def keep_environment(self) -> None:
        """Keep the variables of the one vassal of ``touch``, which the candidate's are about to replace."""
        applied = self.applied.get(StageName.VASSAL)
        if applied is not None and vassal_of(self.app.name, applied) == self.vassal:
            keep_environment(self.layout, self.app.name, self.vassal, applied)

    def take(self, error: BaseException) -> None:
        """Go back to what served before, except across an irreversible hook; the error says what was done."""
        # looked at before anything is taken back, which makes room again
        failure = self._failure(error) if isinstance(error, Exception) else None
        crossed = self.hooks.crossed_by(self.before) if self._has_taken_over else None
        if crossed is None:
            self._switch_back()
            if failure is not None and (done := self.hooks.irreversible) is not None:
                failure.message += already_done(done)
        elif failure is not None:
            failure.message += not_switched_back(self.app.release, self.before or "", crossed)
            again = "the next pass proves it again"
            if failure.retry is Retry.ON_CHANGE:
                again = f"commit a correction, or run `reconciler retry {self.app.name}` once the cause is gone"
            failure.hint = f"{failure.hint}; {again}" if failure.hint else again
        if failure is not None and failure is not error:
            raise failure from error

    def _release_before(self) -> str | None:
        """The release that traffic goes back to: the one that has it; where an attempt was cut short, the applied.

        The release itself where there is no other; ``None`` before the first one.
        """
        linked = public_release(self.layout, self.app.name)
        applied = self.applied.get(StageName.VASSAL)
        if linked != self.app.release or applied is None:
            return linked
        vassal, release = vassal_of(self.app.name, applied), release_of(applied.digest)
        stands = (self.layout.vassals / f"{vassal}.ini").exists()
        return release if stands and self.layout.release(self.app.name, release).is_dir() else linked

    @property
    def _has_taken_over(self) -> bool:
        """Whether going back would take traffic from this release: by the link, or as the one vassal of ``touch``."""
        if self.before in (None, self.app.release):
            return False
        if public_release(self.layout, self.app.name) == self.app.release:
            return True
        applied = self.applied.get(StageName.VASSAL)
        if applied is None or vassal_of(self.app.name, applied) != self.vassal:
            return False
        return not self._runs_already(applied)

    def _failure(self, error: Exception) -> ReconcilerError:
        """What is told of an error; a release that could not start on a full disk is not at fault."""
        from reconciler.host.file_systems import disk_error  # noqa: PLC0415  only where something failed

        if isinstance(error, DiskError) or not isinstance(error, ReconcilerError):
            return as_reconciler_error(error, self.layout.root)
        found = disk_error(error, self.layout.run, self.layout.root, self.layout.logs)
        if found is None:
            return error
        found.message = f"{error}; {found.message}"
        return found

    def _switch_back(self) -> None:
        if self.before not in (None, self.app.release):
            # first of all: putting the site back may take nginx a while
            switch_back(self.layout, self.app.name, self.before)
        if self.site:
            applied = self.applied.get(StageName.NGINX)
            name = f"{self.app.name}.conf"
            try:
                self.host.nginx.install({name: applied.files[name] if applied is not None else None})
            except (ReconcilerError, OSError) as error:
                self.say(f"the old site file could not be put back: {error}")
        if self.before is None:
            self.layout.public_link(self.app.name).unlink(missing_ok=True)
        if self.started:
            self._take_back_candidate()

    def _take_back_candidate(self) -> None:
        applied = self.applied.get(StageName.VASSAL)
        if applied is not None and vassal_of(self.app.name, applied) == self.vassal:
            if release_of(applied.digest) != self.app.release:
                self._put_back(applied)
            return
        if public_release(self.layout, self.app.name) == self.app.release:
            return
        remove_vassal(self.layout, self.vassal)
        remove_release(self.layout, self.app.name, self.app.release)
        with suppress(HostError):
            # no visitor waits for one that loads, nor for the answer to a probe that hangs
            if self.host.emperor.kill_if_stuck(self.vassal, visited=self.visited):
                remove_sockets(self.layout, self.vassal)
            self.host.emperor.wake()

    def _put_back(self, applied: AppliedStage) -> None:
        """Have the one vassal of ``touch`` run what was applied again, and wait for it: until then nobody serves."""
        emperor, name = self.host.emperor, self.app.name
        # a hook that fails does so before the vassal is touched
        if self._runs_already(applied):
            return
        with suppress(HostError):
            process = emperor.loading(self.vassal)
            environment = environment_of(self.layout, name, self.vassal, applied)
            if environment is None:
                self.say("the release before cannot be put back: the values of its secrets are nowhere any more")
                return
            account = self.host.tenants.settle(name, applied.declared.get("user"))
            write_vassal(self.layout, self.vassal, applied.files[f"{name}.ini"], environment, account)
            if process is not None:
                emperor.end_loading(self.vassal, process)
            else:
                # the file may be written for the second time within the second that the Emperor remembers
                emperor.reload(self.vassal)
            deadline = time.monotonic() + PUT_BACK_SECONDS
            while time.monotonic() < deadline:
                # a start of the failed release may still be dying, and is no news of the one before it
                with suppress(VerificationFailed):
                    wait_for_release(
                        self.host, name, self.vassal, release_of(applied.digest), deadline, rewritten=True
                    )
                    return

    def _runs_already(self, applied: AppliedStage) -> bool:
        """Whether the one vassal of ``touch`` has the file that was applied."""
        with suppress(OSError):
            text = (self.layout.vassals / f"{self.vassal}.ini").read_text("utf-8")
            return text == applied.files[f"{self.app.name}.ini"]
        return False
