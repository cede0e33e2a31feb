"""A process that has imported the whole program; the commands of the tests are forks of it.

Importing takes most of a short command's time. A command that the tests are about, rather than its start, begins here
in a few milliseconds; what a new process imports, and how long it takes, has tests of its own.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import gc
import importlib
import json
import os
import pkgutil
import select
import selectors
import signal
import socket
import struct
import subprocess
import sys
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NoReturn

REQUEST_BYTES = 256 * 1024
ANSWER = struct.Struct("i")
"""The process, and when it has ended how."""
NOT_PRELOADED = ("__main__", "main", "template_program")
"""Modules that are programs."""


class Command:
    """A command that runs in a fork, with what ``subprocess.Popen`` has for it."""

    def __init__(self, answers: int) -> None:
        self._answers = answers
        self.pid = self._answer()
        self._ended: int | None = None

    def wait(self, seconds: float | None = None) -> int:
        """The exit status, the negative number of a signal; ``subprocess.TimeoutExpired`` while it runs."""
        if self._ended is None:
            if not select.select([self._answers], [], [], seconds)[0]:
                raise subprocess.TimeoutExpired("reconciler", seconds or 0.0)
            self._ended = self._answer()
            os.close(self._answers)
        return self._ended

    def poll(self) -> int | None:
        """The exit status; ``None`` while it runs."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            return self.wait(0.0)
        return None

    def send_signal(self, number: int) -> None:
        """Send a signal, unless it has ended."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        """End it at once."""
        self.send_signal(signal.SIGKILL)

    def _answer(self) -> int:
        return int(ANSWER.unpack(os.read(self._answers, ANSWER.size))[0])


class Preloaded:
    """The process, and the socket that takes requests."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        for end in (self._control, theirs):
            end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, REQUEST_BYTES)
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, __file__, str(theirs.fileno())], pass_fds=[theirs.fileno()], env=environment
            )
        atexit.register(self.close)

    def close(self) -> None:
        """End the process; commands that still run go on."""
        self._control.close()
        self._process.wait(10)

    def start(
        self,
        arguments: Sequence[str],
        cwd: Path | None,
        environment: Mapping[str, str],
        streams: Sequence[int],
        preparing: tuple[str, Mapping[str, object]] | None = None,
    ) -> Command:
        """Start ``reconciler`` with three open files as its streams.

        ``preparing`` is a module whose ``prepare`` is called in the command's process before all else, and with what.
        """
        status, theirs = os.pipe()
        request = json.dumps([list(arguments), str(cwd or Path.cwd()), dict(environment), preparing]).encode()
        try:
            socket.send_fds(self._control, [request], [*streams, theirs])
        finally:
            os.close(theirs)
        return Command(status)


@functools.cache
def preloaded(path: str) -> Preloaded:
    """The process of these tests, with its ``PYTHONPATH``."""
    return Preloaded({**os.environ, "PYTHONPATH": path})


def _serve(control: socket.socket) -> None:
    """Fork a command for every request until the tests have ended."""
    running: dict[int, tuple[int, int]] = {}
    with selectors.DefaultSelector() as selector:
        selector.register(control, selectors.EVENT_READ)
        while True:
            for key, _ in selector.select():
                if key.fd in running:
                    selector.unregister(key.fd)
                    _tell_end(key.fd, *running.pop(key.fd))
                    continue
                request, files, _, _ = socket.recv_fds(control, REQUEST_BYTES, 4)
                if not request:
                    return
                pid = os.fork()
                if pid == 0:
                    selector.close()
                    control.close()
                    _run(*json.loads(request), files)
                ended = os.pidfd_open(pid)
                for file in files[:3]:
                    os.close(file)
                running[ended] = (pid, files[3])
                selector.register(ended, selectors.EVENT_READ)
                os.write(files[3], ANSWER.pack(pid))


def _tell_end(ended: int, pid: int, status: int) -> None:
    _, how = os.waitpid(pid, 0)
    os.close(ended)
    with contextlib.suppress(BrokenPipeError):
        os.write(status, ANSWER.pack(os.waitstatus_to_exitcode(how)))
    os.close(status)


def _run(
    arguments: list[str],
    cwd: str,
    environment: dict[str, str],
    preparing: tuple[str, dict[str, object]] | None,
    files: list[int],
) -> NoReturn:
    """Be the command, as a new process would."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for number, file in enumerate(files[:3]):
        os.dup2(file, number)
    for file in files:
        os.close(file)
    sys.stdin, sys.stdout, sys.stderr = (os.fdopen(number, mode) for number, mode in enumerate("rww"))
    sys.stderr.reconfigure(line_buffering=True)
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(cwd)
    sys.argv = ["reconciler", *arguments]
    try:
        if preparing is not None:
            module, plan = preparing
            importlib.import_module(module).prepare(plan)
        from reconciler.cli.main import entry

        entry()
    except BaseException:
        traceback.print_exc()
        os._exit(1)


def _preload() -> None:
    import reconciler

    os.environ["PYDANTIC_DISABLE_PLUGINS"] = "__all__"
    for module in pkgutil.walk_packages(reconciler.__path__, "reconciler."):
        if module.name.rpartition(".")[2] not in NOT_PRELOADED:
            importlib.import_module(module.name)
    # what all forks share is not looked through in each of them
    gc.freeze()


if __name__ == "__main__":
    # Ctrl-C ends the tests, and they end this
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _preload()
    _serve(socket.socket(fileno=int(sys.argv[1])))
    os._exit(0)
