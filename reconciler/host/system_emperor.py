"""The Emperor as a unit of systemd, which runs each vassal as the account that owns its file (tyrant mode)."""

from __future__ import annotations

from pathlib import Path

from reconciler.host.daemons import DEFAULT_PATH
from reconciler.host.system_layout import SystemLayout
from reconciler.host.systemd import Unit
from reconciler.host.uwsgi import Emperor, emperor_options

UNIT = "reconciler-emperor.service"


class SystemEmperor(Emperor):
    """The Emperor in its own unit, so that nothing that happens to the agent reaches it."""

    layout: SystemLayout

    def __init__(self, layout: SystemLayout, binary: Path, unit: Unit | None = None) -> None:
        super().__init__(layout, binary)
        self._unit = unit or Unit(UNIT)

    def running(self) -> bool:
        """Whether the Emperor's process is there."""
        return self._unit.pid() is not None

    def stop(self) -> bool:
        """End the unit and with it every vassal; ``False``: it did not run."""
        return self._unit.stop()

    def _start(self) -> None:
        self._unit.start()

    @staticmethod
    def _vassal_environment() -> dict[str, str]:
        # home and name are the account's, and in the file of its variables
        return {"PATH": DEFAULT_PATH, "LANG": "C.UTF-8"}


def emperor_configuration(layout: SystemLayout) -> str:
    """The file that the unit starts uWSGI with: what the embedded profile says, and one account per vassal."""
    options = (
        *emperor_options(layout),
        ("emperor-tyrant", None),
        # an owner is whoever owns the file itself, not what a link leads to
        ("emperor-tyrant-nofollow", None),
        ("emperor-tyrant-initgroups", None),
        ("pidfile", str(layout.run / "emperor.pid")),
        ("logto", str(layout.logs / "emperor.log")),
    )
    lines = (f"{name} = {'true' if value is None else value}" for name, value in options)
    return "\n".join(
        ("# the Emperor of the reconciler, started by reconciler-emperor.service", "[uwsgi]", *lines, "")
    )
