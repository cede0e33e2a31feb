"""Apps with an account each: the account is made, and with it the places that only this account may use."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from reconciler.host.accounts import Account, account_name, find_account, group_id, make_account, make_builder
from reconciler.host.files import remove_tree, write_whole
from reconciler.host.ownership import change_owner
from reconciler.host.system_layout import SystemLayout
from reconciler.model.errors import StageFailed

HOME_MODE = 0o750
LOG_MODE = 0o640
SOCKET_FOLDER_MODE = 0o2710
"""nginx's account walks through, and what is made in it belongs to nginx's group: the sockets."""
LOG_GROUP = "adm"


@dataclass(frozen=True, slots=True)
class OwnAccounts:
    """The system profile: an account for each app. ``nginx_group`` is asked for the id of nginx's group."""

    layout: SystemLayout
    nginx_group: Callable[[], int]

    def account_of(self, app: str, user: str | None) -> str:
        """``user``, which must be there and not be root, or the account that is made for the app."""
        if user is None:
            return account_name(app)
        known = find_account(user)
        if known is None:
            raise StageFailed(
                f"{app} is to run as {user}, and this host has no such account",
                hint=f"make it (`useradd --system {user}`), or leave spec.user out to have one made",
            )
        if 0 in (known.uid, known.gid):
            raise StageFailed(
                f"{app} is to run as {user}, which has the rights of root",
                hint="name another account in spec.user, or leave it out to have one made",
            )
        return user

    def settle(self, app: str, user: str | None) -> Account:
        """The account, its shared folder, its folder of sockets and its logs; costs a few calls of ``stat``."""
        name = self.account_of(app, user)
        shared = self.layout.shared(app)
        account = find_account(name) if user is not None else make_account(app, shared)
        if account is None:
            raise StageFailed(f"the account {name} is gone", hint="make it again, or change spec.user")
        nginx = self.nginx_group()
        _folder(shared, account.uid, account.gid, HOME_MODE)
        _folder(self.layout.app_run(app), account.uid, nginx, SOCKET_FOLDER_MODE)
        self._write_tmpfiles(app, account, nginx)
        logs = group_id(LOG_GROUP, 0)
        _file(self.layout.app_log(app), account.uid, logs)
        for path in (self.layout.access_log(app), self.layout.error_log(app)):
            _file(path, None, logs)
        return account

    def builder(self, home: Path) -> Account:
        """An account of its own, so that no app's processes reach what others will run."""
        return make_builder(home)

    def leave(self, app: str) -> None:
        """Take the folder of sockets away, now and for the next boot, and the one of temporary files."""
        (self.layout.tmpfiles / _tmpfiles_name(app)).unlink(missing_ok=True)
        for folder in (self.layout.app_run(app), self.layout.temporary / app):
            with suppress(FileNotFoundError):
                remove_tree(folder)

    def _write_tmpfiles(self, app: str, account: Account, group: int) -> None:
        """A reboot empties ``/run``, and the Emperor starts without the agent."""
        self.layout.tmpfiles.mkdir(parents=True, exist_ok=True)
        line = f"d {self.layout.app_run(app)} {SOCKET_FOLDER_MODE:o} {account.uid} {group} -\n"
        write_whole(self.layout.tmpfiles / _tmpfiles_name(app), f"# written by reconciler\n{line}")


def _tmpfiles_name(app: str) -> str:
    return f"reconciler-app-{app}.conf"


def _folder(path: Path, owner: int, group: int, mode: int) -> None:
    """Make a folder in one of the agent's own; one that belonged to another account changes hands with all in it."""
    with suppress(FileExistsError):
        path.mkdir(mode=0o700)
        os.chown(path, owner, group)
        path.chmod(mode)
    status = path.lstat()
    if not stat.S_ISDIR(status.st_mode):
        raise StageFailed(f"{path} is no folder", hint="move it away")
    if status.st_uid != owner:
        change_owner(path, status.st_uid, owner, group)
    if status.st_gid != group or stat.S_IMODE(status.st_mode) != mode:
        os.chown(path, owner, group, follow_symlinks=False)
        path.chmod(mode)


def _file(path: Path, owner: int | None, group: int) -> None:
    """Make a log before the app or nginx does; a rotated or a foreign one gets its owner back.

    Without ``owner`` it is made for the agent, and whoever nginx gave it to since then keeps it.
    """
    flags = os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    descriptor = os.open(path, flags, LOG_MODE)
    try:
        status = os.fstat(descriptor)
        if owner is not None and (status.st_uid != owner or status.st_gid != group):
            os.fchown(descriptor, owner, group)
        elif owner is None and status.st_uid == 0 and status.st_gid != group:
            os.fchown(descriptor, 0, group)
        if stat.S_IMODE(status.st_mode) != LOG_MODE:
            os.fchmod(descriptor, LOG_MODE)
    finally:
        os.close(descriptor)
