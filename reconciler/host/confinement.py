"""What a command of an app may have and may touch.

In the system profile it runs in a unit of systemd (:mod:`~reconciler.host.transient_unit`), which nothing that it
starts can leave. Elsewhere it leads a process group, and the kernel's limits hold for each of its processes.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from reconciler.host.processes import Account, Limits, Result, run
from reconciler.host.transient_unit import MEGABYTE, UnitLimits, run_in_unit, systemd_runs
from reconciler.model.configuration import Limits as Configured
from reconciler.model.errors import CommandFailed, CommandTimedOut

CPU_SECONDS = 3_600
FILE_BYTES = 8 * 1024**3
SHARE_OF_MEMORY = 0.75
"""How much of the host's memory is left to one app where agent.yaml does not say."""
_STARVED = re.compile(
    r"MemoryError|bad_alloc|[Oo]ut of memory|Cannot allocate memory|Resource temporarily unavailable|"
    r"can't start new thread"
)
"""What programs print when the kernel refuses them memory, a process or a thread."""


@dataclass(frozen=True, slots=True)
class Allowance:
    """How much memory, in bytes, and how many processes and threads a command, or a vassal, may have."""

    memory_bytes: int
    processes: int

    @classmethod
    def of(cls, limits: Configured) -> Allowance:
        """What agent.yaml says, and what this host has where it does not."""
        installed = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
        return cls(limits.memory_bytes or int(installed * SHARE_OF_MEMORY), limits.processes)

    def __str__(self) -> str:
        """As a hint says it."""
        return f"{self.memory_bytes // MEGABYTE:,} MiB of memory and {self.processes:,} processes"


@dataclass(frozen=True, slots=True)
class Confinement:
    """Who a command runs as (``account``; ``None``: as the agent), what it may have, and where it may write.

    ``hidden`` are the agent's own places: even their names are none of its business. Without an account there is
    nobody to keep it from writing elsewhere.
    """

    account: Account | None
    allowance: Allowance
    writable: tuple[Path, ...] = ()
    hidden: tuple[Path, ...] = ()


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
        limits = UnitLimits(allowance.memory_bytes, allowance.processes, CPU_SECONDS, FILE_BYTES)
        places = (confinement.writable, confinement.hidden)
        return run_in_unit(
            command, account, limits, *places, timeout=timeout, cwd=cwd, env=env, what=what, on_line=on_line,
            on_output=on_output,
        )  # fmt: skip
    try:
        return run(
            command,
            timeout=timeout,
            cwd=cwd,
            env=env,
            limits=Limits(
                CPU_SECONDS, FILE_BYTES, memory_bytes=allowance.memory_bytes, processes=allowance.processes
            ),
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
