"""Units of systemd: started, reloaded and found by their names."""

from __future__ import annotations

from reconciler.host.process_table import status_of
from reconciler.host.processes import Result, run
from reconciler.model.errors import CommandFailed, HostError

SYSTEMCTL_SECONDS = 100.0
"""systemd's own limit for a start is 90 s."""
ASK_SECONDS = 10.0


class Unit:
    """One unit; its main process is asked for once, and again when that process is gone."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._main: tuple[int, int] | None = None

    def pid(self) -> int | None:
        """The main process, when the unit runs."""
        if self._main is not None and _started(self._main[0]) == self._main[1]:
            return self._main[0]
        self._main = None
        pid = int(self._show("MainPID") or 0)
        if pid and (started := _started(pid)) is not None:
            self._main = (pid, started)
            return pid
        return None

    def known(self) -> bool:
        """Whether systemd has a file for the unit."""
        return self._show("LoadState") == "loaded"

    def start(self) -> None:
        """Start the unit; raises :class:`HostError` with what systemd says when it does not come up."""
        self._systemctl("start")

    def stop(self) -> bool:
        """Stop the unit; ``False`` when it did not run."""
        ran = self.pid() is not None
        self._systemctl("stop")
        return ran

    def reload(self) -> None:
        """Have the unit read its configuration again; raises :class:`HostError`."""
        self._systemctl("reload")

    def _show(self, what: str) -> str:
        command = ["systemctl", "show", "--property", what, "--value", self.name]
        try:
            return run(command, timeout=ASK_SECONDS, what=f"systemctl show {self.name}").text.strip()
        except CommandFailed as error:
            raise HostError(
                f"systemd cannot be asked about {self.name}: {error}",
                hint="the system profile needs systemd; without it, set `profile: embedded` in agent.yaml",
            ) from error

    def _systemctl(self, verb: str) -> Result:
        try:
            return run(
                ["systemctl", verb, self.name], timeout=SYSTEMCTL_SECONDS, what=f"systemctl {verb} {self.name}"
            )
        except CommandFailed as error:
            said = error.tail.strip().splitlines()
            raise HostError(
                f"{self.name} does not {verb}: {said[0] if said else error}",
                hint=f"`systemctl status {self.name}` and `journalctl -u {self.name}` say why",
            ) from error


def _started(pid: int) -> int | None:
    """When a process started, in clock ticks since the boot; ``None`` when it has ended."""
    status = status_of(pid)
    return status.started if status is not None and status.runs else None
