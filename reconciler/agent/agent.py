"""The agent: waits for a reason, runs a pass, says what it did, for as long as it lives."""

from __future__ import annotations

import gc
import os
import signal
import socket
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

import structlog

from reconciler.agent.queue import TriggerQueue
from reconciler.agent.schedule import start_schedule
from reconciler.agent.watching import local_folder, start_watching, stop_watching
from reconciler.engine.collecting import remove_left_over
from reconciler.engine.engine import Engine
from reconciler.engine.results import AppResult, PassResult
from reconciler.host.interruption import Interrupted, forget_interruption, interrupt
from reconciler.model.errors import ReconcilerError
from reconciler.model.plan import Outcome

SETTLE_SECONDS = 0.1
ENDING = frozenset({signal.SIGTERM, signal.SIGINT})
"""The signals that end an agent."""
FINISH_SECONDS = 3.0
"""How long a pass that is under way may go on when the agent is to end; then its programs and waits are ended."""
GIVE_UP_SECONDS = 4.0
"""How long it may take after that to come to a safe point."""
QUIET_SECONDS = 60.0
"""Passes that did nothing are told once in this time."""
QUIET_OUTCOMES = frozenset({Outcome.UNCHANGED, Outcome.SUSPENDED})


@dataclass(slots=True)
class Agent:
    """One running agent over one engine; the caller holds the state lock."""

    engine: Engine
    host_name: str
    queue: TriggerQueue = field(default_factory=TriggerQueue)
    _ended: threading.Event = field(default_factory=threading.Event)
    _told: dict[str, str] = field(default_factory=dict)
    _quiet_since: float = 0.0
    _signals: tuple[socket.socket, ...] = ()
    _quiet_passes: int = 0

    def run(self) -> None:
        """Reconcile until SIGTERM or SIGINT, then end within seconds, at a safe point of the pass under way."""
        # switched off for commands that end soon
        gc.enable()
        configuration = self.engine.reader.configuration
        log = structlog.get_logger()
        forget_interruption()
        remove_left_over(self.engine.host.layout)
        if threading.current_thread() is threading.main_thread():
            self._listen_for_the_end()
        scheduler = start_schedule(
            self.queue.put,
            host=self.host_name,
            poll=configuration.repository.interval,
            drift=configuration.drift.interval,
        )
        watcher = start_watching(self.queue.put, self._repositories(), self._folders())
        log.info("agent_started", host=self.host_name, root=str(self.engine.host.layout.root))
        self.queue.put("start")
        try:
            while (trigger := self.queue.take(SETTLE_SECONDS)) is not None:
                self._pass(trigger)
        except Interrupted:
            log.info("pass_interrupted", note="the next agent carries on")
        finally:
            self._ended.set()
            scheduler.shutdown(wait=False)
            if watcher is not None:
                stop_watching(watcher)
            log.info("agent_stopped", note="nginx and uWSGI go on serving")

    def _pass(self, trigger: str) -> None:
        """One pass; whatever goes wrong in it, such as a full disk, the agent lives on and tries again."""
        try:
            self.tell(self.engine.reconcile(trigger, news=self.queue), trigger)
        except ReconcilerError as error:
            log = structlog.get_logger().bind(trigger=trigger)
            self._tell_once(log, "pass", "pass_failed", str(error), hint=error.hint)
        except Exception as error:
            structlog.get_logger().exception("unexpected_error", error=f"{type(error).__name__}: {error}")

    def tell(self, result: PassResult, trigger: str) -> None:
        """One line for each app that has news, one for the pass when nobody has."""
        log = structlog.get_logger().bind(trigger=trigger, revision=result.revision[:7])
        if result.error is not None:
            self._tell_once(log, "pass", "pass_failed", str(result.error), hint=result.error.hint)
        for problem in result.problems:
            self._tell_once(log, f"problem {problem}", "manifest_problem", problem)
        for note in result.notes:
            log.info("collected", note=note)
        news = [app for app in result.apps if app.outcome not in QUIET_OUTCOMES]
        for app in news:
            self._tell_app(log, app)
        quiet = {"pass", *(app.app for app in news)}
        if result.error is None:
            quiet.discard("pass")
            self._told = {
                name: text for name, text in self._told.items() if name in quiet or name.startswith("problem")
            }
        if not news and result.error is None:
            self._tell_quiet(log, result)

    def _tell_app(self, log: structlog.typing.FilteringBoundLogger, app: AppResult) -> None:
        stages = [change.stage.value for change in app.plan.changes if change.needed]
        seconds = round(app.total_seconds, 3)
        if app.outcome is Outcome.CHANGED:
            self._told.pop(app.app, None)
            log.info("app_changed", app=app.app, release=app.release, commit=(app.revision or "")[:7], stages=stages,
                     seconds=seconds)  # fmt: skip
            return
        text = str(app.error) if app.error is not None else app.note or ""
        hint = app.error.hint if app.error is not None else None
        self._tell_once(log, app.app, f"app_{app.outcome.value}", text, hint=hint, app=app.app)

    def _tell_once(
        self, log: structlog.typing.FilteringBoundLogger, key: str, event: str, text: str, **more: str | None
    ) -> None:
        if self._told.get(key) == text:
            return
        self._told[key] = text
        log.error(event, error=text, **{name: value for name, value in more.items() if value is not None})

    def _tell_quiet(self, log: structlog.typing.FilteringBoundLogger, result: PassResult) -> None:
        self._quiet_passes += 1
        now = time.monotonic()
        if now - self._quiet_since >= QUIET_SECONDS:
            log.info(
                "nothing_to_do", apps=len(result.apps), passes=self._quiet_passes, seconds=round(result.seconds, 3)
            )
            self._quiet_since, self._quiet_passes = now, 0

    def _repositories(self) -> list[Path]:
        found = local_folder(self.engine.reader.config_address)
        return [found] if found is not None else []

    def _folders(self) -> list[Path]:
        layout = self.engine.host.layout
        return [layout.sites, layout.vassals, layout.public]

    def _listen_for_the_end(self) -> None:
        """Wind down on SIGTERM or SIGINT, in a thread of its own.

        A handler in Python runs only when the main thread is next at work, and one that has just begun to wait for a
        pass may be so for minutes. The interpreter writes the signal's number to a socket at once, in any thread.
        """
        heard, told = socket.socketpair()
        told.setblocking(False)
        signal.set_wakeup_fd(told.fileno(), warn_on_full_buffer=False)
        for number in ENDING:
            signal.signal(number, lambda _number, _frame: None)

        def listen() -> None:
            while not ENDING.intersection(heard.recv(1)):
                pass
            self._wind_down()

        # open as long as the process: a later signal must not be written to whatever took over the number
        self._signals = (heard, told)
        threading.Thread(target=listen, name="signals", daemon=True).start()

    def _wind_down(self) -> None:
        self.queue.close()
        if self._ended.wait(FINISH_SECONDS):
            return
        interrupt()
        if not self._ended.wait(GIVE_UP_SECONDS):
            # only the answer of an app is waited for so long; killed at any instant, the next pass converges
            structlog.get_logger().warning("agent_cut_short", note="the next agent carries on")
            os._exit(1)
