"""``reconciler run``: the agent, in the foreground."""

from __future__ import annotations

import os
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from reconciler.agent.agent import Agent
from reconciler.agent.logs import configure_logs, set_level
from reconciler.cli.wiring import Installation
from reconciler.engine.engine import Engine
from reconciler.host.locking import AGENT, state_lock
from reconciler.host.notifying import ServiceManager
from reconciler.model.errors import ConfigurationError


def command(configuration: Path | None) -> int:
    """Reconcile until SIGTERM or SIGINT; returns the exit status."""
    configure_logs()
    service = ServiceManager.of(os.environ)
    installation = Installation.load(configuration)
    installation.layout.create()
    with state_lock(installation.layout, AGENT), ExitStack() as engines:
        renewal = _Renewal(installation, configuration, engines)
        engine, host_name = renewal.renew()
        Agent(engine, host_name, renewal, service=service).run()
    return 0


@dataclass(slots=True)
class _Renewal:
    """Reads agent.yaml anew for SIGHUP; what an agent holds as long as it lives cannot change with it."""

    installation: Installation
    given: Path | None
    engines: ExitStack

    def check(self) -> None:
        """Read the configuration; raises :class:`ConfigurationError` when it cannot be taken over."""
        fresh = Installation.load(self.given)
        before, after = self.installation, fresh
        if (before.layout, before.configuration.profile) != (after.layout, after.configuration.profile):
            raise ConfigurationError(
                f"{fresh.file} names another root or profile, which a running agent cannot change",
                hint="restart the agent to take it over; until then it goes on as it is",
            )
        self.installation = fresh

    def renew(self) -> tuple[Engine, str]:
        """End the engine, and make one from what was read."""
        self.engines.close()
        set_level(self.installation.configuration.log.level)
        # a damaged journal is found before anything relies on it, or after something met it
        engine = self.engines.enter_context(self.installation.engine(thorough=True))
        return engine, self.installation.host_name
