"""Proves the system profile without systemd: accounts keep apps apart, nginx's own port, the Emperor as a tyrant."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from reconciler.model.plan import Outcome
from system_world import SystemWorld, is_root, new_system_world
from world import of

pytestmark = pytest.mark.skipif(not is_root(), reason="only root can run apps as other accounts")


@pytest.fixture
def world() -> Iterator[SystemWorld]:
    with new_system_world() as made:
        yield made


def test_an_app_serves_from_its_own_account(world: SystemWorld) -> None:
    world.add_app("blog", "hello", user="games", nginx={"listen": world.port})
    result = world.once()
    assert of(result, "blog").outcome is Outcome.CHANGED, of(result, "blog").error
    assert world.text("blog.example.com") == "hello"
