"""The Python interpreters of this host: chosen by version, never downloaded, never one of a virtual environment.

Starting interpreters takes time, so an answer is kept as long as the executable stays the same file: a pass that only
looks starts no program. Where PATH does not lead to the version, uv is asked for everything that it knows.
"""

from __future__ import annotations

import contextlib
import json
import os
import platform
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from reconciler.host.files import write_whole
from reconciler.host.processes import run
from reconciler.model.errors import CommandFailed, HostError, StageFailed

LISTING_SECONDS = 60.0
PROBE_SECONDS = 20.0
CACHE_FORMAT = 1

OLDEST = (3, 8)
"""Older interpreters are not offered in hints: no uWSGI wheel exists for them."""

# version managers put shims on PATH that run only the versions chosen for a shell, so their real folders are searched
_VERSION_FOLDERS = (
    ("PYENV_ROOT", "~/.pyenv", "versions/*/bin"),
    ("ASDF_DATA_DIR", "~/.asdf", "installs/python/*/bin"),
    ("MISE_DATA_DIR", "~/.local/share/mise", "installs/python/*/bin"),
)
_PROBE = (
    "import json, platform, sys; "
    "print(json.dumps([sys.implementation.name, platform.python_version(), "
    "getattr(sys, '_base_executable', None) or sys.executable]))"
)

Stamp = tuple[int, int, int]
"""What tells one file from another without reading it: inode, size in bytes, modification time in nanoseconds."""


@dataclass(frozen=True, slots=True)
class HostInterpreter:
    """One interpreter: ``implementation`` such as ``cpython``, ``version`` such as ``3.11.7``, absolute path."""

    implementation: str
    version: str
    executable: Path

    @property
    def minor(self) -> str:
        """The version without its patch level, such as ``3.11``: what compiled packages are bound to."""
        return _minor(self.version)


def identity(interpreter: HostInterpreter) -> dict[str, str]:
    """The inputs that an interpreter adds to a stage's digest; ``patch`` is apart, as a tool's version is."""
    return {
        "implementation": interpreter.implementation,
        "version": interpreter.minor,
        "patch": interpreter.version,
    }


def uv_binary() -> Path:
    """The uv that came with this package, or the one on PATH; :class:`HostError` where there is neither."""
    with contextlib.suppress(ImportError, FileNotFoundError):
        from uv import find_uv_bin  # noqa: PLC0415 - a system package may leave the wheel out and bring its own uv

        return Path(find_uv_bin())
    found = shutil.which("uv")
    if found is None:
        raise HostError("uv is not on this host", hint="pip install uv")
    return Path(found)


class Interpreters:
    """Finds interpreters and remembers them, in ``cache_file`` too where there is one.

    ``usable`` says of an executable whether apps may run it. An answer holds until its executable is another file,
    so that a newer patch version beside it redeploys nothing.
    """

    def __init__(
        self,
        cache_file: Path | None,
        *,
        environment: Mapping[str, str] | None = None,
        usable: Callable[[Path], bool] | None = None,
    ) -> None:
        self._cache_file = cache_file
        self._usable = usable or (lambda _: True)
        self._environment = dict(os.environ if environment is None else environment)
        self._known: dict[str, tuple[HostInterpreter, Stamp]] | None = None
        self._listed: tuple[tuple[HostInterpreter, ...], object] | None = None

    def find(self, wanted: str | None) -> HostInterpreter:
        """The interpreter for ``3.11`` or ``3.11.7``; ``None`` is the one that runs the reconciler.

        Raises :class:`StageFailed` when it is not on this host.
        """
        if wanted is None:
            return self._running()
        if self._known is None:
            self._known = _load(self._cache_file)
        if wanted in self._known:
            interpreter, stamp = self._known[wanted]
            if _stamp(interpreter.executable) == stamp:
                return interpreter
        found = self._search(wanted)
        stamp_now = _stamp(found.executable)
        if stamp_now is not None:
            self._known[wanted] = (found, stamp_now)
            _store(self._cache_file, self._known)
        return found

    def _running(self) -> HostInterpreter:
        """The one that runs the reconciler, or one of its version where apps may not run that very file."""
        running = running_interpreter()
        return running if self._usable(running.executable) else self.find(running.minor)

    def _search(self, wanted: str) -> HostInterpreter:
        running = running_interpreter()
        if matches(running, wanted) and self._usable(running.executable):
            return running
        variables = self._variables()
        for executable in self._candidates(wanted):
            with contextlib.suppress(CommandFailed, HostError, ValueError):
                base = _probe(executable, variables)
                if matches(base, wanted) and self._usable(base.executable):
                    return base
        raise StageFailed(f"Python {wanted} is not on this host", hint=_how_to_get(wanted, (running, *self._list())))

    def _candidates(self, wanted: str) -> Iterator[Path]:
        name = f"python{_minor(wanted)}"
        yield from (path for folder in self._folders() if os.access(path := Path(folder, name), os.X_OK))
        # uv also knows the interpreters that it installed, and those that are only called python3
        yield from (known.executable for known in self._list() if matches(known, wanted))

    def _list(self) -> tuple[HostInterpreter, ...]:
        # what a folder holds changes only together with its own modification time
        seen = tuple((folder, _stamp(Path(folder))) for folder in self._folders())
        if self._listed is None or self._listed[1] != seen:
            self._listed = (_ask_uv(self._variables()), seen)
        return self._listed[0]

    def _variables(self) -> dict[str, str]:
        # without VIRTUAL_ENV, CONDA_PREFIX and the like, which would put an environment first
        kept = {name: self._environment[name] for name in _KEPT_VARIABLES if name in self._environment}
        return kept | {"PATH": os.pathsep.join(self._folders())}

    def _folders(self) -> tuple[str, ...]:
        home = self._environment.get("HOME", "~")
        folders = [
            folder for folder in self._environment.get("PATH", os.defpath).split(os.pathsep) if _is_searched(folder)
        ]
        for variable, default, pattern in _VERSION_FOLDERS:
            root = Path(self._environment.get(variable) or default.replace("~", home, 1))
            folders += (str(folder) for folder in sorted(root.glob(pattern)))
        return tuple(dict.fromkeys(folders))


