"""Visitors of the sites: programs of this machine in the container's network, so that they need nothing inside."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from container import Container, wait_for

ASK_SECONDS = 10.0
PAGE_SECONDS = 60.0

# One request, or requests until standard input ends; tells JSON lines of status, page and seconds.
VISITOR = """
import http.client, json, select, sys, time

port, host, path, often, every = int(sys.argv[1]), sys.argv[2], sys.argv[3], sys.argv[4] == "often", 0.02
while True:
    started = time.monotonic()
    try:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        connection.request("GET", path, headers={"Host": host})
        answer = connection.getresponse()
        told = {"status": answer.status, "text": answer.read().decode("utf-8", "replace")}
        told["location"] = answer.getheader("Location", "")
        connection.close()
    except (OSError, http.client.HTTPException) as error:
        told = {"status": 0, "text": f"{type(error).__name__}: {error}"}
    print(json.dumps({**told, "seconds": time.monotonic() - started}), flush=True)
    if not often or select.select([sys.stdin], [], [], every)[0]:
        break
"""


# A handshake that offers HTTP/2 as browsers do, then a request: this Python does not speak it.
SECURE_VISITOR = """
import http.client, json, socket, ssl, sys

port, host, path, trusted = int(sys.argv[1]), sys.argv[2], sys.argv[3], sys.argv[4]

def shaken(*alpn):
    context = ssl.create_default_context(cafile=trusted)
    context.set_alpn_protocols(alpn)
    return context.wrap_socket(socket.create_connection(("127.0.0.1", port), timeout=10), server_hostname=host)

try:
    with shaken("h2", "http/1.1") as secure:
        serial = secure.getpeercert()["serialNumber"]
        told = {"protocol": secure.selected_alpn_protocol(), "version": secure.version(), "serial": serial}
    connection = http.client.HTTPConnection(host, port)
    connection.sock = shaken("http/1.1")
    connection.request("GET", path, headers={"Host": host})
    answer = connection.getresponse()
    told |= {"status": answer.status, "text": answer.read().decode("utf-8", "replace")}
except (OSError, http.client.HTTPException) as error:
    told = {"status": 0, "text": f"{type(error).__name__}: {error}"}
print(json.dumps(told))
"""


@dataclass(frozen=True)
class Answer:
    """What a site answered; status 0 when it did not, and ``text`` says why."""

    status: int
    text: str
    seconds: float
    location: str = ""


@dataclass(frozen=True)
class Secure:
    """What a site answered over HTTPS: the protocol that it chose for browsers, its certificate's number."""

    status: int
    text: str
    protocol: str | None = None
    version: str | None = None
    serial: str = ""


def ask(container: Container, host: str, path: str = "/", port: int = 80) -> Answer:
    """Ask nginx in the container as a visitor would."""
    return _answer(_visit(container, VISITOR, str(port), host, path, "once"))


def ask_securely(container: Container, host: str, trusted: Path, path: str = "/", port: int = 443) -> Secure:
    """Ask nginx in the container as a visitor would who trusts the authorities in a file."""
    return Secure(**json.loads(_visit(container, SECURE_VISITOR, str(port), host, path, str(trusted))))


def _visit(container: Container, visitor: str, *arguments: str) -> str:
    done = subprocess.run(
        [*container.entering("--net"), sys.executable, "-I", "-c", visitor, *arguments],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=ASK_SECONDS + 5,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def wait_for_page(
    container: Container, host: str, text: str, seconds: float = PAGE_SECONDS, path: str = "/"
) -> float:
    """Wait until a page has this text; the seconds that this took."""
    started = time.monotonic()
    last: Answer | None = None

    def there() -> bool:
        nonlocal last
        last = ask(container, host, path)
        return last.status == 200 and text in last.text

    try:
        wait_for(f"{text!r} at {host}{path}", there, seconds, every=0.1)
    except AssertionError as error:
        raise AssertionError(f"{error}; the last answer: {last}") from None
    return time.monotonic() - started


class Visitor:
    """Asks a site again and again, until it is told to leave."""

    def __init__(self, container: Container, host: str, path: str = "/", port: int = 80) -> None:
        command = [sys.executable, "-I", "-c", VISITOR, str(port), host, path, "often"]
        # a pipe that nobody reads would fill, and hold the visitor up
        self._told = tempfile.TemporaryFile("w+")  # noqa: SIM115  open until the visitor leaves
        self._process = subprocess.Popen(
            [*container.entering("--net"), *command], stdin=subprocess.PIPE, stdout=self._told, text=True
        )
        self._answers: list[Answer] | None = None

    def leave(self) -> list[Answer]:
        """End, and tell all answers."""
        if self._answers is None:
            try:
                self._process.communicate("leave\n", timeout=ASK_SECONDS + 5)
            finally:
                self._process.kill()
            with self._told:
                self._told.seek(0)
                self._answers = [_answer(line) for line in self._told]
        return self._answers

    def __enter__(self) -> Visitor:
        """The visitor, who is asking already."""
        return self

    def __exit__(self, *_: object) -> None:
        self.leave()

    def must_be_content(self, text: str, least: int = 10) -> None:
        """Every answer was a page with this text, and there were at least ``least``."""
        answers = self.leave()
        bad = [answer for answer in answers if answer.status != 200 or text not in answer.text]
        assert not bad, f"{len(bad)} of {len(answers)} answers were bad, first {bad[0]}"
        assert len(answers) >= least, f"only {len(answers)} answers"


def _answer(line: str) -> Answer:
    values: dict[str, Any] = json.loads(line)
    location = str(values.get("location", ""))
    return Answer(int(values["status"]), str(values["text"]), float(values["seconds"]), location)
