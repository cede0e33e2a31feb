"""Asking the agent: one request over its control socket, one answer."""

from __future__ import annotations

import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from reconciler.model.control import Request, read_answer, write_request
from reconciler.model.errors import AgentNotRunning, ReconcilerError

CONNECT_SECONDS = 5.0
ANSWER_SECONDS = 30.0
"""How long the agent may take to answer, beyond what a request may wait for."""
ANSWER_BYTES = 64 * 1024 * 1024
LOOK_INTO_LOG = "look into the agent's log, such as with `journalctl -u reconciler`"


def ask_agent(path: Path, request: Request) -> Mapping[str, Any]:
    """The agent's answer; raises :class:`AgentNotRunning` when none listens, and the error that it answered with."""
    seconds = (request.seconds if request.wait else 0.0) + ANSWER_SECONDS
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(CONNECT_SECONDS)
        _connect(connection, path)
        try:
            connection.sendall(write_request(request))
            connection.settimeout(seconds)
            line = _line_of(connection)
        except TimeoutError:
            raise ReconcilerError(f"the agent has not answered within {seconds:g} s", hint=LOOK_INTO_LOG) from None
        except OSError as error:
            sentence = f"the agent cannot be spoken to: {error.strerror or error}"
            raise ReconcilerError(sentence, hint=LOOK_INTO_LOG) from error
    if not line.endswith(b"\n"):
        raise ReconcilerError("the agent ended before it answered", hint="`reconciler status` says what serves")
    return read_answer(line)


def _connect(connection: socket.socket, path: Path) -> None:
    try:
        connection.connect(str(path))
    except (FileNotFoundError, ConnectionRefusedError):
        raise AgentNotRunning(
            f"no agent listens at {path}",
            hint="`reconciler once` makes one pass now, and `reconciler run` starts the agent",
        ) from None
    except PermissionError as error:
        raise ReconcilerError(
            f"{path}: this account may not speak to the agent",
            hint="run the command as the agent's account, or become a member of the group reconciler",
        ) from error
    except OSError as error:
        raise ReconcilerError(f"{path}: the agent cannot be reached: {error.strerror or error}") from error


def _line_of(connection: socket.socket) -> bytes:
    line = bytearray()
    while not line.endswith(b"\n") and len(line) < ANSWER_BYTES and (more := connection.recv(1024 * 1024)):
        line += more
    return bytes(line)
