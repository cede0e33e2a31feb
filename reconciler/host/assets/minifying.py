"""Minifies the copied files, in processes that may crash without harm."""

from __future__ import annotations

import json
import os
import sys
import tempfile
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from reconciler.host.app_commands import SYSTEM_PATH
from reconciler.host.assets import minifier
from reconciler.host.confinement import Confinement, run_confined
from reconciler.host.ownership import give, seize
from reconciler.model.errors import CommandFailed, CommandTimedOut, StageFailed

MINIFY_BYTES = 5 * 1024 * 1024
"""A larger file is data, not code: it is copied as it is."""
MINIFY_SECONDS = 300.0
WORKERS = 2
BYTES_WORTH_A_WORKER = 256 * 1024

_ENVIRONMENT = {"PATH": SYSTEM_PATH, "LANG": "C.UTF-8"}
"""All that the minifiers get of the agent's variables, among which may be secrets."""
_HINT = "correct the file, give it a name with .min. to have it left alone, or set minify: false"


@dataclass(frozen=True, slots=True, order=True)
class _Problem:
    name: str
    line: int
    what: str

    def __str__(self) -> str:
        return f"{self.name}:{self.line}: {self.what}" if self.line else f"{self.name}: {self.what}"


def minify(folder: Path, sizes: Mapping[str, int], *, label: str, confinement: Confinement) -> None:
    """Minify those of the files (sizes in bytes by name) that can be; one that would grow keeps its bytes.

    It is confined as a command of the app is, because it takes apart what a stranger wrote, and may write to
    ``folder``. Raises :class:`StageFailed` with file and line of the first syntax error; its ``tail`` lists all.
    """
    names = sorted(
        (name for name, size in sizes.items() if _can_be(name, size)), key=lambda name: (-sizes[name], name)
    )
    if not names:
        return
    wanted = 1 + sum(sizes[name] for name in names) // BYTES_WORTH_A_WORKER
    workers = min(WORKERS, os.cpu_count() or 1, wanted)
    shares = [names[number::workers] for number in range(workers)]
    # the names lie in the folder, where the account can read them
    lists = [_listed(folder, share) for share in shares]

    def work(number: int) -> list[_Problem]:
        return _run(folder, lists[number], shares[number], label, confinement)

    give(folder, confinement.account)
    try:
        with ThreadPoolExecutor(workers) as pool:
            found = list(pool.map(work, range(workers)))
    finally:
        seize(folder, confinement.account)
        for file in lists:
            file.unlink(missing_ok=True)
    problems = sorted(problem for share in found for problem in share)
    if problems:
        more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
        raise StageFailed(
            f"{label}/{problems[0]}{more}", hint=_HINT, tail="\n".join(f"{label}/{problem}" for problem in problems)
        )


def _can_be(name: str, size: int) -> bool:
    path = PurePosixPath(name)
    return path.suffix.lower() in minifier.MEDIA_TYPES and ".min" not in path.suffixes[:-1] and size <= MINIFY_BYTES


def _listed(folder: Path, names: Sequence[str]) -> Path:
    descriptor, path = tempfile.mkstemp(prefix=".tmp-", dir=folder)
    with os.fdopen(descriptor, "wb") as file:
        file.writelines(os.fsencode(name) + b"\0" for name in names)
    return Path(path)


def _run(folder: Path, listed: Path, names: Sequence[str], label: str, confinement: Confinement) -> list[_Problem]:
    lines: list[str] = []
    try:
        result = run_confined(
            # -P: the folder of the program must not shadow any module
            [sys.executable, "-P", minifier.__file__, os.fspath(folder), os.fspath(listed)],
            confinement,
            timeout=MINIFY_SECONDS,
            cwd=folder,
            env=_ENVIRONMENT,
            what="the minifier",
            on_line=lines.append,
        )
    except CommandFailed as error:
        how = f"did not end within {MINIFY_SECONDS:g} s" if isinstance(error, CommandTimedOut) else "crashed"
        name = names[max((number for number, _, _ in _messages(lines)), default=0)]
        raise StageFailed(f"the minifier {how} on {label}/{name}", hint=_HINT, tail=error.tail) from error
    return [_Problem(names[number], line, what) for number, line, what in _messages(result.text.splitlines()) if what]


def _messages(lines: Sequence[str]) -> list[tuple[int, int, str]]:
    """Number of the file, line and problem of each message; a file that is only begun has no problem."""
    messages = (json.loads(line) for line in lines if line.startswith('{"at": ') and line.endswith("}"))
    return [(message["at"], message.get("line", 0), message.get("problem", "")) for message in messages]
