"""What building takes from the machine: programs, the wheel of this checkout, and the time that all files get."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parent.parent.parent
NEEDED = {"dpkg-deb": "dpkg", "dpkg": "dpkg", "strip": "binutils", "readelf": "binutils"}
"""Programs, and the packages that bring them."""
COMMAND_SECONDS = 300.0
WHEEL = re.compile(r"reconciler-[^-]+-.*\.whl")


class Unbuildable(Exception):
    """The package cannot be built; ``hint`` is the next action."""

    def __init__(self, message: str, *, hint: str) -> None:
        super().__init__(message)
        self.hint = hint


def refuse_unfit() -> None:
    """Raise :class:`Unbuildable` with all programs that are missing."""
    lacking = sorted({package for program, package in NEEDED.items() if shutil.which(program) is None})
    if lacking:
        raise Unbuildable(
            f"building a Debian package needs {' and '.join(lacking)}", hint=f"apt-get install {' '.join(lacking)}"
        )


def refuse_places(wheel: Path | None, out: Path) -> None:
    """Raise :class:`Unbuildable` for a wheel that is none of the project's, or a folder that cannot be written to."""
    if wheel is not None and not (wheel.is_file() and WHEEL.fullmatch(wheel.name)):
        raise Unbuildable(
            f"{wheel} is no wheel of the reconciler",
            hint="name the reconciler-*.whl that `make wheel` builds into dist",
        )
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise Unbuildable(
            f"no package can be written to {out}: {error.strerror}", hint="name another --out"
        ) from None
    if not os.access(out, os.W_OK):
        raise Unbuildable(f"no package can be written to {out}: it is not yours", hint="name another --out")


def epoch() -> int:
    """The time of everything in the package: ``SOURCE_DATE_EPOCH``, else that of the newest commit."""
    given = os.environ.get("SOURCE_DATE_EPOCH", "")
    if given.isdigit():
        return int(given)
    try:
        return int(run("git", "-C", str(CHECKOUT), "log", "-1", "--format=%ct"))
    except (Unbuildable, ValueError):
        raise Unbuildable(
            "nobody knows when this checkout was made: it is not a git repository",
            hint="set SOURCE_DATE_EPOCH to its time, in seconds since 1970",
        ) from None


def build_wheel(scratch: Path) -> Path:
    """The wheel of this checkout, in ``scratch``."""
    uv("build", "--quiet", "--wheel", "--out-dir", str(scratch), str(CHECKOUT))
    (wheel,) = scratch.glob("*.whl")
    return wheel


def uv(*arguments: str) -> str:
    """Run uv, which the development environment brings."""
    return run(sys.executable, "-m", "uv", *arguments)


def run(*command: str, environment: Mapping[str, str] | None = None) -> str:
    """Run a program; raises :class:`Unbuildable` with the end of what it said."""
    whole: Sequence[str] = command
    try:
        done = subprocess.run(
            whole, capture_output=True, text=True, timeout=COMMAND_SECONDS, check=False,
            env={**os.environ, "LC_ALL": "C.UTF-8", **(environment or {})},
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Unbuildable(f"{command[0]} cannot be run: {error}", hint="see what is wrong with it") from error
    if done.returncode != 0:
        said = (done.stderr.strip() or done.stdout.strip())[-2000:]
        raise Unbuildable(f"{' '.join(command[:5])} ended with {done.returncode}: {said}", hint="correct that first")
    return done.stdout.strip()
