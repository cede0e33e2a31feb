"""What a pass does while it does it, on standard error: live lines on a terminal, else one line per stage."""

from __future__ import annotations

import sys
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from reconciler.cli.output import colour_wanted, write_notes
from reconciler.cli.views.lines import Line, Part, Style, coloured, line, plain
from reconciler.cli.views.times import duration
from reconciler.model.printable import printable

if TYPE_CHECKING:
    from rich.live import Live
    from rich.table import Table

    from reconciler.model.plan import Change

REFRESHES_PER_SECOND = 8.0
TIME_COLUMNS = 11


@dataclass(slots=True)
class PlainProgress:
    """One line per stage, when it has ended: for pipes, files and the logs of a service."""

    _reasons: dict[tuple[str, str], str] = field(default_factory=dict)

    def stage_started(self, app: str, change: Change) -> None:
        """Remember why the stage runs."""
        self._reasons[app, change.stage.value] = ", ".join(reason.value for reason in change.reasons)

    def stage_said(self, app: str, stage: str, line: str) -> None:
        """Say nothing: what programs print is quoted only where it explains a failure."""

    def stage_finished(self, app: str, stage: str, seconds: float, error: str | None) -> None:
        """Write the line, in one piece, so that lines of apps that end together do not mix."""
        reasons = self._reasons.pop((app, str(stage)), "")
        write_notes([finished_line(app, stage, seconds, reasons, error)])

    def close(self) -> None:
        """Nothing is open."""


@dataclass(slots=True)
class _Running:
    """A stage that runs: why, since when (monotonic seconds), and what it printed last."""

    reasons: str
    started: float
    said: str = ""


class LiveProgress:
    """A live line per running stage, with its time and the last line that it printed; ended stages stay above."""

    def __init__(self) -> None:
        self._running: dict[tuple[str, str], _Running] = {}
        self._lock = threading.Lock()
        self._starting = threading.Lock()
        self._live: Live | None = None

    def stage_started(self, app: str, change: Change) -> None:
        """Show a line for the stage."""
        reasons = ", ".join(reason.value for reason in change.reasons)
        with self._lock:
            self._running[app, change.stage.value] = _Running(reasons, time.monotonic())
        # not under the lock of the lines: drawing them takes it, and starting draws
        with self._starting:
            if self._live is None:
                self._live = _start_live(self)

    def stage_said(self, app: str, stage: str, line: str) -> None:
        """Show what the stage printed last."""
        with self._lock:
            running = self._running.get((app, str(stage)))
            if running is not None and line.strip():
                running.said = printable(line.strip())

    def stage_finished(self, app: str, stage: str, seconds: float, error: str | None) -> None:
        """Leave the stage's line above the live ones."""
        from rich.text import Text  # noqa: PLC0415  imported by the live lines already

        with self._lock:
            running = self._running.pop((app, str(stage)), None)
        live = self._live
        if live is not None:
            ended = finished_line(app, stage, seconds, running.reasons if running else "", error)
            text = coloured(ended) if colour_wanted(sys.__stderr__ or sys.stderr) else plain(ended)
            # a terminal that was closed must not end a deployment
            with suppress(OSError):
                live.console.print(Text.from_ansi(text), soft_wrap=True)

    def close(self) -> None:
        """Take the live lines away and give the terminal back."""
        if self._live is not None:
            self._live.stop()

    def table(self) -> Table:
        """The running stages as they are now; drawn again several times a second."""
        from rich.table import Table  # noqa: PLC0415
        from rich.text import Text  # noqa: PLC0415

        table = Table.grid(padding=(0, 2, 0, 0), expand=True)
        for width in (None, None, TIME_COLUMNS):
            table.add_column(no_wrap=True, width=width)
        table.add_column(no_wrap=True, overflow="ellipsis", ratio=1)
        with self._lock:
            running = [(*name, state.started, state.said) for name, state in self._running.items()]
        for app, stage, started, said in running:
            took = duration(time.monotonic() - started)
            table.add_row(Text(app, "bold"), Text(stage), Text(took), Text(said, "dim"))
        return table


def finished_line(app: str, stage: str, seconds: float, reasons: str, error: str | None) -> Line:
    """What is said when a stage has ended."""
    took = duration(seconds)
    if error is not None:
        return line(f"{app} {stage}: ", Part("failed", Style.BAD), f" after {took}: {error.partition(chr(10))[0]}")
    return line(f"{app} {stage}: ", Part("done", Style.GOOD), f" in {took}", f" ({reasons})" if reasons else "")


def make_progress() -> PlainProgress | LiveProgress:
    """The progress that suits standard error; the caller closes it."""
    return LiveProgress() if sys.stderr.isatty() else PlainProgress()


def _start_live(progress: LiveProgress) -> Live:
    # rich takes 100 ms to import: a pass with nothing to do does without
    from rich.console import Console  # noqa: PLC0415
    from rich.live import Live  # noqa: PLC0415

    console = Console(stderr=True, highlight=False, no_color=not colour_wanted(sys.stderr))
    live = Live(
        console=console,
        get_renderable=progress.table,
        refresh_per_second=REFRESHES_PER_SECOND,
        transient=True,
        redirect_stdout=False,
    )
    live.start()
    return live
