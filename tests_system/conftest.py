"""What the tests of a whole server need from the machine: root, debootstrap, systemd-nspawn."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from container import Container, booted
from image import CHECKOUT, WHEELS, debian_image, say, wheel_folder

NEEDED = {"debootstrap": "debootstrap", "systemd-nspawn": "systemd-container", "nsenter": "util-linux"}
APT_SECONDS = 180.0
BUILD_SECONDS = 60.0


def pytest_configure(config: pytest.Config) -> None:
    """Say what lacks before anything is tried."""
    if config.option.collectonly or config.option.help:
        return
    if os.geteuid() != 0:
        pytest.exit("booting a Debian needs root: sudo make test-system", returncode=4)
    lacking = sorted({package for program, package in NEEDED.items() if shutil.which(program) is None})
    if lacking:
        _install(lacking)


def _install(packages: list[str]) -> None:
    if shutil.which("apt-get") is None:
        pytest.exit(f"booting a Debian needs {', '.join(packages)}: install them and try again", returncode=4)
    say(f"installing {', '.join(packages)} on this machine")
    quietly = ["apt-get", "--quiet", "--yes", "--no-install-recommends", "install", *packages]
    settings = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for attempt in (quietly, ["apt-get", "--quiet", "update"], quietly):
        done = subprocess.run(attempt, env=settings, capture_output=True, text=True, timeout=APT_SECONDS, check=False)
        if attempt is quietly and done.returncode == 0:
            return
    pytest.exit(f"{', '.join(packages)} could not be installed: {done.stderr.strip()[-500:]}", returncode=4)


@pytest.fixture(scope="session")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with this checkout's wheel, and the same again with a higher version."""
    folder = tmp_path_factory.mktemp("wheels")
    _build(CHECKOUT, folder)
    newer = tmp_path_factory.mktemp("newer") / "checkout"
    ignored = shutil.ignore_patterns(".*", "dist", "build", "__pycache__", "demo")
    shutil.copytree(CHECKOUT, newer, ignore=ignored)
    version = newer / "reconciler" / "__init__.py"
    text = version.read_text()
    assert '__version__ = "' in text
    version.write_text(f'{text.partition("__version__ =")[0]}__version__ = "999.0.0"\n')
    _build(newer, folder)
    return folder


def _build(checkout: Path, folder: Path) -> None:
    command = [sys.executable, "-m", "uv", "build", "--quiet", "--wheel", "--out-dir", str(folder), str(checkout)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=BUILD_SECONDS, check=False)
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="session")
def container(wheels: Path) -> Iterator[Container]:
    """A blank Debian, booted, that can install packages and wheels without a network."""
    with booted(debian_image(), {wheel_folder(): WHEELS, wheels: "/srv/reconciler"}) as made:
        yield made
