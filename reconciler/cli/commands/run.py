"""``reconciler run``: the agent, in the foreground."""

from __future__ import annotations

import os
from pathlib import Path

from reconciler.agent.agent import Agent
from reconciler.agent.logs import configure_logs, set_level
from reconciler.cli.wiring import Installation
from reconciler.host.locking import AGENT, state_lock
from reconciler.host.notifying import ServiceManager


def command(configuration: Path | None) -> int:
    """Reconcile until SIGTERM or SIGINT; returns the exit status."""
    configure_logs()
    service = ServiceManager.of(os.environ)
    installation = Installation.load(configuration)
    set_level(installation.configuration.log.level)
    installation.layout.create()
    with state_lock(installation.layout, AGENT), installation.engine() as engine:
        Agent(engine, installation.host_name, service=service).run()
    return 0
