"""Proves that a blank Debian becomes a server that deploys, survives reboots and upgrades, and stays as it is."""

from __future__ import annotations

from container import Container


def test_boots(container: Container) -> None:
    assert container.must("systemctl", "is-system-running") == "running"
    container.reboot()
