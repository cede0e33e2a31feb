"""The interpreter stage: a Python that the host does not have, built from source or installed from a mirror."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from reconciler.host.files import building
from reconciler.host.interruption import stop_if_interrupted
from reconciler.host.store import output_is_whole
from reconciler.model.errors import StageFailed
from reconciler.model.manifest import Interpreter
from reconciler.model.stage import Inputs, StageName
from reconciler.stages.stage import Facts, Work
from reconciler.stages.stored import StoredStage

POLL_SECONDS = 0.2
KEPT_DAYS = 30.0
"""How long archives, and what was compiled of a build that nobody asked for again, are kept."""
_MAKING: dict[str, threading.Lock] = {}


class InterpreterStage(StoredStage):
    """Inputs: the source archive's sha256 and how it is built, or the version. Shared by all apps that ask for it."""

    name = StageName.INTERPRETER

    def inputs(self, facts: Facts) -> Inputs | None:
        """Name the inputs; ``None`` where the host has the interpreter."""
        python = facts.manifest.spec.build.python
        if not isinstance(python, Interpreter) or python.source is None:
            return self._managed(facts, python.version if isinstance(python, Interpreter) else python)
        if facts.uwsgi:
            raise StageFailed(
                f"{facts.app} asks for a Python from source, and the distribution's uWSGI runs its own Python only",
                hint="take build.python.source out, or set `uwsgi: environment` in agent.yaml",
            )
        return Inputs(
            self.name,
            {
                # whoever serves it, an archive with this sha256 is the same one
                "build.python.sha256": python.sha256 or "",
                "build.python.optimize": "" if python.optimize else "false",
            },
            notes={"build.python.source": python.source},
        )

    def _managed(self, facts: Facts, version: str | None) -> Inputs | None:
        if version is None or facts.host.python_mirror is None or facts.uwsgi:
            return None
        inputs = Inputs(self.name, {"build.python": f"cpython {version}"})
        # one that was installed stays the app's, whatever comes to this host later
        if output_is_whole(facts.layout, self.name, inputs.digest):
            return inputs
        try:
            facts.host.interpreters.find(version)
        except StageFailed:
            return inputs
        return None

    def apply(self, work: Work) -> None:
        """Make it, once for all apps that ask for it at the same time."""
        output = work.facts.layout.output(self.name, work.desired.digest)
        before = _inode(output)
        with _alone(output.name):
            if _inode(output) != before or (before and not work.replace):
                work.say("made meanwhile for another app")
                return
            python = work.facts.manifest.spec.build.python
            if isinstance(python, Interpreter) and python.source is not None:
                _build(work, python, python.source, output)
            else:
                _install(work, (python.version if isinstance(python, Interpreter) else python) or "", output)


def _build(work: Work, python: Interpreter, address: str, output: Path) -> None:
    from reconciler.host.interpreter_building import Recipe, build, forget_work  # noqa: PLC0415  builds are rare
    from reconciler.host.source_archives import fetch, forget_old  # noqa: PLC0415

    layout = work.facts.layout
    folder = layout.cache / "interpreters"
    sha256 = python.sha256 or ""
    archive = layout.cache / "archives" / sha256
    for place in (folder, archive.parent):
        place.mkdir(mode=0o711, parents=True, exist_ok=True)
        forget_old(place, KEPT_DAYS)
    work.say("fetch")
    fetch(address, sha256, archive, work.say)
    account = work.facts.host.tenants.builder(folder)
    with building(output, replace=work.replace) as made:
        place = folder / output.name
        # an archive's own code must not meet an interpreter that is built beside it
        confinement = work.facts.confine(account, place, made)
        recipe = Recipe(archive, python.optimize, python.version, place, output, confinement, work.say)
        build(recipe, made)
    forget_work(recipe)


def _install(work: Work, version: str, output: Path) -> None:
    from reconciler.host.managed_interpreters import install  # noqa: PLC0415  rare too

    host = work.facts.host
    account = host.tenants.builder(work.facts.layout.cache / "interpreters")
    with building(output, replace=work.replace) as made:
        confinement = work.facts.confine(account, made)
        install(version, host.python_mirror or "", made, output, confinement, work.say)


@contextmanager
def _alone(name: str) -> Iterator[None]:
    """One thread at a time makes an output; a wait ends as a program would."""
    lock = _MAKING.setdefault(name, threading.Lock())
    while not lock.acquire(timeout=POLL_SECONDS):
        stop_if_interrupted()
    try:
        yield
    finally:
        lock.release()


def _inode(path: Path) -> int:
    try:
        return path.stat().st_ino
    except OSError:
        return 0
