"""Fixtures for all tests."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

# one cache of wheels for all tests and runs: the index is asked once
os.environ.setdefault("UV_CACHE_DIR", str(Path(__file__).parent.parent / ".cache" / "uv-tests"))


@pytest.fixture
def world() -> Iterator[object]:
    """A host with a config repository, nginx and uWSGI of its own."""
    from world import new_world

    with new_world() as made:
        yield made
