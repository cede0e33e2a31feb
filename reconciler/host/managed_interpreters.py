"""Interpreters that uv installs from a mirror, into an output of the store."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path

from reconciler.host.confinement import Confinement
from reconciler.host.environments import uv_environment
from reconciler.host.files import remove_tree, write_whole
from reconciler.host.interpreters import uv_binary
from reconciler.host.ownership import give
from reconciler.host.processes import run
from reconciler.host.stored_interpreters import PREFIX, describe, open_to_all, try_out
from reconciler.model.errors import CommandFailed, CommandTimedOut, Retry, StageFailed
from reconciler.model.installer_output import unreachable_index

INSTALL_SECONDS = 900.0
LIST = "UV_PYTHON_DOWNLOADS_JSON_URL"
"""Names uv's list of builds with their checksums, for a mirror that has builds of its own."""
_CAUSE = re.compile(r"^\s*[Cc]aus(?:e|ed by): (.*?)(?: \(os error \d+\))?$", re.MULTILINE)
NAMES_ITS_PLACE = ("lib/python*/_sysconfigdata*.py", "lib/pkgconfig/*.pc", "lib/python*/config-*/Makefile")
"""Text files of an interpreter in which uv writes where it lies."""


def install(
    version: str, mirror: str, folder: Path, final: Path, confinement: Confinement, say: Callable[[str], None]
) -> None:
    """Install CPython ``version`` from ``mirror`` into ``folder``, an output in the making that becomes ``final``.

    uv believes no archive but those whose sha256 it knows. Raises :class:`StageFailed`, retried where the mirror did
    not answer.
    """
    account = confinement.account
    aside = folder / "aside"
    for path in (aside, aside / "home"):
        path.mkdir()
    give(aside, account)
    env = {**uv_environment(os.environ, aside / "home" / "cache", aside / "home"), "UV_PYTHON_INSTALL_MIRROR": mirror}
    env |= {LIST: os.environ[LIST]} if LIST in os.environ else {}
    options = ("--install-dir", str(aside / "all"), "--no-bin", "--no-config", "--color", "never", "--no-progress")
    command = (str(uv_binary()), "python", "install", f"cpython@{version}", *options)
    say(f"uv python install {version} from {mirror}")
    try:
        run(command, timeout=INSTALL_SECONDS, env=env, account=account, what="uv python install", on_line=say)
    except CommandTimedOut:
        raise
    except CommandFailed as error:
        raise _failure(version, mirror, error) from error
    open_to_all(aside, account)
    (installed,) = (path for path in (aside / "all").glob("cpython-*") if path.is_dir() and not path.is_symlink())
    prefix = folder / PREFIX
    installed.rename(prefix)
    remove_tree(aside)
    _tell_its_place(prefix, str(installed), str(final / PREFIX))
    interpreter, _ = try_out(prefix, confinement, _plain(env))
    describe(folder, interpreter)


def _tell_its_place(prefix: Path, before: str, after: str) -> None:
    for pattern in NAMES_ITS_PLACE:
        for path in prefix.glob(pattern):
            content = path.read_bytes()
            if not path.is_symlink() and before.encode() in content:
                mode = path.stat().st_mode & 0o777
                write_whole(path, content.replace(before.encode(), after.encode()), mode=mode)


def _plain(env: Mapping[str, str]) -> dict[str, str]:
    return {name: env[name] for name in ("PATH", "LANG") if name in env}


def _failure(version: str, mirror: str, error: CommandFailed) -> StageFailed:
    if "o download found" in error.tail:
        return StageFailed(
            f"uv knows no build of Python {version} for this host",
            hint="set build.python to a version that `uv python list --only-downloads` shows",
            tail=error.tail,
        )
    if unreachable_index(error.tail) is not None:
        failure = StageFailed(
            f"Python {version} cannot be installed: the mirror {mirror} did not answer",
            hint="it is tried again by itself; check python.mirror in agent.yaml and the agent's proxy variables",
            tail=error.tail,
        )
        failure.retry = Retry.NEXT_PASS
        return failure
    causes = _CAUSE.findall(error.tail)
    return StageFailed(
        f"Python {version} cannot be installed from {mirror}: {causes[-1] if causes else error}",
        hint="check that the mirror (python.mirror in agent.yaml) has the file that the lines below name",
        tail=error.tail,
    )
