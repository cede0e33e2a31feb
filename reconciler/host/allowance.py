"""What the commands and vassals of an app may take of the host, and how that is said."""

from __future__ import annotations

import os
from dataclasses import dataclass

from reconciler.model.configuration import Limits as Configured

MEGABYTE = 1024 * 1024
SHARE_OF_MEMORY = 0.75
"""How much of the host's memory is left to one app where agent.yaml does not say."""
CPU_SECONDS = 3_600
"""For each process of a command;"""
FILE_BYTES = 8 * 1024**3
"""and for each file that it writes."""


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

    def exceeded(self, limit: str) -> str:
        """What happened to a command that came to ``memory`` or ``processes``, as the end of a sentence."""
        if limit == "memory":
            return f"after it was killed for using more than {self.memory_bytes // MEGABYTE:,} MiB (limits.memory)"
        return f"after it was refused more than {self.processes:,} processes (limits.processes)"
