"""The switch: a candidate is proven on its own sockets, traffic moves to it in one rename, the old release drains."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field

from reconciler.engine.desired import DesiredApp
from reconciler.engine.verifying import probe_candidate, probe_public
from reconciler.host.app_commands import app_environment, run_app_command
from reconciler.host.files import size_of
from reconciler.host.layout import Layout
from reconciler.host.releases import public_release, remove_release, remove_vassal, switch, vassals_of, write_vassal
from reconciler.host.services import Host
from reconciler.host.uwsgi import drain, wait_until_ready
from reconciler.model.errors import CommandFailed, HostError, ReconcilerError, StageFailed, VerificationFailed
from reconciler.model.stage import AppliedStage, StageName, release_of
from reconciler.stages.app_folder import app_folder, environment_folder
from reconciler.stages.vassal import vassal_name, vassal_of

HOOK_SECONDS = 600.0
PUT_BACK_SECONDS = 30.0
"""How long a pass waits for the old release of ``touch`` to serve again."""


@dataclass(slots=True)
class Switch:
    """One attempt to make a release the one that serves."""

    host: Host
    app: DesiredApp
    applied: Mapping[StageName, AppliedStage]
    say: Callable[[str], None]
    hooks: bool
    deadline: float = field(init=False)
    started: bool = field(init=False, default=False)

    def __post_init__(self) -> None:
        self.deadline = time.monotonic() + self.app.manifest.spec.verify.timeout.total_seconds()

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
            self._run_hooks(self.app.manifest.spec.hooks.before_switch, "beforeSwitch")
            log_position = size_of(self.layout.app_log(self.app.name))
            self.deadline = time.monotonic() + self.app.manifest.spec.verify.timeout.total_seconds()
            self.host.emperor.ensure_running()
            write()
            wait_until_ready(
                self.host.emperor,
                self.vassal,
                stats=self.layout.socket(self.vassal, "stats"),
                http=self.layout.socket(self.vassal, "http"),
                log=self.layout.app_log(self.app.name),
                log_position=log_position,
                release=self.app.release,
                deadline=self.deadline,
            )
            probe_candidate(self.host, self.app, self.vassal, self.deadline, log_position)
        except BaseException:
            self._take_back_candidate()
            raise

    def take_over(self, *, install_site: bool, verified: Callable[[], None]) -> None:
        """Move traffic and prove it through nginx; on failure move it back."""
        before = public_release(self.layout, self.app.name)
        # a site must never lead to nothing: the first link comes before the site, a later one after it
        first = before is None
        log_position = size_of(self.layout.app_log(self.app.name))
        if not self.started:
            self.deadline = time.monotonic() + self.app.manifest.spec.verify.timeout.total_seconds()
        try:
            if first:
                switch(self.layout, self.app.name, self.app.release)
            if install_site:
                self.host.nginx.install(self.app.stage(StageName.NGINX).files)
            else:
                self.host.nginx.ensure_running()
            if not first:
                switch(self.layout, self.app.name, self.app.release)
            probe_public(self.host, self.app, self.deadline, log_position)
            if self.started:
                self._run_hooks(self.app.manifest.spec.hooks.after_switch, "afterSwitch")
        except BaseException:
            self._switch_back(before, site_was_installed=install_site)
            raise
        verified()

    def retire_old(self) -> None:
        """Let the vassals of earlier releases finish their requests, then end them."""
        retire_all_but(self.host, self.app.name, self.vassal, self.app.manifest.spec.uwsgi.drain.total_seconds())

    def _run_hooks(self, commands: tuple[str, ...], kind: str) -> None:
        spec = self.app.manifest.spec
        folder = app_folder(self.layout, spec, self.app.digests)
        environment = environment_folder(self.layout, self.app.digests)
        home = self.layout.shared(self.app.name) / ".home"
        for command in commands if self.hooks else ():
            home.mkdir(parents=True, exist_ok=True)
            self.say(f"{kind}: $ {command}")
            env = {
                **app_environment(spec.env, environment, os.environ, home),
                "RECONCILER_APP": self.app.name,
                "RECONCILER_RELEASE": self.app.release,
            }
            try:
                run_app_command(
                    command, kind=f"{kind} hook", folder=folder, env=env, say=self.say, timeout=HOOK_SECONDS
                )
            except CommandFailed as error:
                raise StageFailed(str(error), hint=error.hint, tail=error.tail) from error

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
            if (process := self.host.emperor.loading(self.vassal)) is not None:
                self.host.emperor.end_loading(self.vassal, process)
            self.host.emperor.wake()

    def _put_back(self, applied: AppliedStage) -> None:
        """Have the one vassal of ``touch`` run what was applied again, and wait for it: until then nobody serves."""
        emperor, name = self.host.emperor, self.app.name
        with suppress(OSError):
            # a hook that fails does so before the vassal is touched
            if (self.layout.vassals / f"{self.vassal}.ini").read_text("utf-8") == applied.files[f"{name}.ini"]:
                return
        with suppress(HostError):
            process = emperor.loading(self.vassal)
            write_vassal(self.layout, self.vassal, applied.files[f"{name}.ini"], applied.files[f"{name}.env"])
            if process is not None:
                emperor.end_loading(self.vassal, process)
            else:
                # the file may be written for the second time within the second that the Emperor remembers
                emperor.reload(self.vassal)
            deadline = time.monotonic() + PUT_BACK_SECONDS
            while time.monotonic() < deadline:
                # a start of the failed release may still be dying, and is no news of the one before it
                with suppress(VerificationFailed):
                    self._wait_until_ready(release_of(applied.digest), deadline)
                    return

    def _wait_until_ready(self, release: str, deadline: float) -> None:
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
        )

    def _switch_back(self, before: str | None, *, site_was_installed: bool) -> None:
        if site_was_installed:
            applied = self.applied.get(StageName.NGINX)
            name = f"{self.app.name}.conf"
            try:
                self.host.nginx.install({name: applied.files[name] if applied is not None else None})
            except ReconcilerError as error:
                self.say(f"the old site file could not be put back: {error}")
        if before is None:
            self.layout.public_link(self.app.name).unlink(missing_ok=True)
        elif before != self.app.release:
            switch(self.layout, self.app.name, before)
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
