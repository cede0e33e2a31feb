"""What the kernel's control groups enforce, and what they have had to refuse: of version 2, or of version 1."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

CONTROL_GROUPS = Path("/sys/fs/cgroup")


def missing_limits(group: str) -> list[str]:
    """The keys of agent.yaml that the kernel does not enforce for a group, a path relative to the top."""
    files = {
        "limits.memory": (CONTROL_GROUPS / group / "memory.max", CONTROL_GROUPS / "memory" / group),
        "limits.processes": (CONTROL_GROUPS / group / "pids.max", CONTROL_GROUPS / "pids" / group),
    }
    return [key for key, places in files.items() if not any(place.exists() for place in places)]


def limits_reached(group: str) -> list[str]:
    """The limits that the processes of a group have come to: ``memory``, ``processes``."""
    counts = {
        "memory": _count(CONTROL_GROUPS / group / "memory.events", "oom_kill")
        or _count(CONTROL_GROUPS / "memory" / group / "memory.oom_control", "oom_kill"),
        "processes": _count(CONTROL_GROUPS / group / "pids.events", "max")
        or _count(CONTROL_GROUPS / "pids" / group / "pids.events", "max"),
    }
    return [limit for limit, count in counts.items() if count]


def _count(file: Path, name: str) -> int:
    """One number of a file of names and numbers; 0 where there is none."""
    with suppress(OSError, ValueError):
        for line in file.read_text().splitlines():
            if line.split()[0] == name:
                return int(line.split()[1])
    return 0
