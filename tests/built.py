"""The environment of an app without requirements: built by the first host of a process, there on those after it.

So it is on a host that has another app; a test that is about building it marks itself with ``builds``.
"""

from __future__ import annotations

import atexit
import functools
import shutil
import tempfile
from pathlib import Path

BUILDS = Path("store/build")
"""Where a state folder has its environments."""


@functools.cache
def _kept() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="rk-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def provide(root: Path) -> None:
    """Copy what was built before into the state folder of a new host."""
    for output in _kept().iterdir():
        shutil.copytree(output, root / BUILDS / output.name, symlinks=True)


def keep(root: Path) -> None:
    """Keep the environment with nothing but uWSGI, the first time that a host has one."""
    if not any(_kept().iterdir()):
        for output in (root / BUILDS).glob("*"):
            packages = list(output.glob("environment/lib/python3*/site-packages/*.dist-info"))
            if [package.name.lower().partition("uwsgi-")[0] for package in packages] in ([""], ["py"]):
                shutil.copytree(output, _kept() / output.name, symlinks=True)
                return
