"""Fixtures for all tests."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Generator, Iterator
from pathlib import Path

import hypothesis
import pytest

import canary

# programs that the tests start would compile every module anew, each time
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False

# how long an example takes says how busy the machine is, not what the code does
hypothesis.settings.register_profile(
    "shared machine", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("shared machine")

# a shell ignores Ctrl-C for what runs in the background, and programs inherit that; those that tests start
# have to end by it
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# one cache of wheels for all tests and runs: the index is asked once
os.environ.setdefault("UV_CACHE_DIR", str(Path(__file__).parent.parent / ".cache" / "uv-tests"))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the long tests, whatever the random order is: one that began last would run alone at the end."""
    items.sort(key=lambda item: item.get_closest_marker("long") is None)


canary.watch_arguments()


@pytest.fixture(autouse=True)
def no_canary_in_arguments() -> Iterator[None]:
    """No program is started with the secret among its arguments."""
    yield
    canary.check_arguments()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """A test that prints the secret, or logs it, fails."""
    report = yield
    if report.outcome == "passed" and any(canary.MARK in text for _, text in report.sections):
        report.outcome = "failed"
        report.longrepr = "the canary is in what the test printed or logged"
    return report


@pytest.fixture
def world(request: pytest.FixtureRequest) -> Iterator[object]:
    """A host with a config repository, nginx and uWSGI of its own."""
    from world import new_world

    timed = any(request.node.get_closest_marker(mark) for mark in ("serial", "load", "endurance"))
    with new_world(settled=not timed and not request.node.get_closest_marker("builds")) as made:
        made.canary = not timed
        yield made


@pytest.fixture
def configure_logs() -> Iterator[Callable[[], None]]:
    """Lets logs in this process be as the agent configures them, for one test only; called in the test itself."""
    import logging

    import structlog

    from reconciler.agent import logs
    from reconciler.host import reporting

    before = logging.root.handlers[:]
    yield logs.configure_logs
    logging.root.handlers[:] = before
    reporting.listen(None)
    structlog.reset_defaults()


@pytest.fixture(scope="session")
def one_town() -> Iterator[object]:
    """Two apps on one host, made once for all tests of a worker."""
    from breaking import new_town

    with new_town() as made:
        made.settle()
        yield made


@pytest.fixture
def town(one_town: object) -> Iterator[object]:
    """The host with two apps, converged; what a test breaks in git is corrected after it, and must converge."""
    yield one_town
    one_town.settle()  # type: ignore[attr-defined]
