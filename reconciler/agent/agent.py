"""The agent: waits for a reason, looks, lets the work be done, and says how it went, for as long as it lives."""

from __future__ import annotations

import gc
import os
import secrets
import signal
import socket
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

import structlog

from reconciler.agent.certbot_runs import CertbotRuns
from reconciler.agent.control import ControlServer
from reconciler.agent.logs import toggle_debug
from reconciler.agent.queue import TriggerQueue
from reconciler.agent.schedule import start_schedule
from reconciler.agent.signals import Reaction, react_to_signals
from reconciler.agent.telling import Telling
from reconciler.agent.waiting import Waiting
from reconciler.agent.watching import Watcher, git_places, local_folder, start_watching, stop_watching
from reconciler.engine.attempt import Attempt
from reconciler.engine.collecting import remove_left_over
from reconciler.engine.engine import Engine
from reconciler.engine.recording import as_reconciler_error
from reconciler.engine.results import AppResult, PassResult
from reconciler.engine.surveying import Place
from reconciler.host import reporting
from reconciler.host.interruption import Interrupted, forget_interruption, giving_way, interrupt
from reconciler.host.journal import Journal
from reconciler.host.notifying import ServiceManager
from reconciler.model.errors import HostError, JournalDamaged, ReconcilerError
from reconciler.model.trigger import Trigger

SETTLE_SECONDS = 0.1
ENDING = (signal.SIGTERM, signal.SIGINT)
"""The signals that end an agent."""
FINISH_SECONDS = 3.0
"""How long a pass that is under way may go on when the agent is to end; then its programs and waits are ended."""
PASS_BYTES = 4
"""How many random bytes name a pass in the log."""
GIVE_UP_SECONDS = 4.0
"""How long it may take after that to come to a safe point."""


RENEWED_HINT = (
    "find out what damaged it (`dmesg`, a full disk, another program); the old file may go when nobody needs it"
)


class Renewal(Protocol):
    """Where an agent gets an engine with the configuration as it is by now."""

    def check(self) -> None:
        """Read the configuration; raises a :class:`ReconcilerError` when it cannot be taken over."""

    def renew(self) -> tuple[Engine, str]:
        """End the engine, and make one from what was read; with the host's name."""


