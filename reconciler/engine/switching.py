"""The switch: a candidate is proven on its own sockets, traffic moves to it in one rename, the old release drains."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

from reconciler.engine.desired import DesiredApp
from reconciler.engine.hooks import Hooks, already_done, not_switched_back
from reconciler.engine.kept_environment import environment_of, keep_environment, kept_file
from reconciler.engine.recording import as_reconciler_error
from reconciler.engine.verifying import probe_candidate, probe_public
from reconciler.host import reporting
from reconciler.host.files import size_of
from reconciler.host.interruption import Superseded, stop_if_interrupted, to_the_end
from reconciler.host.layout import Layout
from reconciler.host.releases import (
    forget_way_back,
    keep_way_back,
    public_release,
    remove_release,
    remove_sockets,
    remove_vassal,
    switch,
    switch_back,
    vassals_of,
    write_vassal,
)
from reconciler.host.services import Host
from reconciler.host.uwsgi import death_in, drain, refuse_dying_workers, wait_until_ready
from reconciler.model.errors import DiskError, HostError, ReconcilerError, Retry, VerificationFailed
from reconciler.model.manifest import Moment
from reconciler.model.stage import AppliedStage, StageName, release_of
from reconciler.stages.vassal import vassal_name, vassal_of

PUT_BACK_SECONDS = 30.0
"""How long a pass waits for the old release of ``touch`` to serve again."""


@dataclass(slots=True)
class Switch:
    """One attempt to make a release the one that serves."""

    host: Host
    app: DesiredApp
    applied: Mapping[StageName, AppliedStage]
    say: Callable[[str], None]
    hooks: Hooks
    log_position: int = field(init=False, default=0)
    started: bool = field(init=False, default=False)
    before: str | None = field(init=False)
    visited: bool = field(init=False, default=False)

    def __post_init__(self) -> None:
        self.before = self._release_before()

    @property
    def layout(self) -> Layout:
        """Where everything lies."""
        return self.host.layout

    @property
    def vassal(self) -> str:
        """The candidate's vassal."""
        return vassal_name(self.app.name, self.app.release, self.app.manifest.spec.uwsgi.strategy)

    def start_candidate(self, write: Callable[[], None]) -> None:
        """Run the hooks, start the candidate and prove it on its own sockets; a failing one is taken away again."""
        self.started = True
        try:
            # before the candidate starts: its probes, and often its import, need the database that a migration makes
            with to_the_end():
                # a hook changes what lies outside, and nobody could take back a half of that
                self.hooks.run(Moment.BEFORE_SWITCH)
            stop_if_interrupted()
            self.log_position = size_of(self.layout.app_log(self.app.name))
            deadline = self._in_time()
            with self._step("start"):
                self.host.emperor.ensure_running()
                self._keep_environment()
                rewritten = self._is_known
                write()
                wait_until_ready(
                    self.host.emperor,
                    self.vassal,
                    stats=self.layout.socket(self.vassal, "stats"),
                    http=self.layout.socket(self.vassal, "http"),
                    log=self.layout.app_log(self.app.name),
                    log_position=self.log_position,
                    release=self.app.release,
                    deadline=deadline,
                    rewritten=rewritten,
                )
            with self._step("probes"):
                self._probe_candidate(deadline)
            stop_if_interrupted()
        except BaseException as error:
            with to_the_end():
                self._give_up(error, site_was_installed=False)
            raise

    def take_over(self, *, install_site: bool, verified: Callable[[], None]) -> None:
        """Move traffic and prove it through nginx; on failure move it back."""
        # a site must never lead to nothing: the first link comes before the site, a later one after it
        first = self.before is None
        self.visited = True
        log_position = size_of(self.layout.app_log(self.app.name))
        try:
            keep_way_back(self.layout, self.app.name, self.before)
            with self._step("switch"):
                if first:
                    switch(self.layout, self.app.name, self.app.release)
                if install_site:
                    self.host.nginx.install(self.app.stage(StageName.NGINX).files)
                else:
                    self.host.nginx.ensure_running()
                if not first:
                    switch(self.layout, self.app.name, self.app.release)
            if not self.started:
                self._have_it_run()
            with self._step("probes through nginx"):
                # a time of its own: what a slow start has left of the candidate's would make traffic go to and fro
                probe_public(self.host, self.app, self._in_time(), log_position)
            if self.started:
                self._refuse_dying_workers()
                self.hooks.run(Moment.AFTER_SWITCH)
        except BaseException as error:
            self._give_up(error, site_was_installed=install_site)
            raise
        finally:
            forget_way_back(self.layout, self.app.name)
        verified()

    def _have_it_run(self) -> None:
        """After a reboot the release may not run yet, and must not be blamed for that where only its site changes."""
        if not self.host.emperor.running():
            self.host.emperor.ensure_running()
        self._wait_until_ready(self.app.release, self._in_time(), rewritten=False)

    @property
    def _is_known(self) -> bool:
        """Whether the Emperor has, or may come to have, the vassal with what its file is now."""
        file = self.layout.vassals / f"{self.vassal}.ini"
        return file.exists() or self.vassal in self.host.emperor.stats().vassals

    def retire_old(self) -> None:
        """Let the vassals of earlier releases finish their requests, then end them.

        A newer commit does not wait for that: its own attempt ends them.
        """
        kept_file(self.layout, self.vassal).unlink(missing_ok=True)
        with suppress(Superseded):
            retire_all_but(self.host, self.app.name, self.vassal, self.app.manifest.spec.uwsgi.drain.total_seconds())

    @contextmanager
    def _step(self, name: str) -> Iterator[None]:
        """Tell how long a step took that came to its end."""
        began = time.monotonic()
        yield
        reporting.debug("step_ended", app=self.app.name, step=name, seconds=round(time.monotonic() - began, 3))

    def _in_time(self) -> float:
        """When what begins now must have ended."""
        return time.monotonic() + self.app.manifest.spec.verify.timeout.total_seconds()

    def _probe_candidate(self, deadline: float) -> None:
        try:
            probe_candidate(self.host, self.app, self.vassal, deadline, self.log_position)
        except VerificationFailed as error:
            # a worker that died is why an answer did not come, or broke off
            death = death_in(self.layout.app_log(self.app.name), self.log_position, self.app.release)
            if death is None:
                raise
            raise death from error
        self._refuse_dying_workers()

    def _refuse_dying_workers(self) -> None:
        refuse_dying_workers(
            self.layout.socket(self.vassal, "stats"),
            log=self.layout.app_log(self.app.name),
            log_position=self.log_position,
            release=self.app.release,
        )

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

    def _give_up(self, error: BaseException, *, site_was_installed: bool) -> None:
        """Go back to what served before, except across an irreversible hook; the error says what was done."""
        # looked at before anything is taken back, which makes room again
        failure = self._failure(error) if isinstance(error, Exception) else None
        crossed = self.hooks.crossed_by(self.before) if self._has_taken_over else None
        if crossed is None:
            self._switch_back(site_was_installed=site_was_installed)
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

    def _keep_environment(self) -> None:
        applied = self.applied.get(StageName.VASSAL)
        if applied is not None and vassal_of(self.app.name, applied) == self.vassal:
            keep_environment(self.layout, self.app.name, self.vassal, applied)

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
                    self._wait_until_ready(release_of(applied.digest), deadline, rewritten=True)
                    return

    def _runs_already(self, applied: AppliedStage) -> bool:
        """Whether the one vassal of ``touch`` has the file that was applied."""
        with suppress(OSError):
            text = (self.layout.vassals / f"{self.vassal}.ini").read_text("utf-8")
            return text == applied.files[f"{self.app.name}.ini"]
        return False

    def _wait_until_ready(self, release: str, deadline: float, *, rewritten: bool) -> None:
        log = self.layout.app_log(self.app.name)
        wait_until_ready(
            self.host.emperor,
            self.vassal,
            stats=self.layout.socket(self.vassal, "stats"),
            http=self.layout.socket(self.vassal, "http"),
            log=log,
            log_position=size_of(log),
            release=release,
            deadline=deadline,
            rewritten=rewritten,
        )

    def _switch_back(self, *, site_was_installed: bool) -> None:
        if self.before not in (None, self.app.release):
            # first of all: putting the site back may take nginx a while
            switch_back(self.layout, self.app.name, self.before)
        if site_was_installed:
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


def retire_all_but(host: Host, app: str, serving: str, seconds: float) -> None:
    """End every vassal of an app except the one that serves, after at most ``seconds`` of draining."""
    leaving = [vassal for vassal in vassals_of(host.layout, app) if vassal != serving]
    for vassal in leaving:
        drain(host.layout.socket(vassal, "stats"), time.monotonic() + seconds)
        remove_vassal(host.layout, vassal)
        if "." in vassal:
            remove_release(host.layout, app, vassal.partition(".")[2])
    if leaving:
        with suppress(HostError):
            host.emperor.wake()


def left_over(layout: Layout, serving: Mapping[str, str]) -> list[str]:
    """The apps of ``serving`` (app to vassal) that have another vassal too, which a killed agent left behind."""
    found = set()
    with os.scandir(layout.vassals) as entries:
        for entry in entries:
            vassal = entry.name.removesuffix(".ini")
            app = vassal.partition(".")[0]
            if vassal != entry.name and serving.get(app, vassal) != vassal:
                found.add(app)
    return sorted(found)
