"""The build stage: a virtual environment with the app's requirements, and what its build commands made."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path

from reconciler.host.app_commands import app_environment, run_app_command
from reconciler.host.files import building, remove_tree
from reconciler.host.interpreters import HostInterpreter, identity
from reconciler.host.ownership import drop_special, give, protect, seize
from reconciler.host.package_cache import drop_damaged
from reconciler.host.processes import Account
from reconciler.host.shared import drop_shared_links, place_shared_links
from reconciler.host.stored_interpreters import check_version, stored_interpreter
from reconciler.model.errors import StageFailed
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
        python = _python(facts)
        reads_source = bool(build.commands) or requirements.needs_source
        upstream = {StageName.SOURCE: facts.upstream[StageName.SOURCE]} if reads_source else {}
        if (made := facts.upstream.get(StageName.INTERPRETER)) is not None:
            upstream[StageName.INTERPRETER] = made
        return Inputs(
            self.name,
            {
                # an environment is built with the rights of the account that runs it, and nobody else may trust it
                "user": facts.account,
                "uwsgi": facts.uwsgi,
                "build.python": f"{python['implementation']} {python['version']}".strip(),
                "build.requirements": requirements.kind.value,
                **{f"build.requirements.{path}": _sha256(text) for path, text in requirements.files.items()},
                "build.systemPackages": " ".join(sorted(set(build.system_packages))),
                "build.commands": json.dumps(build.commands) if build.commands else "",
                "env": json.dumps(dict(facts.manifest.spec.env), sort_keys=True) if build.commands else "",
            },
            upstream,
            tools={"python": python["patch"], "uwsgi": PYUWSGI_REQUIREMENT if not facts.uwsgi else facts.uwsgi},
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
        account = facts.settle()
        cache = _cache(facts, account)
        # files of the environment are hard links into the cache: what was written to one is in the other too
        drop_damaged(cache, work.damaged)
        with building(facts.layout.output(self.name, work.desired.digest), replace=work.replace) as folder:
            protect(folder, account)
            home = folder / "home"
            home.mkdir()
            build_environment(
                folder / ENVIRONMENT,
                interpreter=_interpreter(facts),
                closure=_closure(facts),
                source=source,
                uwsgi=None if facts.uwsgi else PYUWSGI_REQUIREMENT,
                cache=cache,
                timeout=BUILD_SECONDS,
                on_line=work.say,
                env=uv_environment(os.environ, cache, home),
                confinement=facts.confine(account, folder, cache),
            )
            if facts.manifest.spec.build.commands:
                _run_commands(work, source, folder, home, account)
            seize(folder / ENVIRONMENT, account)
            remove_tree(home)


def _cache(facts: Facts, account: Account | None) -> Path:
    """uv's cache. An account trusts what it built itself only; else an operator may keep one for several agents."""
    if account is None:
        return Path(os.environ.get("UV_CACHE_DIR") or facts.layout.cache / "uv")
    cache = facts.layout.cache / "uv" / account.name
    cache.parent.mkdir(mode=0o711, parents=True, exist_ok=True)
    if not cache.exists():
        cache.mkdir(mode=0o700)
        give(cache, account)
    return cache


def _run_commands(work: Work, source: Path, folder: Path, home: Path, account: Account | None) -> None:
    spec = work.facts.manifest.spec
    tree = folder / TREE
    shutil.copytree(source, tree, symlinks=True)
    drop_shared_links(tree, spec.shared)
    give(tree, account)
    env = app_environment(spec.env, folder / ENVIRONMENT, os.environ, home)
    for command in spec.build.commands:
        work.say(f"$ {command}")
        run_app_command(
            command,
            kind="build command",
            folder=tree,
            env=env,
            say=work.say,
            confinement=work.facts.confine(account, folder),
        )
    seize(tree, account)
    drop_special(tree)
    place_shared_links(tree, spec.shared, work.facts.layout.shared(work.facts.app), account)


def _python(facts: Facts) -> Mapping[str, str]:
    """What the interpreter adds to the inputs; one in the store has its own digest, and may not be there yet."""
    if StageName.INTERPRETER not in facts.upstream:
        return identity(_interpreter(facts))
    python = facts.manifest.spec.build.python
    version = python.version if isinstance(python, Interpreter) else python
    return {"implementation": "cpython", "version": version or "", "patch": ""}


def _interpreter(facts: Facts) -> HostInterpreter:
    python = facts.manifest.spec.build.python
    wanted = python.version if isinstance(python, Interpreter) else python
    if (made := facts.upstream.get(StageName.INTERPRETER)) is not None:
        stored = stored_interpreter(facts.layout.output(StageName.INTERPRETER, made))
        if isinstance(python, Interpreter) and python.source is not None:
            # the output is the archive's, whatever each app says that it is
            check_version(stored, wanted)
        return stored
    if facts.host.distribution_uwsgi is None:
        return facts.host.interpreters.find(wanted)
    # its plugin brings one version of Python, in which packages of any other would not load
    only = facts.host.distribution_uwsgi().python
    found = facts.host.interpreters.find(wanted or only)
    if found.minor != only:
        raise StageFailed(
            f"{facts.app} asks for Python {found.minor}, and the distribution's uWSGI has {only}",
            hint=f"set build.python to {only}, or `uwsgi: environment` in agent.yaml to have several versions",
        )
    return found


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _closure(facts: Facts) -> Closure:
    return closure(facts.manifest.spec.build.requirements, facts.source.read)
