"""Probes: the requests that a release must answer as its manifest asks, on its own socket and through nginx.

This module imports httpx, which takes 100 ms: import it only where something is to be probed.
"""

from __future__ import annotations

import ssl
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from reconciler.host.interruption import left_behind_if_interrupted
from reconciler.host.pinned_sockets import pinned
from reconciler.host.ports import listen_address, reachable_address
from reconciler.model.errors import VerificationFailed
from reconciler.model.manifest import Probe

RELEASE_HEADER = "Reconciler-Release"
PROBE_HEADER = "Reconciler-Probe"
SCHEME_HEADER = "X-Forwarded-Proto"
"""uWSGI takes the scheme of a request on its HTTP socket from it."""
BODY_BYTES = 1024 * 1024
QUOTED_CHARACTERS = 200
SHORTEST_WAIT_SECONDS = 0.05
PLAIN = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
"""Of probes without TLS; without this httpx reads all certificate authorities for each of them, 20 ms long."""


@dataclass(frozen=True, slots=True)
class ProbeResult:
    """What was answered: status, headers with lower-case names, the body's first MiB, and the time it took."""

    status: int
    headers: dict[str, str]
    body: bytes
    seconds: float


def probe_socket(
    socket: Path, probe: Probe, *, host_header: str, expected_release: str | None, deadline: float, tls: bool = False
) -> ProbeResult:
    """Ask a release on its own HTTP socket; ``deadline`` is a :func:`time.monotonic` value.

    With ``tls`` the app is told that its visitors come by HTTPS, so that one that insists on it answers as it will.
    Raises :class:`VerificationFailed` when it does not answer in time, or not as asked. One request, never repeated.
    """
    try:
        with pinned(socket) as place:
            transport = httpx.HTTPTransport(uds=place, retries=0, verify=PLAIN)
            base = httpx.URL("http://localhost")
            told = {SCHEME_HEADER: "https"} if tls else {}
            return _probe(transport, base, probe, host_header, told, expected_release, deadline)
    except OSError as error:
        where = f"GET {probe.path} on its own socket"
        raise VerificationFailed(f"{where}: nobody takes the connection: {error}") from error


def probe_nginx(
    address: str,
    port: int,
    probe: Probe,
    *,
    host_header: str,
    token: str,
    expected_release: str | None,
    deadline: float,
    tls: bool = False,
) -> ProbeResult:
    """Ask through nginx, as a visitor would; the token makes nginx tell which release answered.

    With ``tls`` over HTTPS, with the name in the handshake, and whoever has signed the certificate: the host of the
    agent need not trust the authority that visitors trust.

    ``expected_release`` is ``None`` for paths that nginx serves by itself. Raises :class:`VerificationFailed`.
    """
    url = httpx.URL(f"{'https' if tls else 'http'}://{listen_address(reachable_address(address), port)}")
    transport = httpx.HTTPTransport(retries=0, verify=_whoever_signed() if tls else PLAIN)
    return _probe(transport, url, probe, host_header, {PROBE_HEADER: token}, expected_release, deadline)


def _whoever_signed() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def _probe(
    transport: httpx.BaseTransport,
    base: httpx.URL,
    probe: Probe,
    host_header: str,
    headers: dict[str, str],
    expected_release: str | None,
    deadline: float,
) -> ProbeResult:
    where = "through nginx" if PROBE_HEADER in headers else "on its own socket"
    what = f"GET {probe.path} {where}"
    started = time.monotonic()
    sent = {"Host": host_header, "User-Agent": "reconciler-probe", "Accept": "*/*", "Connection": "close", **headers}
    # the path goes out byte for byte; as part of an URL, httpx would tidy it up
    extensions: dict[str, object] = {"timeout": _timeouts(deadline), "target": probe.path.encode("ascii")}
    if base.scheme == "https":
        extensions["sni_hostname"] = host_header.partition(":")[0]

    def ask() -> tuple[httpx.Response, bytes]:
        with httpx.Client(transport=transport, trust_env=False) as client:
            request = httpx.Request("GET", base, headers=sent, extensions=extensions)
            response = client.send(request, stream=True, follow_redirects=False)
            try:
                return response, _read(response, deadline)
            finally:
                response.close()

    with _answering(what, started):
        response, body = left_behind_if_interrupted(ask)
    result = ProbeResult(
        response.status_code,
        {name.lower(): value for name, value in response.headers.items()},
        body,
        time.monotonic() - started,
    )
    complaint = _complaint(probe, result, expected_release)
    if complaint:
        raise VerificationFailed(f"{what}: {complaint}", tail=_quoted(result.body))
    return result


@contextmanager
def _answering(what: str, started: float) -> Iterator[None]:
    try:
        yield
    except (httpx.TimeoutException, TimeoutError) as error:
        raise VerificationFailed(
            f"{what}: no whole answer after {time.monotonic() - started:.1f} s",
            hint="raise verify.timeout if the app needs longer",
        ) from error
    except httpx.ConnectError as error:
        raise VerificationFailed(f"{what}: nobody takes the connection: {error}") from error
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise VerificationFailed(f"{what}: the answer is broken off: {error or type(error).__name__}") from error


def _timeouts(deadline: float) -> dict[str, float]:
    seconds = max(deadline - time.monotonic(), SHORTEST_WAIT_SECONDS)
    return dict.fromkeys(("connect", "read", "write", "pool"), seconds)


def _read(response: httpx.Response, deadline: float) -> bytes:
    """The body's beginning, decoded from its content coding; an answer that drips is cut off at the deadline."""
    body = bytearray()
    for chunk in response.iter_bytes():
        body += chunk
        if len(body) >= BODY_BYTES:
            break
        if time.monotonic() > deadline:
            raise TimeoutError
    return bytes(body[:BODY_BYTES])


def _complaint(probe: Probe, result: ProbeResult, expected_release: str | None) -> str:
    """What is not as asked, the first thing only; empty when all is."""
    if result.status != probe.status:
        return f"status {result.status} instead of {probe.status}, the body begins {_quoted(result.body)}"
    for name, wanted in probe.header.items():
        given = result.headers.get(name.lower())
        if given is None:
            return f"the header {name} is missing, {wanted!r} was asked for"
        # parameters such as "; charset=utf-8" may follow
        if given != wanted and not given.startswith(f"{wanted};"):
            return f"the header {name} is {given[:QUOTED_CHARACTERS]!r} instead of {wanted!r}"
    if probe.contains is not None and probe.contains.encode() not in result.body:
        return f"the body does not contain {probe.contains!r}, it begins {_quoted(result.body)}"
    if expected_release is not None:
        release = result.headers.get(RELEASE_HEADER.lower())
        if release != expected_release:
            answered = f"the release {release[:QUOTED_CHARACTERS]!r}" if release else "something without a release"
            return f"{answered} answered instead of {expected_release!r}"
    return ""


def _quoted(body: bytes) -> str:
    """The body's first characters, with everything escaped that a terminal would act on."""
    text = body[: QUOTED_CHARACTERS * 4].decode("utf-8", "replace")[:QUOTED_CHARACTERS]
    return repr(text) if text else "with nothing"
