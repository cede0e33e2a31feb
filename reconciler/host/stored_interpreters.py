"""Interpreters in the store: what an output is, once it is whole, and how every app may run it."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Mapping, Sequence
from pathlib import Path

from reconciler.host.confinement import Confinement, run_confined
from reconciler.host.files import write_whole
from reconciler.host.interpreters import HostInterpreter, matches
from reconciler.host.ownership import SEIZED_MODES, seize
from reconciler.host.processes import Account
from reconciler.model.errors import CommandFailed, CommandTimedOut, HostError, StageFailed

PREFIX = "python"
"""The folder in an output that is the interpreter's prefix."""
DESCRIPTION = "interpreter.json"
TRIAL_SECONDS = 60.0
NEEDED = {"zlib": "zlib1g-dev", "ssl": "libssl-dev", "ctypes": "libffi-dev"}
"""Modules without which hardly any app works, and the Debian package with the headers of each."""
WISHED = {"bz2": "libbz2-dev", "lzma": "liblzma-dev", "sqlite3": "libsqlite3-dev"}
"""Modules that many apps never load."""

_TRIAL = """
import importlib, json, platform, sys
def lacks(name):
    try:
        importlib.import_module(name)
    except ImportError:
        return True
    return False
print(json.dumps([sys.implementation.name, platform.python_version(), list(filter(lacks, sys.argv[1:]))]))
"""


def stored_interpreter(output: Path) -> HostInterpreter:
    """The interpreter in an output of the store. Raises :class:`HostError` when it is gone."""
    try:
        known = json.loads((output / DESCRIPTION).read_bytes())
        return HostInterpreter(known["implementation"], known["version"], output / PREFIX / known["executable"])
    except (OSError, ValueError, KeyError) as error:
        raise HostError(
            f"the interpreter in {output} is damaged", hint="the next pass makes it anew; run `reconciler once`"
        ) from error


def check_version(built: HostInterpreter, wanted: str | None) -> None:
    """Refuse an interpreter from an archive that is another one than ``build.python.version`` says."""
    if wanted is not None and not matches(built, wanted):
        raise StageFailed(
            f"the archive of build.python.source is Python {built.version}, and build.python.version says {wanted}",
            hint="correct build.python.version, or take it out: the archive says which version it is",
        )


def try_out(prefix: Path, confinement: Confinement, env: Mapping[str, str]) -> tuple[HostInterpreter, Sequence[str]]:
    """Run the interpreter below ``prefix``; what it is, and which of the modules above it lacks.

    Raises :class:`StageFailed` when it is none, or does not run.
    """
    found = sorted(path for path in (prefix / "bin").glob("python3.*") if path.name[8:].isdecimal())
    if not found:
        raise StageFailed(
            "what was installed has no bin/python3.*, so it is no CPython",
            hint="name an archive of CPython's source in build.python.source",
        )
    command = (str(found[0]), "-I", "-c", _TRIAL, *NEEDED, *WISHED)
    try:
        answer = run_confined(
            command, confinement, timeout=TRIAL_SECONDS, cwd=prefix, env=env, what=f"the new {found[0].name}"
        )
        implementation, version, lacking = json.loads(answer.text)
    except CommandTimedOut:
        raise
    except (CommandFailed, ValueError) as error:
        raise StageFailed(
            f"the Python that was made does not run: {error}",
            hint="see the lines below; it was made for another host, or by a compiler that does not do",
            tail=error.tail if isinstance(error, CommandFailed) else "",
        ) from error
    return HostInterpreter(implementation, version, found[0]), lacking


def describe(output: Path, interpreter: HostInterpreter) -> None:
    """Write down what lies in ``output``, so that nobody has to ask it."""
    executable = str(interpreter.executable.relative_to(output / PREFIX))
    known = {"implementation": interpreter.implementation, "version": interpreter.version, "executable": executable}
    write_whole(output / DESCRIPTION, json.dumps(known) + "\n")


def open_mode(mode: int) -> int:
    """The mode of a file that everybody may read, and run, as its owner may, and that nobody else may write."""
    owner = mode & (stat.S_IRUSR | stat.S_IXUSR)
    return mode & SEIZED_MODES | owner >> 3 | owner >> 6


def open_to_all(tree: Path, account: Account | None) -> None:
    """Take a tree back from the account that made it, and let every account read and run it."""
    if account is None:
        return
    seize(tree, account)
    for _, folders, files, descriptor in os.fwalk(tree, follow_symlinks=False):
        for name in (*folders, *files):
            status = os.stat(name, dir_fd=descriptor, follow_symlinks=False)
            os.chown(name, 0, 0, dir_fd=descriptor, follow_symlinks=False)
            if not stat.S_ISLNK(status.st_mode):
                os.chmod(name, open_mode(status.st_mode), dir_fd=descriptor)
    os.chown(tree, 0, 0)
    tree.chmod(0o755)
