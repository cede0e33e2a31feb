"""What the tests of a whole server share: the wheels to install, and the booted Debian."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from container import Container, booted
from image import CHECKOUT, WHEELS, debian_image, wheel_folder
from machine import Unfit, provide_programs

BUILD_SECONDS = 60.0


def pytest_configure(config: pytest.Config) -> None:
    """Say what lacks before anything is tried."""
    if config.option.collectonly or config.option.help:
        return
    try:
        provide_programs()
    except Unfit as unfit:
        pytest.exit(str(unfit), returncode=4)


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
