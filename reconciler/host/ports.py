"""TCP addresses that nginx is to listen on, and who is in the way."""

from __future__ import annotations

import contextlib
import errno
import ipaddress
import socket
from pathlib import Path

from reconciler.host.process_table import all_processes
from reconciler.model.errors import HostError

LISTENING = "0A"
"""The state of a listening socket in ``/proc/net/tcp``."""


def listen_address(address: str, port: int) -> str:
    """The address as nginx wants it in ``listen``, with IPv6 in brackets."""
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


def reachable_address(address: str) -> str:
    """Where to connect to what listens on ``address``: the host itself for the addresses that mean all of them."""
    with contextlib.suppress(ValueError):
        parsed = ipaddress.ip_address(address)
        if parsed.is_unspecified:
            return "127.0.0.1" if parsed.version == 4 else "::1"
    return address


TAKEN_HINT = "set http.port in agent.yaml to a free port, or end that process"


def refuse_taken(address: str, port: int, *, hint: str = TAKEN_HINT) -> None:
    """Raise :class:`HostError` when nginx could not listen on the address, naming the process in its way.

    ``hint`` says what to do about another process there.
    """
    place = listen_address(address, port)
    try:
        family, kind, protocol, _, where = socket.getaddrinfo(
            address, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except OSError as error:
        raise HostError(f"http.address {address} is no address of this host: {error.strerror}") from error
    with socket.socket(family, kind, protocol) as trial:
        trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            trial.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        try:
            trial.bind(where)
            trial.listen(1)
        except OSError as error:
            raise _refused(place, port, error, hint) from error


def holder_of(port: int) -> str | None:
    """``name (pid 42)`` of the process that listens on a TCP port; ``None`` where this account cannot see it."""
    inodes = _listening_inodes(port)
    if not inodes:
        return None
    for process in all_processes():
        folder = Path(f"/proc/{process}")
        if _holds(folder, inodes):
            with contextlib.suppress(OSError):
                return f"{(folder / 'comm').read_text('utf-8', 'replace').strip()} (pid {process})"
    return None


def _refused(place: str, port: int, error: OSError, hint: str) -> HostError:
    if error.errno == errno.EADDRINUSE:
        by = holder_of(port) or "another process"
        return HostError(f"{place} is in use by {by}", hint=hint)
    if error.errno == errno.EACCES:
        return HostError(f"this account may not listen on {place}", hint="set http.port to 1024 or higher")
    return HostError(f"nginx cannot listen on {place}: {error.strerror}", hint="set http.address in agent.yaml")


def _listening_inodes(port: int) -> set[str]:
    found = set()
    for table in ("tcp", "tcp6"):
        with contextlib.suppress(OSError):
            for line in Path("/proc/net", table).read_text().splitlines()[1:]:
                fields = line.split()
                if fields[3] == LISTENING and int(fields[1].rpartition(":")[2], 16) == port:
                    found.add(f"socket:[{fields[9]}]")
    return found


def _holds(process: Path, inodes: set[str]) -> bool:
    with contextlib.suppress(OSError):
        for descriptor in (process / "fd").iterdir():
            with contextlib.suppress(OSError):
                if str(descriptor.readlink()) in inodes:
                    return True
    return False
