"""Proves that a site is served and probed on an IPv6 address, which is written with brackets and without."""

from __future__ import annotations

import socket

import httpx
import pytest

from reconciler.host.probing import PLAIN
from reconciler.model.plan import Outcome
from tests.world import World, of


def _has_ipv6_loopback() -> bool:
    try:
        with socket.socket(socket.AF_INET6) as trial:
            trial.bind(("::1", 0))
    except OSError:
        return False
    return True


@pytest.mark.skipif(not _has_ipv6_loopback(), reason="this host has no IPv6 on its loopback")
def test_an_app_without_a_name_is_served_on_an_ipv6_address(world: World) -> None:
    text = world.agent_file.read_text().replace("address: 127.0.0.1", 'address: "::1"')
    world.agent_file.write_text(text)
    world.add_app("blog", "hello", nginx={"serverNames": []})
    result = of(world.once(), "blog")
    assert result.error is None, result.error
    assert result.outcome is Outcome.CHANGED
    with httpx.Client(trust_env=False, timeout=10, verify=PLAIN) as client:
        assert client.get(f"http://[::1]:{world.port}/").text == "hello"
