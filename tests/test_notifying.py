"""Proves what the agent tells systemd, when, and that nobody else is told."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from reconciler.host.notifying import BEATS, ServiceManager

MINUTE_USEC = "60000000"


class Listener:
    """systemd's end of the socket."""

    def __init__(self, address: str) -> None:
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(address)
        self.socket.setblocking(False)

    def heard(self) -> list[str]:
        """All words since the last time."""
        words = []
        while True:
            try:
                words.append(self.socket.recv(4096).decode())
            except BlockingIOError:
                return words


@pytest.fixture
def listener(tmp_path: Path) -> Iterator[Listener]:
    made = Listener(str(tmp_path / "notify"))
    yield made
    made.socket.close()


def manager(tmp_path: Path, **more: str) -> ServiceManager:
    return ServiceManager.of({"NOTIFY_SOCKET": str(tmp_path / "notify"), **more})


def test_each_word_is_a_datagram(tmp_path: Path, listener: Listener) -> None:
    service = manager(tmp_path)
    service.ready()
    service.ending()
    assert listener.heard() == ["READY=1", "STOPPING=1"]


def test_the_watchdog_is_told_often_enough_and_not_with_every_call(tmp_path: Path, listener: Listener) -> None:
    service = manager(tmp_path, WATCHDOG_USEC=MINUTE_USEC, WATCHDOG_PID=str(os.getpid()))
    assert service.beat_seconds == 60 / BEATS
    assert [service.goes_on() for _ in range(1000)] == [False] * 1000
    assert listener.heard() == ["WATCHDOG=1"]


@pytest.mark.parametrize("values", [{}, {"WATCHDOG_USEC": MINUTE_USEC, "WATCHDOG_PID": "1"}, {"WATCHDOG_USEC": "x"}])
def test_no_watchdog_is_told_that_watches_nobody_or_another(
    tmp_path: Path, listener: Listener, values: dict[str, str]
) -> None:
    service = manager(tmp_path, **values)
    assert service.beat_seconds is None
    service.goes_on()
    assert listener.heard() == []


def test_an_abstract_name_is_understood() -> None:
    name = f"reconciler-test-{os.getpid()}"
    listener = Listener(f"\0{name}")
    ServiceManager.of({"NOTIFY_SOCKET": f"@{name}"}).ready()
    assert listener.heard() == ["READY=1"]
    listener.socket.close()


def test_programs_that_the_agent_starts_are_not_told_of_it(tmp_path: Path) -> None:
    environment = {"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "1", "WATCHDOG_PID": "1", "HOME": "/"}
    ServiceManager.of(environment)
    assert environment == {"HOME": "/"}


@pytest.mark.parametrize("address", [None, "", "relative", "/nowhere/notify"])
def test_nobody_who_listens_is_no_error(address: str | None) -> None:
    service = ServiceManager.of({} if address is None else {"NOTIFY_SOCKET": address, "WATCHDOG_USEC": "1"})
    service.ready()
    service.goes_on()
    service.ending()
