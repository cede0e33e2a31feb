"""Proves that processes are told apart by what the kernel says of them, whatever they call themselves."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from reconciler.host.process_table import all_processes, status_of, tasks_of

RENAMED = """
import sys
with open("/proc/self/comm", "wb") as name:
    name.write(bytes.fromhex(sys.argv[1]))
print("named", flush=True)
sys.stdin.read()
"""


@contextmanager
def program(name: bytes) -> Iterator[subprocess.Popen[bytes]]:
    command = [sys.executable, "-c", RENAMED, name.hex()]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"named\n"
        yield process


@pytest.mark.parametrize("name", [b"uwsgi", b"a) Z 1 (b", b")", b"\xff\xfe) (", b"two\nlines", b"2 3 4 5"])
def test_a_process_is_known_whatever_its_name_is(name: bytes) -> None:
    before = time.clock_gettime(time.CLOCK_BOOTTIME)
    with program(name) as process:
        status = status_of(process.pid)
        assert status is not None
        assert (status.parent, status.session, status.runs) == (os.getpid(), process.pid, True)
        ticks = os.sysconf("SC_CLK_TCK")
        assert before - 1 <= status.started / ticks <= time.clock_gettime(time.CLOCK_BOOTTIME)
        assert process.pid in all_processes()


def test_one_that_has_ended_does_not_run_and_is_gone_once_it_was_asked_about() -> None:
    process = subprocess.Popen(["/bin/true"])
    # waits for its end without asking about it
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    status = status_of(process.pid)
    assert status is not None
    assert (status.state, status.runs) == ("Z", False)
    process.wait()
    assert status_of(process.pid) is None


def test_threads_of_an_account_count_as_tasks() -> None:
    ended = threading.Event()
    threads = [threading.Thread(target=ended.wait) for _ in range(3)]
    for thread in threads:
        thread.start()
    own = len(list(Path("/proc/self/task").iterdir()))
    assert tasks_of(os.geteuid()) >= own >= 4
    assert tasks_of(4_000_000_000) == 0
    ended.set()
    for thread in threads:
        thread.join()
