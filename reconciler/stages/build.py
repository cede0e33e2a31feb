"""The build stage: a virtual environment with the app's requirements, and what its build commands made."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from pathlib import Path

from reconciler.host.app_commands import app_environment, run_app_command
from reconciler.host.files import building
from reconciler.host.interpreters import HostInterpreter, identity
from reconciler.host.shared import drop_shared_links, place_shared_links
from reconciler.model.manifest import Interpreter
from reconciler.model.requirements import Closure, closure
from reconciler.model.stage import Inputs, StageName
from reconciler.stages.app_folder import ENVIRONMENT, TREE
from reconciler.stages.stage import Facts, Work
from reconciler.stages.stored import StoredStage

BUILD_SECONDS = 1_800.0
"""The longest that one run of uv may take."""


class BuildStage(StoredStage):
    """Inputs: the interpreter, the requirement files' contents, the build commands; the source where they read it."""

    name = StageName.BUILD

    def inputs(self, facts: Facts) -> Inputs:
        """Name the inputs."""
        from reconciler.host.environments import PYUWSGI_REQUIREMENT  # noqa: PLC0415  a settled pass builds nothing

        build = facts.manifest.spec.build
        requirements = _closure(facts)
        interpreter = _interpreter(facts)
        python = identity(interpreter)
        reads_source = bool(build.commands) or requirements.needs_source
        upstream = {StageName.SOURCE: facts.upstream[StageName.SOURCE]} if reads_source else {}
        return Inputs(
            self.name,
            {
                "build.python": f"{python['implementation']} {python['version']}",
                "build.requirements": requirements.kind.value,
                **{f"build.requirements.{path}": _sha256(text) for path, text in requirements.files.items()},
                "build.commands": json.dumps(build.commands) if build.commands else "",
                "env": json.dumps(dict(facts.manifest.spec.env), sort_keys=True) if build.commands else "",
            },
            upstream,
            tools={"python": python["patch"], "uwsgi": PYUWSGI_REQUIREMENT},
        )

    def apply(self, work: Work) -> None:
        """Make the environment, then run the build commands in a copy of the source."""
        from reconciler.host.environments import (  # noqa: PLC0415  a settled pass builds nothing
            PYUWSGI_REQUIREMENT,
            build_environment,
            uv_environment,
        )

        facts = work.facts
        source = facts.layout.output(StageName.SOURCE, facts.upstream[StageName.SOURCE])
        # an operator may keep one cache for several agents
        cache = Path(os.environ.get("UV_CACHE_DIR") or facts.layout.cache / "uv")
        with building(facts.layout.output(self.name, work.desired.digest)) as folder:
            home = folder / "home"
            home.mkdir()
            build_environment(
                folder / ENVIRONMENT,
                interpreter=_interpreter(facts),
                closure=_closure(facts),
                source=source,
                uwsgi=PYUWSGI_REQUIREMENT,
                cache=cache,
                timeout=BUILD_SECONDS,
                on_line=work.say,
                env=uv_environment(os.environ, cache, home),
            )
            if facts.manifest.spec.build.commands:
                _run_commands(work, source, folder, home)
            shutil.rmtree(home)


def _run_commands(work: Work, source: Path, folder: Path, home: Path) -> None:
    spec = work.facts.manifest.spec
    tree = folder / TREE
    shutil.copytree(source, tree, symlinks=True)
    drop_shared_links(tree, spec.shared)
    env = app_environment(spec.env, folder / ENVIRONMENT, os.environ, home)
    for command in spec.build.commands:
        work.say(f"$ {command}")
        run_app_command(command, kind="build command", folder=tree, env=env, say=work.say)
    place_shared_links(tree, spec.shared, work.facts.layout.shared(work.facts.app))


def _interpreter(facts: Facts) -> HostInterpreter:
    python = facts.manifest.spec.build.python
    return facts.host.interpreters.find(python.version if isinstance(python, Interpreter) else python)


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _closure(facts: Facts) -> Closure:
    return closure(facts.manifest.spec.build.requirements, facts.source.read)
