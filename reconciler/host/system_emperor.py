"""The Emperor as a unit of systemd, which starts each vassal in confines of its own, as the account of its file."""

from __future__ import annotations

from pathlib import Path

from reconciler.host.allowance import Allowance
from reconciler.host.daemons import DEFAULT_PATH
from reconciler.host.files import write_whole
from reconciler.host.system_layout import SystemLayout
from reconciler.host.systemd import Unit
from reconciler.host.uwsgi import Emperor, emperor_options
from reconciler.host.vassal_start import render_start

UNIT = "reconciler-emperor.service"


class SystemEmperor(Emperor):
    """The Emperor in its own unit, so that nothing that happens to the agent reaches it."""

    layout: SystemLayout

    def __init__(self, layout: SystemLayout, binary: Path, allowance: Allowance, unit: Unit | None = None) -> None:
        super().__init__(layout, binary)
        self._allowance = allowance
        self._unit = unit or Unit(UNIT)

    def ensure_running(self) -> bool:
        """As any Emperor; the limits of vassals take effect with the next start of each."""
        write_whole(self.layout.starter, render_start(self.layout, self._allowance), mode=0o755)
        return super().ensure_running()

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
    """The file that the unit starts uWSGI with: what the embedded profile says, and who starts the vassals.

    Not in tyrant mode: a vassal's group and its view have to be made before root's rights are gone, and uWSGI 2.0 has
    no place in between. The program that makes them takes the account from the owner of the file, as that mode does.
    """
    options = {
        **dict(emperor_options(layout)),
        "emperor-wrapper": str(layout.starter),
        "pidfile": str(layout.run / "emperor.pid"),
        "logto": str(layout.logs / "emperor.log"),
    }
    lines = (f"{name} = {'true' if value is None else value}" for name, value in options.items())
    return "\n".join(
        ("# the Emperor of the reconciler, started by reconciler-emperor.service", "[uwsgi]", *lines, "")
    )
