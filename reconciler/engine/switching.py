"""The switch: a candidate is proven on its own sockets, traffic moves to it in one rename, the old release drains."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

from reconciler.engine.desired import DesiredApp
from reconciler.engine.hooks import Hooks
from reconciler.engine.kept_environment import kept_file
from reconciler.engine.retiring import retire_all_but
from reconciler.engine.verifying import probe_candidate, probe_public, wait_for_release
from reconciler.engine.way_back import WayBack
from reconciler.host import reporting
from reconciler.host.files import size_of
from reconciler.host.interruption import Superseded, stop_if_interrupted, to_the_end
from reconciler.host.layout import Layout
from reconciler.host.releases import forget_way_back, keep_way_back, switch
from reconciler.host.services import Host
from reconciler.host.uwsgi import death_in, refuse_dying_workers
from reconciler.model.errors import VerificationFailed
from reconciler.model.manifest import Moment
from reconciler.model.stage import AppliedApp, StageName
from reconciler.stages.vassal import vassal_name


@dataclass(slots=True)
class Switch:
    """One attempt to make a release the one that serves."""

    host: Host
    app: DesiredApp
    applied: AppliedApp
    say: Callable[[str], None]
    hooks: Hooks
    log_position: int = field(init=False, default=0)
    back: WayBack = field(init=False)

    def __post_init__(self) -> None:
        self.back = WayBack(self.host, self.app, self.applied, self.say, self.hooks, self.vassal)

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
        self.back.started = True
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
                self.back.keep_environment()
                rewritten = self._is_known
                write()
                wait_for_release(
                    self.host,
                    self.app.name,
                    self.vassal,
                    self.app.release,
                    deadline,
                    rewritten=rewritten,
                    log_position=self.log_position,
                )
            with self._step("probes"):
                self._probe_candidate(deadline)
            stop_if_interrupted()
        except BaseException as error:
            with to_the_end():
                self.back.take(error)
            raise

    def take_over(self, *, install_site: bool, verified: Callable[[], None]) -> None:
        """Move traffic and prove it through nginx; on failure move it back."""
        # a site must never lead to nothing: the first link comes before the site, a later one after it
        first = self.back.before is None
        self.back.visited, self.back.site = True, install_site
        log_position = size_of(self.layout.app_log(self.app.name))
        try:
            keep_way_back(self.layout, self.app.name, self.back.before)
            with self._step("switch"):
                if first:
                    switch(self.layout, self.app.name, self.app.release)
                if install_site:
                    self.host.nginx.install(self.app.stage(StageName.NGINX).files)
                else:
                    self.host.nginx.ensure_running()
                if not first:
                    switch(self.layout, self.app.name, self.app.release)
            if not self.back.started:
                self._have_it_run()
            with self._step("probes through nginx"):
                # a time of its own: what a slow start has left of the candidate's would make traffic go to and fro
                probe_public(self.host, self.app, self._in_time(), log_position)
            if self.back.started:
                self._refuse_dying_workers()
                self.hooks.run(Moment.AFTER_SWITCH)
        except BaseException as error:
            self.back.take(error)
            raise
        finally:
            forget_way_back(self.layout, self.app.name)
        verified()

    def _have_it_run(self) -> None:
        """After a reboot the release may not run yet, and must not be blamed for that where only its site changes."""
        if not self.host.emperor.running():
            self.host.emperor.ensure_running()
        wait_for_release(self.host, self.app.name, self.vassal, self.app.release, self._in_time(), rewritten=False)

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
