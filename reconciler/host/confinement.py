"""What a command of an app may have and may touch.

In the system profile it runs in a unit of systemd (:mod:`~reconciler.host.transient_unit`), which nothing that it
starts can leave. Elsewhere it leads a process group, and the kernel's limits hold for each of its processes.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from reconciler.host.abandoned import named
from reconciler.host.allowance import CPU_SECONDS, FILE_BYTES, Allowance
from reconciler.host.processes import Account, Limits, Result, run
from reconciler.host.transient_unit import TransientUnit, as_input, systemd_runs
from reconciler.model.errors import CommandFailed, CommandTimedOut

_STARVED = re.compile(
    r"MemoryError|bad_alloc|[Oo]ut of memory|Cannot allocate memory|Resource temporarily unavailable|"
    r"can't start new thread"
)
"""What programs print when the kernel refuses them memory, a process or a thread."""


@dataclass(frozen=True, slots=True)
class Confinement:
    """Who a command runs as (``account``; ``None``: as the agent), what it may have, and where it may write.

    ``hidden`` are the agent's own places: even their names are none of its business. Without an account there is
    nobody to keep it from writing elsewhere. ``names`` is where it is named while it runs, to be found when the agent
    was killed; ``None``: it is too short for that.
    """

    account: Account | None
    allowance: Allowance
    writable: tuple[Path, ...] = ()
    hidden: tuple[Path, ...] = ()
    names: Path | None = None


def run_confined(
    command: Sequence[str],
    confinement: Confinement,
    *,
    timeout: float,
    cwd: Path,
    env: Mapping[str, str],
    what: str,
    on_line: Callable[[str], None] | None = None,
    on_output: Callable[[bytes], None] | None = None,
) -> Result:
    """Run a command of an app to its end, as :func:`~reconciler.host.processes.run` does, and with its errors.

    The error of a command that came to a limit says which.
    """
    account, allowance = confinement.account, confinement.allowance
    if account is not None and systemd_runs():
        unit = TransientUnit(account, allowance, confinement.writable, confinement.hidden, what)
        with unit.ends_with(command):
            return run(
                unit.starting(command, cwd, timeout),
                timeout=timeout,
                cwd=Path("/"),
                stdin=as_input(env),
                what=what,
                on_line=on_line,
                on_output=on_output,
            )
    limits = Limits(CPU_SECONDS, FILE_BYTES, memory_bytes=allowance.memory_bytes, processes=allowance.processes)
    try:
        # no unit ends it with an agent that is killed
        with named(confinement.names) as name:
            return run(
                command,
                timeout=timeout,
                cwd=cwd,
                env={**env, **name},
                limits=limits,
                account=account,
                what=what,
                on_line=on_line,
                on_output=on_output,
            )
    except CommandFailed as error:
        if not isinstance(error, CommandTimedOut) and _STARVED.search(error.tail):
            error.hint = (
                f"it may have {allowance}: raise limits.memory or limits.processes in agent.yaml, or have it use less"
            )
        raise
