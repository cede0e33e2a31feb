"""What the campaign shares with the tests: their worlds, and one cache of wheels."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

# programs that the campaign starts would compile every module anew, each time
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False

# the index is asked once, by the tests or by the campaign
os.environ.setdefault("UV_CACHE_DIR", str(Path(__file__).parent.parent / ".cache" / "uv-tests"))


def pytest_addoption(parser: pytest.Parser) -> None:
    """``make campaign ARGS=--long``: every point instead of one of each kind, longer sequences."""
    parser.addoption("--long", action="store_true", help="do more of the same, for as long as it takes")


@pytest.fixture(scope="session")
def long(request: pytest.FixtureRequest) -> bool:
    """Whether this run may take as long as it likes."""
    return bool(request.config.getoption("--long"))
