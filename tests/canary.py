"""A secret that many tests deploy, and that is searched for in all that the reconciler then writes or shows."""

from __future__ import annotations

import functools
import json
import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

MARK = "rc-canary-"
VALUE = f"{MARK}7f3a9c0e51d2'\"x"
"""The value of the secret; every trace of it begins with the mark, however it is quoted."""
VARIABLE = "CANARY"
FILE = "secrets/canary.yaml"
REFERENCES = {VARIABLE: f"{FILE}#canary"}
KEY_FILE = "age.key"

NOT_SEARCHED = ("mirrors", "cache/uv", "store/source", "store/build", "shared")
"""Below a state folder: ciphertext in packs, packages, what git holds, and what is the app's own."""
ENVIRONMENTS = (".env", ".env.kept")
"""The files that hold secrets, and that only the app's account reads."""
LARGEST_BYTES = 64 * 1024 * 1024

_arguments: list[str] = []


class Leaked(AssertionError):
    """The canary was found."""


@functools.cache
def _made() -> tuple[str, str]:
    """The age key, and the encrypted file; made once in a process."""
    from sops_program import Keeper

    with tempfile.TemporaryDirectory(prefix="rk-") as folder:
        keeper = Keeper.new(Path(folder))
        text = keeper.encrypt(FILE, f"canary: {json.dumps(VALUE)}\n")
        return keeper.key_file.read_text(), text


def provide(home: Path) -> dict[str, str]:
    """Give a host the key beside its agent.yaml; the files to commit. Nothing where the host has a key already."""
    key, text = _made()
    file = home / KEY_FILE
    if not file.exists():
        file.write_text(key)
        file.chmod(0o600)
    return {FILE: text} if file.read_text() == key else {}


def refuse(text: str | bytes, what: str) -> None:
    """Raise :class:`Leaked` when a text has the canary in it."""
    mark: str | bytes = MARK if isinstance(text, str) else MARK.encode()
    if mark in text:  # type: ignore[operator]
        position = text.index(mark)  # type: ignore[arg-type]
        raise Leaked(f"the canary is in {what}: {text[max(0, position - 200) : position]!r} and then it")


def search(root: Path) -> None:
    """Raise :class:`Leaked` when a file below a state folder has the canary and is none of those that may."""
    for path in _files(root):
        if not path.name.endswith(ENVIRONMENTS) and path.stat().st_size <= LARGEST_BYTES:
            refuse(path.read_bytes(), str(path.relative_to(root)))


def _files(root: Path) -> Iterator[Path]:
    left_out = {str(root / name) for name in NOT_SEARCHED}
    for folder, folders, names in os.walk(root):
        folders[:] = [name for name in folders if f"{folder}/{name}" not in left_out]
        for name in names:
            path = Path(folder, name)
            if path.is_file() and not path.is_symlink():
                yield path


def watch_arguments() -> None:
    """From now on, remember every program that this process starts with the canary among its arguments."""

    def hook(event: str, values: tuple[object, ...]) -> None:
        if event == "subprocess.Popen" and MARK in repr(values[1]):
            _arguments.append(repr(values[0]))

    sys.addaudithook(hook)


def check_arguments() -> None:
    """Raise :class:`Leaked` when a program was started with the canary among its arguments."""
    started, _arguments[:] = list(_arguments), []
    if started:
        raise Leaked(f"the canary was an argument of {', '.join(started)}")
