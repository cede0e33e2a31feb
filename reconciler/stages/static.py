"""The static stage: files that nginx serves by itself, minified, bundled, fingerprinted and compressed."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from reconciler.host.app_commands import app_environment, run_app_command
from reconciler.host.files import building, remove_tree
from reconciler.host.ownership import give, protect, seize
from reconciler.host.shared import drop_shared_links
from reconciler.model.errors import StageFailed
from reconciler.model.manifest import StaticFolder
from reconciler.model.object_ids import short
from reconciler.model.stage import Inputs, StageName
from reconciler.stages.app_folder import app_folder, environment_folder
from reconciler.stages.stage import Facts, Work
from reconciler.stages.stored import StoredStage


class StaticStage(StoredStage):
    """Inputs: the git trees of the static folders and their settings; source and build where a command makes them."""

    name = StageName.STATIC

    def inputs(self, facts: Facts) -> Inputs:
        """Name the inputs."""
        from reconciler.host.assets import tool_versions  # noqa: PLC0415  a settled pass makes no files

        spec = facts.manifest.spec
        declared: dict[str, str] = {}
        tools: dict[str, str] = {}
        made_by_commands = bool(spec.build.commands) or any(folder.command for folder in spec.static)
        for number, folder in enumerate(spec.static):
            declared |= _settings(number, folder)
            tools |= tool_versions(folder)
            if not made_by_commands:
                declared[f"static[{number}].tree"] = _tree(facts, folder)
        if any(folder.command for folder in spec.static):
            declared["env"] = json.dumps(dict(spec.env), sort_keys=True) if spec.env else ""
        upstream: dict[StageName, str] = {}
        if spec.static and (made_by_commands or facts.source.submodules or spec.source.lfs):
            upstream[StageName.SOURCE] = facts.upstream[StageName.SOURCE]
        if made_by_commands and spec.static:
            upstream[StageName.BUILD] = facts.upstream[StageName.BUILD]
        return Inputs(self.name, declared, upstream, tools=tools)

    def apply(self, work: Work) -> None:
        """Run the commands in a copy of the app, then process every folder into the output."""
        from reconciler.host.assets import process  # noqa: PLC0415  a settled pass makes no files

        facts = work.facts
        folders = facts.manifest.spec.static
        account = facts.settle() if folders else None
        final = facts.layout.output(self.name, work.desired.digest)
        with building(final, replace=work.replace) as output, _tree_of(work) as tree:
            for number, folder in enumerate(folders):
                destination = output / str(number)
                destination.mkdir()
                confinement = facts.confine(account, destination)
                report = process(tree / folder.source, destination, folder, inside=tree, confinement=confinement)
                work.say(f"{folder.url}: {report.files} files, {report.bytes_in} -> {report.bytes_out} bytes")


@contextmanager
def _tree_of(work: Work) -> Iterator[Path]:
    """The app's folder to take static files from: the one in the store, or a copy in which commands have run."""
    facts = work.facts
    spec = facts.manifest.spec
    tree = app_folder(facts.layout, spec, facts.upstream)
    commands = [folder.command for folder in spec.static if folder.command]
    if not commands:
        yield tree
        return
    scratch = Path(tempfile.mkdtemp(prefix=".tmp-", dir=facts.layout.cache))
    try:
        account = facts.settle()
        protect(scratch, account)
        copy, home = scratch / "app", scratch / "home"
        home.mkdir()
        shutil.copytree(tree, copy, symlinks=True)
        drop_shared_links(copy, spec.shared)
        give(copy, account)
        give(home, account)
        env = app_environment(spec.env, environment_folder(facts.layout, facts.upstream), os.environ, home)
        try:
            for command in commands:
                work.say(f"$ {command}")
                confinement = facts.confine(account, Path(scratch))
                run_app_command(
                    command, kind="static command", folder=copy, env=env, say=work.say, confinement=confinement
                )
        finally:
            # before anything reads or removes it: a process that was left behind must not change what is read
            seize(copy, account)
            seize(home, account)
        yield copy
    finally:
        remove_tree(scratch)


def _settings(number: int, folder: StaticFolder) -> dict[str, str]:
    return {
        f"static[{number}].source": folder.source,
        f"static[{number}].command": folder.command or "",
        f"static[{number}].minify": str(folder.minify).lower(),
        f"static[{number}].bundles": json.dumps(folder.bundles, sort_keys=True) if folder.bundles else "",
        f"static[{number}].fingerprint": "true" if folder.fingerprint else "",
        f"static[{number}].precompress": " ".join(sorted(folder.precompress)),
    }


def _tree(facts: Facts, folder: StaticFolder) -> str:
    tree = facts.source.tree_of(folder.source)
    if tree is None and facts.source.read(folder.source) is not None:
        raise StageFailed(
            f"static folder {folder.source} is a file at {short(facts.source.commit)}",
            hint="name the folder that has the files in spec.static[].source",
        )
    if tree is None and not facts.source.submodules:
        raise StageFailed(
            f"static folder {folder.source} is not in the repository at {short(facts.source.commit)}",
            hint="add it, correct spec.static[].source, or give the command that makes it",
        )
    return tree or ""