@dataclass(slots=True)
class Agent:
    """One running agent over one engine; the caller holds the state lock.

    The main thread looks, whenever something asks for it; the work that it finds goes on beside it.
    """

    engine: Engine
    host_name: str
    renewal: Renewal | None = None
    queue: TriggerQueue = field(default_factory=TriggerQueue)
    telling: Telling = field(default_factory=Telling)
    waiting: Waiting = field(default_factory=Waiting)
    service: ServiceManager = field(default_factory=ServiceManager)
    _ending: bool = False
    _ended: threading.Event = field(default_factory=threading.Event)
    _renewing: threading.Event = field(default_factory=threading.Event)
    _signals: tuple[socket.socket, ...] = ()

    def run(self) -> None:
        """Reconcile until SIGTERM or SIGINT, then end within seconds, at a safe point of the work under way."""
        # switched off for commands that end soon
        gc.enable()
        forget_interruption()
        remove_left_over(self.engine.host.layout)
        if threading.current_thread() is threading.main_thread():
            self._signals = react_to_signals(self._reactions())
        log = structlog.get_logger()
        control = ControlServer(self, self.engine.host.layout.control)
        control.start()
        log.info("agent_started", host=self.host_name, root=str(self.engine.host.layout.root))
        self._tell_journal()
        self.service.ready()
        try:
            self._serve()
            while self.renewal is not None and not self._ending:
                # what is asked for from here on is for the next engine, another renewal too
                self.queue = TriggerQueue()
                self.engine, self.host_name = self._renewed(self.renewal)
                if self._ending:
                    # asked for between the two queues
                    self.queue.close()
                log.info("configuration_read", host=self.host_name)
                self._tell_journal()
                self._serve()
        finally:
            self.waiting.close()
            control.close()
            self._ended.set()
            log.info("agent_stopped", note="nginx and uWSGI go on serving")

    def _renewed(self, renewal: Renewal) -> tuple[Engine, str]:
        self._renewing.set()
        try:
            return renewal.renew()
        finally:
            self._renewing.clear()

    def _serve(self) -> None:
        """Look and work until the queue is closed, and nothing is under way any more."""
        configuration, work = self.engine.reader.configuration, self.engine.work
        work.listener = self
        self.engine.surveying.listener = self.telling.tell_drift
        polls = self.engine.reader.polls
        polls.patient, polls.answered = False, self._answer_came
        scheduler = start_schedule(
            self.queue.put,
            host=self.host_name,
            poll=configuration.repository.interval,
            drift=configuration.drift.interval,
        )
        surveying = self.engine.surveying
        watcher = start_watching(
            self.queue.put, self._repositories(), self._folders(), surveying.touched, surveying.is_known
        )
        certbot = CertbotRuns(self.engine, self.queue.put)
        self.queue.put(Trigger.START)
        work.start()
        try:
            while (trigger := self.queue.take(SETTLE_SECONDS, self.service)) is not None:
                # looked at wherever the look waits for a program or an answer
                with giving_way(self.service.goes_on):
                    self._look(trigger, watcher)
                    certbot.begin()
        except Interrupted:
            pass
        finally:
            certbot.close()
            work.close()
            if not self._ending:
                work.give_up()
            # a hook or a package that must come to its end may take longer than the watchdog waits
            work.join(self.service.goes_on)
            scheduler.shutdown(wait=False)
            if watcher is not None:
                stop_watching(watcher)
        if work.interrupted:
            structlog.get_logger().info("work_interrupted", note="the next agent carries on")

    def _look(self, trigger: str, watcher: Watcher | None) -> None:
        """One look; whatever goes wrong in it, such as a full disk, the agent lives on and tries again."""
        with reporting.about(**{"pass": secrets.token_hex(PASS_BYTES), "trigger": trigger}):
            self._look_to_its_end(trigger, watcher)

    def _look_to_its_end(self, trigger: str, watcher: Watcher | None) -> None:
        try:
            reporting.debug("pass_began")
            self.waiting.look_began()
            result = self.engine.look(trigger)
            self.waiting.look_ended(result)
            self.telling.tell_look(result, trigger)
            if watcher is not None:
                watcher.follow(self.engine.watched())
        except ReconcilerError as error:
            self.waiting.look_ended(PassResult("", (), error=error))
            self.telling.tell_failed(error, trigger)
            self._renew_damaged(error)
        except OSError as error:
            failure = as_reconciler_error(error, self.engine.host.layout.root)
            self.waiting.look_ended(PassResult("", (), error=failure))
            self.telling.tell_failed(failure, trigger)
        except Exception as error:
            self.waiting.look_ended(PassResult("", (), error=as_reconciler_error(error)))
            self.telling.tell_bug(error)

    # what clients of the control socket ask for, in threads of their own

    @property
    def journal(self) -> Journal:
        """Where suspensions and quarantines are; raises :class:`HostError` while it is opened anew."""
        if self._renewing.is_set():
            raise HostError("the agent is reading its configuration anew", hint="try again in a moment")
        return self.engine.journal

    def ask_for_pass(self, trigger: str) -> None:
        """Let a pass begin soon."""
        self.queue.put(trigger)

    def sync(self, app: str | None, seconds: float, given_up: Callable[[], bool]) -> PassResult | None:
        """Ask for a pass, and wait until it and its work are done; ``None`` once ``given_up`` says so."""
        asked = self.waiting.ask(app)
        self.queue.put(Trigger.SYNC)
        return self.waiting.wait(asked, seconds, at_rest=lambda: self.engine.work.at_rest, given_up=given_up)

    def abort(self, app: str, who: str) -> bool:
        """End the attempt to deploy an app that is under way; ``False`` when there is none that could end."""
        return self.engine.work.abort(app, who)

    def forget_back_off(self, app: str) -> None:
        """Try an app again at once, however often it has failed."""
        self.engine.work.forget_back_off(app)

    # what the work tells

    def attempt_began(self, _attempt: Attempt) -> None:
        """Commits that come soon after this may be a burst."""
        self.queue.working()

    def attempt_ended(self, attempt: Attempt, result: AppResult | None) -> None:
        """One line for each."""
        if result is not None:
            self.waiting.attempt_ended(result)
        self.telling.tell_attempt(attempt, result)
        if result is not None and result.error is not None:
            self._renew_damaged(result.error)

    def look_needed(self) -> None:
        """What was left over by the work is seen to by a look."""
        self.queue.put(Trigger.WORK)

    def _answer_came(self) -> None:
        """A server that a look did not wait for has answered."""
        self.queue.put(Trigger.POLL)

    def _repositories(self) -> list[Place]:
        reader = self.engine.reader
        found = local_folder(reader.config_address)
        return list(git_places(found, reader.configuration.repository.path)) if found is not None else []

    def _folders(self) -> list[Place]:
        layout = self.engine.host.layout
        return [Place(folder) for folder in (layout.sites, layout.vassals, layout.public)]

    def _renew_damaged(self, error: ReconcilerError) -> None:
        """Go on with an engine whose journal is begun anew, when this one's turns out to be damaged."""
        if isinstance(error, JournalDamaged) and self.renewal is not None and not self._ending:
            self.queue.close()

    def _tell_journal(self) -> None:
        if self.engine.journal_news is not None:
            structlog.get_logger().error("journal_renewed", error=self.engine.journal_news, hint=RENEWED_HINT)

    def _reactions(self) -> dict[signal.Signals, Reaction]:
        """What every signal does."""
        return {
            **dict.fromkeys(ENDING, self._wind_down),
            signal.SIGHUP: self._read_configuration,
            signal.SIGUSR1: toggle_debug,
        }

    def _read_configuration(self) -> None:
        """Go on with the configuration as it is by now, unless it is wrong. What is being built begins anew."""
        if self.renewal is None or self._ending:
            return
        try:
            self.renewal.check()
        except ReconcilerError as error:
            hint = error.hint or "the agent goes on with the configuration that it has"
            structlog.get_logger().error("configuration_refused", error=str(error), hint=hint)
            return
        self.queue.close()

    def _wind_down(self) -> None:
        self._ending = True
        self.service.ending()
        self.queue.close()
        if self._ended.wait(FINISH_SECONDS):
            return
        interrupt()
        if not self._ended.wait(GIVE_UP_SECONDS):
            # only the answer of an app is waited for so long; killed at any instant, the next pass converges
            structlog.get_logger().warning("agent_cut_short", note="the next agent carries on")
            os._exit(1)
