"""The control socket's server: each client has a thread of its own, a short time, and little to say."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import structlog

from reconciler.engine.known_apps import require_known
from reconciler.engine.operating import resume, retry, suspend
from reconciler.engine.results import PassResult
from reconciler.engine.results_wire import as_wire
from reconciler.host.control_socket import Peer, has_hung_up, listen, may_speak, peer_of
from reconciler.host.journal import Journal
from reconciler.model.control import REQUEST_BYTES, Command, Request, read_request, write_answer, write_error
from reconciler.model.errors import ReconcilerError
from reconciler.model.trigger import Trigger

REQUEST_SECONDS = 5.0
"""How long a client may take to send a request, and to read the answer."""
CLIENTS_AT_ONCE = 64
"""One more is told to come again."""
ACCEPT_AGAIN_SECONDS = 0.2
CLOSE_SECONDS = 1.0
"""How long clients have to be told that the agent ends."""

Values = dict[str, object]


class Steering(Protocol):
    """What the agent lets a client ask of it; called in the client's thread."""

    @property
    def journal(self) -> Journal:
        """Where suspensions and quarantines are."""

    def ask_for_pass(self, trigger: str) -> None:
        """Let a pass begin soon."""

    def sync(self, app: str | None, seconds: float, given_up: Callable[[], bool]) -> PassResult | None:
        """Ask for a pass, and wait until it and its work are done; ``None`` once ``given_up`` says so."""

    def abort(self, app: str, who: str) -> bool:
        """End the attempt to deploy an app that is under way; ``False`` when there is none that could end."""

    def forget_back_off(self, app: str) -> None:
        """Try an app again at once, however often it has failed."""


class _Unreadable(ReconcilerError):
    """What came is no request, and what follows cannot be told from it."""


