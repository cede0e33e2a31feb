"""What an agent of the campaign is besides the command that it runs: watched, and ended where its plan says."""

from __future__ import annotations

import ctypes
import importlib
import os
import signal
from pathlib import Path

from points import watch
from reconciler.host import daemons

PR_SET_PDEATHSIG = 1


def prepare(plan: dict[str, object]) -> None:
    """Do to this process what the plan says.

    ``boot`` is a file that names the host's start in place of the kernel's own; ``module`` one with a ``prepare`` of
    its own; the rest is for :func:`points.watch`.
    """
    parent = os.getppid()
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)
    os.setsid()
    if (boot := plan.get("boot")) is not None:
        daemons.BOOT_ID = Path(str(boot))
    if module := plan.get("module"):
        importlib.import_module(str(module)).prepare(plan)
    watch(plan)
