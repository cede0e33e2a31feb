"""Ctrl-C during a pass: it ends at a safe point within seconds, or at once when it is pressed again."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from reconciler.cli.main import INTERRUPTED_STATUS
from reconciler.cli.output import write_notes
from reconciler.cli.views.lines import line
from reconciler.host.interruption import Interrupted, forget_interruption, interrupt

SHOW_CURSOR = b"\x1b[?25h\n"


@contextmanager
def ending_safely() -> Iterator[None]:
    """Let the first Ctrl-C end programs and waits, and the second one this process."""
    before = signal.signal(signal.SIGINT, _first)
    try:
        yield
    except Interrupted as interrupted:
        raise KeyboardInterrupt from interrupted
    finally:
        signal.signal(signal.SIGINT, before)
        forget_interruption()


def _first(_number: int, _frame: FrameType | None) -> None:
    signal.signal(signal.SIGINT, _second)
    write_notes([(), line("ending at a safe point; Ctrl-C again ends at once")])
    interrupt()
    raise KeyboardInterrupt


def _second(_number: int, _frame: FrameType | None) -> None:
    # whatever is half done was made aside, and the next pass takes it away
    if sys.stderr.isatty():
        os.write(sys.stderr.fileno(), SHOW_CURSOR)
    os._exit(INTERRUPTED_STATUS)
