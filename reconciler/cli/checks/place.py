"""The place that a configuration names: its state folder, its port, and the limits of the kernel."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from reconciler.cli.checks.row import Row, fail, ok, warn
from reconciler.host.daemons import refuse_unusable_root
from reconciler.host.file_systems import file_system_of, hint_of, sentence_of
from reconciler.host.layout import SOCKET_PATH_BYTES, Layout
from reconciler.host.ports import holder_of, listen_address, refuse_taken
from reconciler.host.system_layout import SystemLayout
from reconciler.model.errors import ConfigurationError, HostError
from reconciler.model.stage import RELEASE_DIGITS

if TYPE_CHECKING:
    from reconciler.cli.wiring import Installation

MEBIBYTE = 1024 * 1024
DISK_WARN_BYTES = 2048 * MEBIBYTE
DISK_FAIL_BYTES = 200 * MEBIBYTE
NAME_CHARACTERS = 40
"""The longest name that a manifest can give to an app."""
INOTIFY_LIMITS = {"max_user_instances": 16, "max_user_watches": 8192}
INOTIFY = Path("/proc/sys/fs/inotify")


def check_place(installation: Installation) -> Iterator[Row]:
    """Rows about the state folder and the port of one configuration."""
    yield ok("configuration", str(installation.file))
    layout = installation.layout
    yield _state_folder(layout)
    yield _disk(layout.root)
    yield _socket_paths(layout)
    if not isinstance(layout, SystemLayout):
        yield _port(installation)


def check_configuration_missing(error: ConfigurationError, *, named: bool) -> Row:
    """The row for a configuration that cannot be read; without one the rest can still be checked."""
    return fail("configuration", str(error), error.hint) if named else warn("configuration", str(error), error.hint)


def check_kernel() -> Iterator[Row]:
    """Limits that an agent runs into only when it is too late to look."""
    for name, least in INOTIFY_LIMITS.items():
        with suppress(OSError, ValueError):
            limit = int((INOTIFY / name).read_text())
            if limit >= least:
                yield ok(f"inotify {name}", str(limit))
            else:
                message = f"{limit}: the agent may not see changes of local repositories at once, only when it polls"
                yield warn(f"inotify {name}", message, f"sysctl fs.inotify.{name}={least}")


def _state_folder(layout: Layout) -> Row:
    try:
        refuse_unusable_root(layout.root)
    except HostError as error:
        return fail("state folder", str(error), error.hint)
    existing = _existing(layout.root)
    try:
        # tried, not asked: a file system can be read-only, and root may do everything but there
        with tempfile.TemporaryFile(dir=existing):
            pass
    except OSError as error:
        message = f"{existing} cannot be written by this account: {error.strerror}"
        return fail("state folder", message, "set root in agent.yaml, or change its owner")
    made = "" if existing == layout.root else " (made with the first pass)"
    return ok("state folder", f"{layout.root}{made}")


def _disk(root: Path) -> Row:
    found = file_system_of(root)
    free, lack = found.free, found.lack
    message = f"{free // MEBIBYTE:,} MiB free at {root}"
    if lack is not None:
        return fail("disk", sentence_of(found, lack), hint_of(found.mount, lack))
    if free < DISK_FAIL_BYTES:
        return fail("disk", message, "free some space: environments and static files need some hundred MiB")
    return warn("disk", message, "builds may run out of space") if free < DISK_WARN_BYTES else ok("disk", message)


def _socket_paths(layout: Layout) -> Row:
    # a vassal is named after its app and its release; the name of its kind of socket ends the path
    around = len(str(layout.socket(f".{'0' * RELEASE_DIGITS}", "stats")).encode())
    left = SOCKET_PATH_BYTES - around
    if left >= NAME_CHARACTERS:
        return ok("socket paths", f"names of apps may have all of {NAME_CHARACTERS} characters")
    hint = f"set root in agent.yaml to a shorter path than {layout.root}"
    if left < 1:
        return fail(
            "socket paths", f"{layout.root} is too long: a socket's path has at most {SOCKET_PATH_BYTES} bytes", hint
        )
    return warn("socket paths", f"names of apps may have at most {left} characters here", hint)


def _port(installation: Installation) -> Row:
    http, layout = installation.configuration.http, installation.layout
    place = listen_address(http.address, http.port)
    try:
        refuse_taken(http.address, http.port)
    except HostError as error:
        if _is_ours(layout, http.port):
            return ok("port", f"{place} is served by this installation's nginx")
        return fail("port", str(error), error.hint)
    return ok("port", f"{place} is free")


def _is_ours(layout: Layout, port: int) -> bool:
    """Whether the process that listens is the nginx whose main process this installation has noted down."""
    with suppress(OSError, ValueError):
        master = int((layout.run / "nginx.pid").read_text())
        holder = holder_of(port) or ""
        if f"(pid {master})" in holder:
            return True
        children = Path(f"/proc/{master}/task/{master}/children").read_text().split()
        return any(f"(pid {child})" in holder for child in children)
    return False


def _existing(path: Path) -> Path:
    """The path itself, or the nearest folder above it that is there."""
    return next(folder for folder in (path, *path.parents) if folder.exists())
