"""The distribution's uWSGI: one program, and plugins for the languages that it runs."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

from reconciler.model.errors import HostError

PROGRAMS = (Path("/usr/bin/uwsgi"), Path("/usr/bin/uwsgi-core"))
PLUGIN = "python3"
PLUGIN_FILES = (Path("/usr/lib/uwsgi/plugins/python3_plugin.so"), Path("/usr/lib64/uwsgi/python3_plugin.so"))
HINT = "apt-get install uwsgi-core uwsgi-plugin-python3, or set `uwsgi: environment` in agent.yaml"


@dataclass(frozen=True, slots=True)
class DistributionUwsgi:
    """The program, and the one version of Python, such as ``3.11``, that its plugin has."""

    binary: Path
    python: str


def find_distribution_uwsgi() -> DistributionUwsgi:
    """Look for it; :class:`HostError` with the packages to install where it is not there."""
    binary = next((program for program in PROGRAMS if os.access(program, os.X_OK)), None)
    if binary is None:
        raise HostError("the distribution's uWSGI is not on this host", hint=HINT)
    for file in PLUGIN_FILES:
        # Debian's alternatives lead from python3_plugin.so to python311_plugin.so
        found = re.fullmatch(r"python(\d)(\d+)_plugin\.so", file.resolve().name)
        if file.exists() and found:
            return DistributionUwsgi(binary, f"{found[1]}.{found[2]}")
    raise HostError("the distribution's uWSGI has no plugin for Python on this host", hint=HINT)