_KEPT_VARIABLES = ("HOME", "LD_LIBRARY_PATH", "UV_CACHE_DIR", "UV_PYTHON_INSTALL_DIR", "XDG_DATA_HOME")


def _minor(version: str) -> str:
    return ".".join(version.split(".")[:2])


def _is_searched(folder: str) -> bool:
    # a relative folder on PATH would mean a different one with every working directory
    return folder.startswith("/") and Path(folder).name != "shims"


def for_every_account(executable: Path) -> bool:
    """Whether any account may run a program: it and every folder above it are open to all."""
    place = executable.resolve()
    try:
        return all(path.stat().st_mode & 0o001 for path in (place, *place.parents))
    except OSError:
        return False


def running_interpreter() -> HostInterpreter:
    """The interpreter below the reconciler's own environment."""
    base = getattr(sys, "_base_executable", None) or sys.executable
    return HostInterpreter(sys.implementation.name, platform.python_version(), Path(base))


def matches(interpreter: HostInterpreter, wanted: str) -> bool:
    """Whether an interpreter is a CPython of the version ``3.11`` or ``3.11.7``."""
    return interpreter.implementation == "cpython" and wanted in (interpreter.version, interpreter.minor)


def _ask_uv(variables: Mapping[str, str]) -> tuple[HostInterpreter, ...]:
    """Everything uv finds, the newest version first; of one version, the first on PATH first."""
    # uv keeps its answers by the time of each executable; it is given no cache in a home folder of nobody's choosing
    cache = () if "UV_CACHE_DIR" in variables else ("--no-cache",)
    options = ("--only-installed", "--no-python-downloads", "--no-config", *cache, "--offline")
    command = (str(uv_binary()), "python", "list", *options, "--output-format", "json")
    answer = run(command, timeout=LISTING_SECONDS, env=variables, what="uv python list").text
    found = [
        HostInterpreter(str(entry["implementation"]), str(entry["version"]), Path(entry["path"]))
        for entry in _entries(answer)
        if entry.get("variant") in (None, "default")
    ]
    return tuple(sorted(found, key=lambda interpreter: _order(interpreter.version), reverse=True))


def _entries(answer: str) -> Iterator[dict[str, Any]]:
    try:
        entries = json.loads(answer)
    except ValueError as error:
        raise HostError("the answer of `uv python list` is not JSON", hint="run `reconciler doctor`") from error
    yield from (entry for entry in entries if {"implementation", "version", "path"} <= entry.keys() and entry["path"])


def _order(version: str) -> tuple[bool, tuple[int, ...]]:
    """Sorts a version below the released ones when it is a pre-release such as ``3.15.0b1``."""
    parts = version.split(".")
    return all(part.isdigit() for part in parts), tuple(
        int("".join(filter(str.isdigit, part)) or 0) for part in parts
    )


def _probe(executable: Path, variables: Mapping[str, str]) -> HostInterpreter:
    """Ask an executable what it is; for one in a virtual environment the answer is the interpreter below it."""
    answer = run((str(executable), "-I", "-S", "-c", _PROBE), timeout=PROBE_SECONDS, env=variables, what="python")
    implementation, version, base = json.loads(answer.text)
    return HostInterpreter(implementation, version, Path(base))


def _how_to_get(wanted: str, found: tuple[HostInterpreter, ...]) -> str:
    offered = {one.version for one in found if one.implementation == "cpython" and _order(one.version)[1] >= OLDEST}
    versions = ", ".join(sorted(offered, key=_order)) or "none"
    return (
        f"install it (`apt-get install python{_minor(wanted)}` or `uv python install {wanted}`), "
        f"or set build.python to one that is here: {versions}"
    )


def _stamp(path: Path) -> Stamp | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_ino, status.st_size, status.st_mtime_ns


def _load(path: Path | None) -> dict[str, tuple[HostInterpreter, Stamp]]:
    """What an earlier process found; a file that is missing, torn or of another format counts as empty."""
    if path is None:
        return {}
    try:
        document = json.loads(path.read_bytes())
        if document["format"] != CACHE_FORMAT:
            return {}
        return {str(wanted): _entry(kept) for wanted, kept in document["interpreters"].items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return {}


def _entry(kept: Mapping[str, Any]) -> tuple[HostInterpreter, Stamp]:
    inode, size, modified = (int(number) for number in kept["stamp"])
    interpreter = HostInterpreter(str(kept["implementation"]), str(kept["version"]), Path(str(kept["executable"])))
    return interpreter, (inode, size, modified)


def _store(path: Path | None, known: Mapping[str, tuple[HostInterpreter, Stamp]]) -> None:
    if path is None:
        return
    kept = {wanted: asdict(interpreter) | {"stamp": stamp} for wanted, (interpreter, stamp) in known.items()}
    text = json.dumps({"format": CACHE_FORMAT, "interpreters": kept}, indent=1, sort_keys=True, default=str)
    # the next process only asks again when the answer cannot be kept
    with contextlib.suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, text + "\n")
