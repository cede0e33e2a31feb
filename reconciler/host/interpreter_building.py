"""CPython built from its source: configured, compiled, installed into an output of the store, tried out.

It is built under an account of its own where there are accounts, confined as an app's command is. What was compiled
so far outlives a kill: the source is unpacked and compiled in a folder of the cache, and the next attempt goes on
there. A kill, or a loss of power, may also leave half a file that looks finished, so that an attempt which goes on
and fails begins anew.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from reconciler.host import reporting
from reconciler.host.app_commands import PASSED_ON, SYSTEM_PATH
from reconciler.host.confinement import Confinement, run_confined
from reconciler.host.file_systems import disk_error
from reconciler.host.files import remove_tree, temporary_sibling
from reconciler.host.interpreters import HostInterpreter
from reconciler.host.ownership import give
from reconciler.host.source_archives import EXAMPLE_HINT, unpack, version_of
from reconciler.host.stored_interpreters import (
    NEEDED,
    PREFIX,
    WISHED,
    check_version,
    describe,
    open_to_all,
    try_out,
)
from reconciler.model.errors import CommandFailed, CommandTimedOut, StageFailed

STEP_SECONDS = 7_200.0
"""The longest that one of the steps may take; the limit of the whole stage is in agent.yaml."""
OPTIONS = ("--without-ensurepip", "--disable-test-modules")
"""Environments bring their installer, and nobody imports the tests of the standard library."""
BUILD_ESSENTIAL = "build-essential"
CONFIGURED = ".configured"

_LACKING = re.compile(r"checking for stdlib extension module _?(\w+)\.\.\. missing")
_OBJECT = re.compile(r" -o (\S+\.(?:o|so))\b")


@dataclass(frozen=True, slots=True)
class Recipe:
    """What to build: the ``archive``, optimized or not, in the folder ``work``; ``final`` is the output's place.

    ``version`` is what the manifest says that it is, such as ``3.13``; ``None``: it does not say.

    ``confinement`` is of the account that builds; it may write to ``work`` and to the output in the making.
    """

    archive: Path
    optimize: bool
    version: str | None
    work: Path
    final: Path
    confinement: Confinement
    say: Callable[[str], None]

    @property
    def compiled(self) -> Path:
        """Where it is compiled, apart from its source."""
        return self.work / "build"

    @property
    def configured(self) -> Path:
        """Says that configure went to its end; beside the folder, which belongs to the account that builds."""
        return self.work.with_name(f"{self.work.name}{CONFIGURED}")


def build(recipe: Recipe, folder: Path) -> None:
    """Build the interpreter, and put it into ``folder``, an output in the making.

    Raises :class:`StageFailed` when the source, or what this host has to compile it, does not do, and
    :class:`DiskError` when there was no room; what was compiled stays in that case.
    """
    _need_compiler()
    goes_on = recipe.configured.exists()
    try:
        _build(recipe, folder)
    except StageFailed as error:
        if (full := disk_error(error, recipe.work)) is not None:
            raise full from error
        forget_work(recipe)
        if not goes_on:
            raise
        recipe.say(f"begun anew, since it could not go on from where it was interrupted: {error}")
        _build(recipe, folder)


def _build(recipe: Recipe, folder: Path) -> None:
    account = recipe.confinement.account
    aside, prefix = folder / "aside", folder / PREFIX
    for path in (aside, prefix):
        remove_tree(path)
    aside.mkdir()
    give(aside, account)
    if not recipe.work.exists():
        _lay_out(recipe)
    if not recipe.configured.exists():
        _configure(recipe)
    jobs = str(os.cpu_count() or 1)
    _step(recipe, "compile", ("make", "-j", jobs), _compiled)
    _step(recipe, "install", ("make", "-j", jobs, "altinstall", f"DESTDIR={aside}"), lambda _: None)
    open_to_all(aside, account)
    installed = aside / str(recipe.final / PREFIX).lstrip("/")
    # a link on the way would lead to a tree that was not taken back
    if not installed.is_dir() or installed.resolve() != aside.resolve() / installed.relative_to(aside):
        raise StageFailed(
            "Python cannot be built from source: make altinstall has installed nothing", hint=EXAMPLE_HINT
        )
    installed.rename(prefix)
    remove_tree(aside)
    _phase(recipe, "test")
    interpreter, lacking = try_out(prefix, recipe.confinement, _environment(recipe))
    _check(recipe, lacking)
    describe(folder, interpreter)


def forget_work(recipe: Recipe) -> None:
    """Remove what only a further attempt would need."""
    remove_tree(recipe.work)
    recipe.configured.unlink(missing_ok=True)


def _need_compiler() -> None:
    lacking = [] if any(shutil.which(name, path=SYSTEM_PATH) for name in ("cc", "gcc")) else ["C compiler"]
    lacking += [] if shutil.which("make", path=SYSTEM_PATH) else ["make"]
    if not lacking:
        return
    raise StageFailed(
        f"Python cannot be built from source: this host has no {' and no '.join(lacking)}",
        hint=f"add {BUILD_ESSENTIAL}, {', '.join((*NEEDED.values(), *WISHED.values()))} to build.systemPackages",
    )


def _lay_out(recipe: Recipe) -> None:
    """Unpack the source; what has the name of the work folder is whole."""
    _phase(recipe, "unpack")
    recipe.configured.unlink(missing_ok=True)
    recipe.work.parent.mkdir(parents=True, exist_ok=True)
    aside = temporary_sibling(recipe.work)
    try:
        aside.mkdir(mode=0o700)
        source = unpack(recipe.archive, aside / "unpacked")
        check_version(HostInterpreter("cpython", version_of(source), source), recipe.version)
        source.rename(aside / "source")
        for name in ("build", "home"):
            (aside / name).mkdir()
        give(aside, recipe.confinement.account)
        aside.rename(recipe.work)
    finally:
        if aside.exists():
            remove_tree(aside)


def _configure(recipe: Recipe) -> None:
    lacking: list[str] = []

    def listen(line: str) -> str | None:
        lacking.extend(_LACKING.findall(line))
        return line.removeprefix("checking ") if line.startswith("checking for ") else None

    options = (*OPTIONS, *(("--enable-optimizations",) if recipe.optimize else ()))
    command = (str(recipe.work / "source" / "configure"), f"--prefix={recipe.final / PREFIX}", *options)
    _step(recipe, "configure", command, listen)
    _check(recipe, lacking)
    recipe.configured.touch()


def _check(recipe: Recipe, lacking: Sequence[str]) -> None:
    """Fail for modules that no app can do without; what is configured does not do then."""
    if left_out := [name for name in WISHED if name in lacking]:
        recipe.say(f"without {', '.join(left_out)}: this host lacks {', '.join(WISHED[name] for name in left_out)}")
    missing = [name for name in NEEDED if name in lacking]
    if not missing:
        return
    forget_work(recipe)
    raise StageFailed(
        f"Python built from source would lack {', '.join(missing)}: this host has no headers for it",
        hint=f"add {', '.join(NEEDED[name] for name in missing)} to build.systemPackages",
    )


def _compiled(line: str) -> str | None:
    found = _OBJECT.search(line)
    return found[1] if found else None


def _step(recipe: Recipe, name: str, command: Sequence[str], shown: Callable[[str], str | None]) -> None:
    """Run one step; ``shown`` is what is worth telling of a line that it prints."""
    _phase(recipe, name)

    def listen(line: str) -> None:
        if text := shown(line):
            recipe.say(f"{name}: {text}")

    env = _environment(recipe)
    try:
        # what serves goes first
        run_confined(("nice", "-n", "10", *command), recipe.confinement, timeout=STEP_SECONDS, cwd=recipe.compiled,
                     env=env, what=f"{name} of Python", on_line=listen)  # fmt: skip
    except CommandTimedOut:
        raise
    except CommandFailed as error:
        raise StageFailed(
            f"Python cannot be built from source: {error}",
            hint="see the lines below; what a compiler lacks belongs into build.systemPackages",
            tail=error.tail,
        ) from error


def _phase(recipe: Recipe, name: str) -> None:
    recipe.say(name)
    reporting.info("interpreter_progress", phase=name, output=recipe.final.name)


def _environment(recipe: Recipe) -> Mapping[str, str]:
    passed = {name: os.environ[name] for name in PASSED_ON if name in os.environ}
    return {**passed, "PATH": SYSTEM_PATH, "HOME": str(recipe.work / "home"), "LANG": "C.UTF-8"}
