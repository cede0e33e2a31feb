"""The control socket in the file system, and who is at its other end."""

from __future__ import annotations

import errno
import grp
import os
import pwd
import select
import socket
import struct
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from reconciler.host.files import temporary_sibling
from reconciler.host.layout import SOCKET_PATH_BYTES

CONTROL_MODE = 0o660
CONTROL_GROUP = "reconciler"
"""Its members may speak to the agent, where the group exists and the agent may give the socket to it."""
WAITING_CLIENTS = 64
"""How many connections the kernel keeps until they are accepted."""
PEER = struct.Struct("iII")
"""What ``SO_PEERCRED`` gives: process, user, group."""


@dataclass(frozen=True, slots=True)
class Peer:
    """Who connected, as the kernel says it."""

    process: int
    user: int
    group: int

    @property
    def name(self) -> str:
        """The account's name, or its number where it has none."""
        try:
            return pwd.getpwuid(self.user).pw_name
        except KeyError:
            return f"user {self.user}"

    @property
    def groups(self) -> frozenset[int]:
        """The groups that the account is a member of."""
        try:
            return frozenset(os.getgrouplist(pwd.getpwuid(self.user).pw_name, self.group))
        except KeyError:
            return frozenset({self.group})


def own_name() -> str:
    """The name of this process's account."""
    return Peer(os.getpid(), os.getuid(), os.getgid()).name


def listen(path: Path, group: str = CONTROL_GROUP) -> socket.socket:
    """Listen at ``path``, in place of a socket that a killed agent left; visible only with its mode and group.

    The caller holds the state lock. Raises :class:`OSError`.
    """
    if len(os.fsencode(path)) > SOCKET_PATH_BYTES:
        raise OSError(errno.ENAMETOOLONG, f"the path is longer than the {SOCKET_PATH_BYTES} bytes of a socket's path")
    server = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    aside = temporary_sibling(path)
    try:
        server.bind(str(aside))
        with suppress(KeyError, PermissionError):
            os.chown(aside, -1, grp.getgrnam(group).gr_gid)
        aside.chmod(CONTROL_MODE)
        server.listen(WAITING_CLIENTS)
        aside.replace(path)
    except BaseException:
        server.close()
        aside.unlink(missing_ok=True)
        raise
    return server


def peer_of(connection: socket.socket) -> Peer:
    """Who is at the other end."""
    return Peer(*PEER.unpack(connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, PEER.size)))


def may_speak(peer: Peer, owner: int, group: int) -> bool:
    """Whether a peer may steer the agent: root, the agent's own account, and members of the socket's group."""
    return peer.user in (0, owner) or group == peer.group or group in peer.groups


def has_hung_up(connection: socket.socket) -> bool:
    """Whether the other end is closed. One that has only said all that it had to say still reads."""
    poll = select.poll()
    poll.register(connection, 0)
    return any(event & (select.POLLHUP | select.POLLERR) for _, event in poll.poll(0))
