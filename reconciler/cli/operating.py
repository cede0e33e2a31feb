"""An operator's command: the agent does it, or, where none runs, the command itself, under the state lock."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from reconciler.cli.agent_client import ask_agent
from reconciler.cli.output import write_notes
from reconciler.cli.views.lines import line
from reconciler.host.journal import Journal
from reconciler.host.locking import state_lock
from reconciler.model.control import Request
from reconciler.model.errors import AgentNotRunning

if TYPE_CHECKING:
    from reconciler.cli.wiring import Installation


def ask_or_do(
    installation: Installation, request: Request, directly: Callable[[Journal], Mapping[str, Any]]
) -> Mapping[str, Any]:
    """What the agent answers, or what ``directly`` did to the journal; the latter is said on standard error."""
    try:
        return ask_agent(installation.layout.control, request)
    except AgentNotRunning:
        pass
    # there must be a journal: a wrong configuration would make a state folder of its own
    installation.journal().close()
    with state_lock(installation.layout), installation.journal(write=True) as journal:
        done = directly(journal)
    write_notes([line("No agent runs: the command works on the journal itself.")])
    return done
