"""What the tests of a whole server share: the wheels to install, the booted Debian, and who works on it.

A story is a file, told in order. Files go on, in the order of their names, with one server, but for those that
``OWN_SERVER`` lists.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from xdist.scheduler import LoadScopeScheduling

from container import Container, booted
from image import CHECKOUT, WHEELS, debian_image, wheel_folder
from machine import Unfit, provide_programs
from pythons import PYTHONS, mirrored, python_folder
from story import Developer, Operator

BUILD_SECONDS = 60.0
OWN_SERVER = frozenset({"test_cloud_server.py"})
"""Stories of servers of their own, which may be told at the same time."""
PYTHONS_STORY = "test_server_interpreters.py"
"""The one that costs more than all others: it compiles a Python. ``.ci/run`` has it told by turns."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Say where this machine has no Python that the server could get from a mirror."""
    if story := [item for item in items if item.path.name == PYTHONS_STORY]:
        try:
            mirrored()
        except Unfit as unfit:
            for item in story:
                item.add_marker(pytest.mark.skip(reason=str(unfit)))


def pytest_configure(config: pytest.Config) -> None:
    """Say what lacks before anything is tried."""
    if config.option.collectonly or config.option.help or hasattr(config, "workerinput"):
        return
    try:
        provide_programs()
    except Unfit as unfit:
        pytest.exit(str(unfit), returncode=4)


def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> LoadScopeScheduling:
    """Let one worker tell all that happens on one server."""
    return ByServer(config, log)


class ByServer(LoadScopeScheduling):
    """Gives a worker all stories of a server, in their order."""

    def _split_scope(self, nodeid: str) -> str:
        file = Path(nodeid.partition("::")[0]).name
        return file if file in OWN_SERVER else "server"


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
def container(wheels: Path, request: pytest.FixtureRequest) -> Iterator[Container]:
    """A blank Debian, booted, that can install packages and wheels without a network."""
    shown = {wheel_folder(): WHEELS, wheels: "/srv/reconciler"}
    told = [item for item in request.session.items if item.get_closest_marker("skip") is None]
    if any(item.path.name == PYTHONS_STORY for item in told):
        shown[python_folder()] = PYTHONS
    with booted(debian_image(), shown) as made:
        yield made


@pytest.fixture(scope="session")
def developer(container: Container) -> Developer:
    """Commits to the repositories that the server itself serves."""
    return Developer(container)


@pytest.fixture(scope="session")
def operator(container: Container) -> Operator:
    """Runs the reconciler on the server."""
    return Operator(container)
