"""What the campaign shares with the tests: their worlds, and one cache of wheels."""

from __future__ import annotations

import os
import sys
import zlib
from pathlib import Path

import pytest

TURNS = 5

# programs that the campaign starts would compile every module anew, each time
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False

# the index is asked once, by the tests or by the campaign
os.environ.setdefault("UV_CACHE_DIR", str(Path(__file__).parent.parent / ".cache" / "uv-tests"))


def pytest_addoption(parser: pytest.Parser) -> None:
    """``make campaign ARGS=--long``: every point instead of one of each kind, longer sequences."""
    parser.addoption("--long", action="store_true", help="do more of the same, for as long as it takes")
    parser.addoption("--share", type=float, default=1.0, help="do only this share of what is done in numbers")
    parser.addoption(
        "--turn", help="do only a fifth of the tests: those whose turn it is with this word, say a commit"
    )


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Whose turn it is follows from the word and the test's name alone: each worker chooses the same."""
    turn = config.getoption("--turn")
    if turn is None:
        return
    # a run that others share the machine with says nothing about seconds
    able = [item for item in items if item.get_closest_marker("serial") is None]
    chosen = [item for item in able if zlib.crc32(f"{turn} {item.nodeid}".encode()) % TURNS == 0]
    config.hook.pytest_deselected(items=[item for item in items if item not in chosen])
    items[:] = chosen


@pytest.fixture(scope="session")
def long(request: pytest.FixtureRequest) -> bool:
    """Whether this run may take as long as it likes."""
    return bool(request.config.getoption("--long"))


@pytest.fixture(scope="session")
def share(request: pytest.FixtureRequest) -> float:
    """How much of what is done in numbers (points, moments, sequences, inputs) this run does: 1 is all of it."""
    return float(request.config.getoption("--share"))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say what the campaign did: tests tell it with ``record_property("campaign", sentence)``."""
    reports = [report for kind in ("passed", "failed") for report in terminalreporter.getreports(kind)]
    told = [text for report in reports for name, text in report.user_properties if name == "campaign"]
    if told:
        terminalreporter.section("what the campaign did")
    for text in told:
        terminalreporter.write_line(text)
