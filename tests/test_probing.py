"""Probes accept exactly what a manifest asks for, prove who answered, and quote what else came."""

from __future__ import annotations

import contextlib
import socket
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from reconciler.host.probing import BODY_BYTES, ProbeResult, probe_nginx, probe_socket
from reconciler.model.errors import VerificationFailed
from reconciler.model.manifest import Probe
from serving import ADDRESS, TOKEN, Served, serving

OK = (
    b"HTTP/1.1 200 OK\r\nContent-Type: text/html; charset=utf-8\r\nReconciler-Release: r1\r\n"
    b"Content-Length: 5\r\n\r\nhello"
)


@contextlib.contextmanager
def answering(answer: bytes | Callable[[socket.socket], None]) -> Iterator[tuple[Path, list[bytes]]]:
    """A server on a unix socket that gives one answer to everybody, and what it was asked."""
    asked: list[bytes] = []
    with tempfile.TemporaryDirectory(prefix="r-") as folder, socket.socket(socket.AF_UNIX) as listener:
        path = Path(folder) / "http"
        listener.bind(str(path))
        listener.listen()

        def serve() -> None:
            with contextlib.suppress(OSError):
                while True:
                    connection, _ = listener.accept()
                    with connection, contextlib.suppress(OSError):
                        asked.append(connection.recv(65536))
                        if callable(answer):
                            answer(connection)
                        else:
                            connection.sendall(answer)

        threading.Thread(target=serve, daemon=True).start()
        yield path, asked
        listener.shutdown(socket.SHUT_RDWR)


def ask(path: Path, probe: Probe, *, release: str | None = "r1", seconds: float = 10) -> ProbeResult:
    deadline = time.monotonic() + seconds
    return probe_socket(path, probe, host_header="a.example.com", expected_release=release, deadline=deadline)


def refusal(answer: bytes | Callable[[socket.socket], None], probe: Probe, seconds: float = 10) -> VerificationFailed:
    with answering(answer) as (path, _), pytest.raises(VerificationFailed) as caught:
        ask(path, probe, seconds=seconds)
    return caught.value


def test_what_is_asked_for_passes() -> None:
    with answering(OK) as (path, asked):
        result = ask(path, Probe("/a?b=%20c", contains="hell", header={"content-type": "text/html"}))
    assert (result.status, result.body) == (200, b"hello")
    assert asked[0].startswith(b"GET /a?b=%20c HTTP/1.1\r\n")
    assert b"Host: a.example.com\r\n" in asked[0]


def test_a_path_goes_out_byte_for_byte() -> None:
    with answering(OK) as (path, asked):
        ask(path, Probe("/a/../b//c/%2e%2E/'\"<>"))
    assert asked[0].startswith(b"GET /a/../b//c/%2e%2E/'\"<> HTTP/1.1\r\n")


@pytest.mark.parametrize(
    ("probe", "words"),
    [
        (Probe(status=404), "status 200 instead of 404, the body begins 'hello'"),
        (Probe(contains="world"), "does not contain 'world', it begins 'hello'"),
        (Probe(header={"X-Missing": "1"}), "the header X-Missing is missing"),
        (Probe(header={"Content-Type": "text/plain"}), "is 'text/html; charset=utf-8' instead of 'text/plain'"),
    ],
)
def test_anything_else_is_told_with_what_came(probe: Probe, words: str) -> None:
    assert words in str(refusal(OK, probe))


def test_another_release_does_not_pass_for_this_one() -> None:
    assert "the release 'r0' answered instead of 'r1'" in str(refusal(OK.replace(b"r1", b"r0"), Probe()))
    assert "something without a release answered" in str(refusal(OK.replace(b"Reconciler", b"X"), Probe()))


def test_what_a_terminal_would_act_on_is_escaped() -> None:
    body = b"\x1b[31mred\x07" + b"x" * 5000
    answer = b"HTTP/1.1 500 No\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)
    message = str(refusal(answer, Probe()))
    assert "\\x1b[31mred\\x07" in message
    assert "\x1b" not in message
    assert len(message) < 400


def test_redirects_are_answers_and_not_followed() -> None:
    answer = b"HTTP/1.1 302 Found\r\nLocation: http://localhost/else\r\nContent-Length: 0\r\n\r\n"
    with answering(answer) as (path, asked):
        assert ask(path, Probe(status=302), release=None).status == 302
    assert len(asked) == 1


def test_a_proxy_of_the_environment_is_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    with answering(OK) as (path, _):
        assert ask(path, Probe()).status == 200


def test_a_huge_body_is_cut() -> None:
    def flood(connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\nReconciler-Release: r1\r\n\r\n")
        while True:
            connection.sendall(b"x" * 65536)

    with answering(flood) as (path, _):
        assert len(ask(path, Probe()).body) == BODY_BYTES


def test_silence_and_dripping_end_at_the_deadline() -> None:
    pause = threading.Event()

    def silent(connection: socket.socket) -> None:
        pause.wait(20)

    def dripping(connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
        while not pause.wait(0.05):
            connection.sendall(b"x")

    for slow in (silent, dripping):
        started = time.monotonic()
        assert "no whole answer after" in str(refusal(slow, Probe(), seconds=0.5))
        assert time.monotonic() - started < 5
    pause.set()


def test_nobody_and_nonsense_are_told_apart() -> None:
    assert "broken off" in str(refusal(b"nonsense\r\n\r\n", Probe()))
    assert "broken off" in str(refusal(b"", Probe()))
    with pytest.raises(VerificationFailed, match="nobody takes the connection"):
        ask(Path("/nonexistent/socket"), Probe())


@pytest.fixture(scope="module")
def site() -> Iterator[Served]:
    with serving() as served:
        served.start("a")
        served.publish("a", "a", "r1")
        served.nginx.install(served.site("a", ("a.example.com",)))
        yield served


def through_nginx(
    served: Served, *, host: str = "a.example.com", token: str = TOKEN, release: str = "r1"
) -> ProbeResult:
    return probe_nginx(
        ADDRESS,
        served.nginx.port,
        Probe(header={"Content-Type": "application/json"}),
        host_header=host,
        token=token,
        expected_release=release,
        deadline=time.monotonic() + 10,
    )


def test_a_release_is_proven_on_its_socket_and_through_nginx(site: Served) -> None:
    assert ask(site.layout.socket("a", "http"), Probe()).status == 200
    assert through_nginx(site).status == 200


def test_through_nginx_the_wrong_site_release_or_token_fails(site: Served) -> None:
    with pytest.raises(VerificationFailed, match="status 404 instead of 200, the body begins 'No site"):
        through_nginx(site, host="b.example.com")
    with pytest.raises(VerificationFailed, match="the release 'r1' answered instead of 'r2'"):
        through_nginx(site, release="r2")
    with pytest.raises(VerificationFailed, match="something without a release"):
        through_nginx(site, token="another-token")
