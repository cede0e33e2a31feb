"""What the system profile needs besides the programs: root, systemd with its units, nginx's include, open folders."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from reconciler.cli.checks.row import Row, fail, ok, warn
from reconciler.host import system_emperor, system_nginx
from reconciler.host.control_groups import missing_limits
from reconciler.host.interpreters import for_every_account, uv_binary
from reconciler.host.nginx_binary import find_system_nginx
from reconciler.host.system_emperor import emperor_configuration
from reconciler.host.system_layout import SystemLayout
from reconciler.host.systemd import Unit
from reconciler.host.transient_unit import BUS, systemd_runs
from reconciler.host.vassal_start import EMPERORS_GROUP
from reconciler.model.errors import ReconcilerError

BOOTSTRAP = "run `reconciler bootstrap`, which sets this up"
ANY_TOKEN = "0" * 8


def check_system(layout: SystemLayout) -> Iterator[Row]:
    """Rows about this host, as far as they can be seen from this account."""
    yield _root()
    yield _units()
    yield _nginx_include(layout)
    yield _emperor(layout)
    yield _open_to_accounts()
    yield _commands()
    yield _limits()
    yield from _confined_apps()
    if shutil.which("useradd") is None:
        yield fail("useradd", "not installed: no account can be made for an app", "apt-get install passwd")


def _root() -> Row:
    if os.geteuid() != 0:
        return warn(
            "root", "this account is not root: passes, plans and some checks need it", "sudo reconciler doctor"
        )
    return ok("root", "this account is root")


def _units() -> Row:
    try:
        missing = [name for name in (system_nginx.UNIT, system_emperor.UNIT) if not Unit(name).known()]
    except ReconcilerError as error:
        return fail("systemd", str(error), error.hint)
    if missing:
        return fail("systemd", f"there is no {' and no '.join(missing)}", BOOTSTRAP)
    return ok("systemd", f"{system_nginx.UNIT} and {system_emperor.UNIT} are there")


def _nginx_include(layout: SystemLayout) -> Row:
    try:
        system_nginx.SystemNginx(layout, find_system_nginx(), ANY_TOKEN).refuse_without_include()
    except ReconcilerError as error:
        return fail("nginx include", str(error), error.hint)
    return ok("nginx include", f"nginx.conf includes {layout.nginx_main}")


def _emperor(layout: SystemLayout) -> Row:
    file = layout.emperor_configuration
    try:
        text = file.read_text("utf-8")
    except OSError as error:
        return fail("emperor", f"{file} cannot be read: {error.strerror}", BOOTSTRAP)
    if text != emperor_configuration(layout):
        return warn("emperor", f"{file} is not as this version writes it", BOOTSTRAP)
    return ok("emperor", f"{file} is as this version writes it")


def _open_to_accounts() -> Row:
    """Apps are built with the reconciler's own Python and uv, by accounts that are not root."""
    try:
        programs = (Path(sys.executable), uv_binary())
    except ReconcilerError as error:
        return fail("accounts", str(error), error.hint)
    closed = [str(program) for program in programs if not for_every_account(program)]
    if closed:
        message = f"the accounts of apps may not run {' and '.join(closed)}"
        return fail("accounts", message, "install the reconciler, and its Python, where every account may read it")
    return ok("accounts", "the accounts of apps may run the reconciler's Python and uv")


def _commands() -> Row:
    if not systemd_runs():
        message = "systemd-run is not there: what a command of an app leaves behind may go on"
        return fail("commands", message, "the system profile needs systemd; without it, set `profile: embedded`")
    if not BUS.exists():
        return fail("commands", f"systemd cannot be asked to run commands: there is no {BUS}", "apt-get install dbus")
    return ok("commands", "commands of apps run in units of systemd")


def _limits() -> Row:
    """Whether the kernel lets systemd limit what a group has: looked at where every service is."""
    missing = missing_limits("system.slice")
    if missing:
        message = f"this kernel does not enforce {' and '.join(missing)}, for commands and for apps"
        return warn("limits", message, "boot with control groups of version 2 and the controllers memory and pids")
    return ok("limits", "the kernel enforces limits.memory and limits.processes")


def _confined_apps() -> Iterator[Row]:
    """Whether the Emperor that runs was started as this version starts it: an upgrade restarts nothing by itself."""
    with suppress(ReconcilerError, OSError):
        pid = Unit(system_emperor.UNIT).pid()
        groups = [] if pid is None else Path(f"/proc/{pid}/cgroup").read_text("utf-8", "replace").splitlines()
        if any(group.endswith(f"/{system_emperor.UNIT}/{EMPERORS_GROUP}") for group in groups):
            yield ok("apps", "every app runs in a group and with a /tmp of its own")
        elif groups:
            message = "the Emperor runs since before it could confine apps: they have no limits, and one /tmp"
            restart = f"systemctl restart {system_emperor.UNIT}"
            yield warn("apps", message, f"`reconciler bootstrap`, then `{restart}`: no site answers for some seconds")
