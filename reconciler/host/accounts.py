"""Accounts of the operating system: looked up, made for apps, and handed to whatever runs for one."""

from __future__ import annotations

import grp
import hashlib
import os
import pwd
import threading
from pathlib import Path

from reconciler.host.processes import Account, run
from reconciler.model.errors import CommandFailed, HostError, StageFailed

__all__ = ["Account", "account_name", "find_account", "group_id", "make_account", "make_builder"]

USERADD_SECONDS = 30.0
NAME_CHARACTERS = 32
"""The longest name that useradd takes."""
PREFIX = "app-"
BUILDER = "reconciler-build"
BUILDER_COMMENT = "reconciler builds"
HASH_CHARACTERS = 6
NO_LOGIN = "/usr/sbin/nologin"
# useradd holds one lock for all of the host, and does not wait for it
_MAKING = threading.Lock()


def account_name(app: str) -> str:
    """The account that is made for an app which names none; cut and told apart by a hash where it is too long."""
    name = f"{PREFIX}{app}"
    if len(name) <= NAME_CHARACTERS:
        return name
    mark = hashlib.sha256(app.encode()).hexdigest()[:HASH_CHARACTERS]
    return f"{name[: NAME_CHARACTERS - HASH_CHARACTERS - 1]}-{mark}"


def find_account(name: str) -> Account | None:
    """An account of this host, with all groups that it is in."""
    try:
        entry = pwd.getpwnam(name)
    except KeyError:
        return None
    groups = os.getgrouplist(name, entry.pw_gid)
    return Account(name, entry.pw_uid, entry.pw_gid, tuple(groups), Path(entry.pw_dir))


def make_account(app: str, home: Path) -> Account:
    """The system account of an app, made when it is not there: nobody can log into it, and ``home`` is not made.

    Raises :class:`StageFailed` when an account of this name belongs to somebody else.
    """
    return _settled(account_name(app), f"reconciler app {app}", home, f"the app {app}")


def make_builder(home: Path) -> Account:
    """The system account that builds interpreters, made when it is not there. Raises as :func:`make_account`."""
    return _settled(BUILDER, BUILDER_COMMENT, home, "building")


def _settled(name: str, comment: str, home: Path, what: str) -> Account:
    with _MAKING:
        known = find_account(name)
        if known is None:
            _useradd(name, comment, home)
            known = find_account(name)
    if known is None:
        raise HostError(f"the account {name} was made, and is not there", hint="run `getent passwd` on this host")
    if pwd.getpwnam(name).pw_gecos.split(",")[0] != comment:
        raise StageFailed(
            f"the account {name} is there, and was not made for {what}",
            hint=f"write it into spec.user if an app is to run as {name}, or rename that account",
        )
    return known


def group_id(name: str, otherwise: int) -> int:
    """The id of a group; ``otherwise`` where the host has none of this name."""
    try:
        return grp.getgrnam(name).gr_gid
    except KeyError:
        return otherwise


def _useradd(name: str, comment: str, home: Path) -> None:
    command = ["useradd", "--system", "--user-group", "--no-create-home", "--home-dir", str(home)]
    command += ["--shell", NO_LOGIN, "--comment", comment, name]
    try:
        run(command, timeout=USERADD_SECONDS, what="useradd")
    except CommandFailed as error:
        said = error.tail.strip().splitlines()
        raise HostError(
            f"the account {name} cannot be made: {said[-1] if said else error}",
            hint="make it yourself, or name an account in spec.user",
        ) from error