@dataclass(slots=True)
class ControlServer:
    """Listens from :meth:`start` to :meth:`close`."""

    steering: Steering
    path: Path
    _server: socket.socket | None = None
    _group: int = -1
    _clients: set[socket.socket] = field(default_factory=set)
    _gone: threading.Condition = field(default_factory=threading.Condition)

    def start(self) -> bool:
        """Listen, in a thread of its own; ``False``, and a line in the log, where that cannot be."""
        try:
            self._server = listen(self.path)
            self._group = self.path.stat().st_gid
        except OSError as error:
            structlog.get_logger().error(
                "control_failed",
                error=f"{self.path}: {error.strerror or error}",
                hint="`reconciler sync` and the like cannot reach this agent; everything else works",
            )
            return False
        threading.Thread(target=self._accept, args=[self._server], name="control", daemon=True).start()
        return True

    def close(self) -> None:
        """Take the socket away, and let every client go; those that wait for something are told before."""
        server, self._server = self._server, None
        if server is None:
            return
        self.path.unlink(missing_ok=True)
        with suppress(OSError):
            # wakes the thread that accepts, which closing alone does not
            server.shutdown(socket.SHUT_RDWR)
        server.close()
        with self._gone:
            for client in self._clients:
                with suppress(OSError):
                    client.shutdown(socket.SHUT_RD)
            self._gone.wait_for(lambda: not self._clients, CLOSE_SECONDS)

    def _accept(self, server: socket.socket) -> None:
        while self._server is server:
            try:
                connection, _ = server.accept()
            except OSError:
                # closed, or too many open files until others give theirs back
                time.sleep(ACCEPT_AGAIN_SECONDS)
                continue
            connection.settimeout(REQUEST_SECONDS)
            with self._gone:
                full = len(self._clients) >= CLIENTS_AT_ONCE
                if not full:
                    self._clients.add(connection)
            if full:
                with connection, suppress(OSError):
                    busy = ReconcilerError("too many commands wait for this agent", hint="try again in a moment")
                    connection.sendall(write_error(busy))
                continue
            threading.Thread(target=self._serve, args=[connection], name="control client", daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        try:
            # a client that went away, or does not read, has nobody left to tell
            with connection, suppress(OSError):
                self._converse(connection, peer_of(connection))
        finally:
            with self._gone:
                self._clients.discard(connection)
                self._gone.notify_all()

    def _converse(self, connection: socket.socket, peer: Peer) -> None:
        if not may_speak(peer, os.geteuid(), self._group):
            refusal = ReconcilerError(f"{peer.name} may not steer this agent", hint="ask as the agent's own account")
            _refuse(connection, refusal, peer)
            return
        rest = b""
        while True:
            try:
                line, rest = _line_of(connection, rest)
            except _Unreadable as error:
                _refuse(connection, error, peer)
                return
            if line is None:
                return
            answer = self._answer(line, peer, connection)
            if answer is None:
                return
            connection.settimeout(REQUEST_SECONDS)
            connection.sendall(answer)

    def _answer(self, line: bytes, peer: Peer, connection: socket.socket) -> bytes | None:
        log = structlog.get_logger().bind(by=peer.name, process=peer.process)
        try:
            request = read_request(line)
            log = log.bind(command=request.command.value, **({"app": request.app} if request.app else {}))
            values = self._done(request, peer, lambda: has_hung_up(connection))
            log.info("control_request")
        except ReconcilerError as error:
            log.warning("control_refused", error=str(error))
            return write_error(error)
        except Exception as error:
            log.exception("unexpected_error", error=f"{type(error).__name__}: {error}")
            return write_error(ReconcilerError("the agent met a bug of its own", hint="its log says more"))
        return None if values is None else write_answer(values)

    def _done(self, request: Request, peer: Peer, given_up: Callable[[], bool]) -> Values | None:
        steering, app = self.steering, request.app or ""
        match request.command:
            case Command.SYNC if not request.wait:
                steering.ask_for_pass(Trigger.SYNC)
                return {"result": None}
            case Command.SYNC:
                result = steering.sync(request.app, request.seconds, given_up)
                return None if result is None else {"result": as_wire(result)}
            case Command.SUSPEND:
                before = suspend(steering.journal, app, request.reason or "", peer.name)
                steering.ask_for_pass(Trigger.SUSPEND)
                return {"before": before.sentence if before is not None else None}
            case Command.RESUME:
                resumed = resume(steering.journal, app, peer.name)
                steering.ask_for_pass(Trigger.RESUME)
                before = resumed.before
                return {"before": before.sentence if before is not None else None, "by_manifest": resumed.by_manifest}
            case Command.RETRY:
                released = retry(steering.journal, app)
                steering.forget_back_off(app)
                steering.ask_for_pass(Trigger.RETRY)
                return {"released": released}
            case Command.ABORT:
                require_known(steering.journal, app)
                return {"aborted": steering.abort(app, peer.name)}


def _line_of(connection: socket.socket, rest: bytes) -> tuple[bytes | None, bytes]:
    """The next line, and what came behind it; ``None`` when the client has nothing more to say."""
    deadline = time.monotonic() + REQUEST_SECONDS
    while b"\n" not in rest:
        if len(rest) >= REQUEST_BYTES:
            raise _Unreadable(f"the request is longer than {REQUEST_BYTES} bytes")
        try:
            connection.settimeout(max(deadline - time.monotonic(), 0.001))
            more = connection.recv(REQUEST_BYTES)
        except TimeoutError:
            raise _Unreadable(f"no whole request came within {REQUEST_SECONDS:g} s") from None
        if not more:
            if rest:
                raise _Unreadable("the request has no end of line")
            return None, b""
        rest += more
    line, _, rest = rest.partition(b"\n")
    if len(line) >= REQUEST_BYTES:
        raise _Unreadable(f"the request is longer than {REQUEST_BYTES} bytes")
    return line, rest


def _refuse(connection: socket.socket, error: ReconcilerError, peer: Peer) -> None:
    structlog.get_logger().warning("control_refused", by=peer.name, process=peer.process, error=str(error))
    connection.settimeout(REQUEST_SECONDS)
    connection.sendall(write_error(error))
