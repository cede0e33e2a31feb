"""Proves that no repository, whatever it holds, is read, written or run outside of its place: see the tables."""

from __future__ import annotations

import json
import os
import re
import resource
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from breaking import SENTENCE_CHARACTERS, show
from command_line import reconciler
from forge import Forge
from hostile_sources import FILES_LIMIT, SIZE_LIMIT, SOURCES, Case, Scene
from reconciler.engine.results import AppResult, PassResult
from reconciler.model.plan import Outcome
from world import World, new_world, of, wsgi_app

WITNESS = "witness-7d1e0c: nobody may read this"
"""What stands in every file outside."""
MANY = 100_000
"""Files of one app, each with a content of its own."""
MANY_MEBIBYTES = 400
"""The most memory that one process may take for them."""
SHARES = 3
"""The table is cut into parts that run side by side; each has a host of its own."""

TRAP = """#!/bin/sh
echo "$0 $*" >> {sprung}
"""
PACKAGE = """from pathlib import Path
Path({sprung!r}).write_text("a package outside was built")
from setuptools import setup
setup(name="evil", version="1", py_modules=[])
"""


def snapshot(folder: Path) -> Snapshot:
    """Every file below a folder, with what shows that somebody wrote it."""
    found = []
    for path in sorted(folder.rglob("*")):
        status = path.lstat()
        content = path.read_bytes() if path.is_file() else b""
        found.append((str(path.relative_to(folder)), status.st_mode, status.st_mtime_ns, content))
    return found


@contextmanager
def host(monkeypatch: pytest.MonkeyPatch, **configuration: str) -> Iterator[tuple[World, Scene]]:
    """A host with a folder that nobody may touch, and programs on its PATH that nobody may run; looked at last."""
    with new_world() as world:
        outside, traps = world.home / "outside", world.home / "traps"
        sprung = world.home / "sprung"
        for folder in (outside, traps):
            folder.mkdir()
        for name in ("trap", "git-remote-ext", "git-remote-fd", "git-trap", "git-lfs-trap"):
            (traps / name).write_text(TRAP.format(sprung=sprung))
            (traps / name).chmod(0o755)
        for name in ("secret.txt", "requirements.txt", "gitmodules"):
            (outside / name).write_text(f"# {WITNESS}\n")
        (outside / "package").mkdir()
        (outside / "package" / "setup.py").write_text(f"# {WITNESS}\n{PACKAGE.format(sprung=str(sprung))}")
        monkeypatch.setenv("PATH", f"{traps}:{os.environ['PATH']}")
        before = snapshot(outside)
        world.configure(**configuration)
        scene = Scene(outside, traps / "trap")
        yield world, scene
        assert list(witnessed(world, scene, before)) == []


Snapshot = list[tuple[str, int, int, bytes]]


def witnessed(world: World, scene: Scene, before: Snapshot) -> Iterator[str]:
    """What shows that something outside was run, written or read."""
    sprung = world.home / "sprung"
    if sprung.exists():
        yield f"it ran {sprung.read_text()}"
    if (after := snapshot(scene.outside)) != before:
        yield f"it wrote {[entry[0] for entry in after if entry not in before]}"
    yield from (f"it read into {copy}" for copy in copies(world))


def copies(world: World) -> list[str]:
    """The files of the host's state that have what stands outside."""
    found = []
    for folder, folders, names in os.walk(world.root):
        folders[:] = [name for name in folders if name not in ("uv", "environment")]
        for name in names:
            path = Path(folder, name)
            if path.is_file() and not path.is_symlink() and WITNESS.encode() in path.read_bytes():
                found.append(str(path))
    return found


def manifest(name: str, repository: Path, spec: dict[str, Any]) -> str:
    """The manifest of an app in a repository of its own."""
    values = {
        "source": {"repository": str(repository), **spec.pop("source", {})},
        "uwsgi": {"module": "wsgi:app", "processes": 1, "threads": 1},
        "nginx": {"serverNames": [f"{name}.example.com"]},
        **spec,
    }
    document = {"apiVersion": "reconciler/v1", "kind": "App", "metadata": {"name": name}, "spec": values}
    return yaml.safe_dump(document, sort_keys=False)


def forge_source(world: World, scene: Scene, name: str, case: Case) -> str:
    """Make the repository of a case; returns its app's manifest."""
    forge = Forge(world.home / "r" / f"{name}.git")
    made = case.holds(forge, scene)
    forge.commit(made if isinstance(made, str) else forge.tree(made))
    return manifest(name, forge.folder, dict(case.spec(scene)))


def complaints(world: World, result: PassResult, name: str, refused: str | None) -> Iterator[str]:
    """What is not as the table has it."""
    app = of(result, name)
    if refused is None:
        if app.outcome is not Outcome.CHANGED:
            yield f"{app.outcome.value}: {app.error or app.note}"
        elif (page := world.text(f"{name}.example.com")) != "harmless":
            yield f"it answers {page[:80]!r}"
        return
    if app.outcome is not Outcome.FAILED or app.error is None:
        yield f"{app.outcome.value}, and not refused"
        return
    yield from badly_said(app, refused)
    if (world.root / "public" / name).is_symlink():
        yield "it is public"


def badly_said(app: AppResult, refused: str) -> Iterator[str]:
    """What is wrong with the sentence of a refusal: one line that names object and cause, and a hint."""
    text = str(app.error)
    if not re.search(refused, text):
        yield f"other words: {text}"
    if not text.isprintable() or len(text) > SENTENCE_CHARACTERS or "Traceback" in text or ".tmp-" in text:
        yield f"no sentence: {text!r}"
    if app.error is not None and not app.error.hint:
        yield f"no hint: {text}"


@pytest.mark.parametrize("share", range(SHARES))
def test_every_hostile_source_is_refused_or_harmless(share: int, monkeypatch: pytest.MonkeyPatch) -> None:
    cases = dict(list(SOURCES.items())[share::SHARES])
    limits = f"{{checkoutFiles: {FILES_LIMIT}, checkoutSize: {SIZE_LIMIT}}}"
    with host(monkeypatch, limits=limits) as (world, scene):
        committed = {f"manifests/{name}.yaml": forge_source(world, scene, name, case) for name, case in cases.items()}
        world.commit(committed)
        world.add_app("bystander", "untouched")
        result = world.once()
        show(result)
        wrong = [
            f"{name}: {told}"
            for name, case in cases.items()
            for told in complaints(world, result, name, case.refused)
        ]
        assert not wrong, "\n".join(wrong)
        assert world.text("bystander.example.com") == "untouched"
        assert of(world.once(), "bystander").outcome is Outcome.UNCHANGED


def test_the_table_is_long_enough() -> None:
    assert len(SOURCES) >= 60


def many_files(repository: Path) -> None:
    """A bare repository whose one commit has very many files, each with a content of its own."""
    subprocess.run(["git", "init", "--quiet", "--bare", "--initial-branch=main", repository], check=True)
    lines = ["commit refs/heads/main", "committer Test <test@example.com> 1700000000 +0000", "data 4", "Many"]
    for name, content in [("wsgi.py", wsgi_app("many")), *((f"d{n // 300}/f{n}", f"{n}\n") for n in range(MANY))]:
        lines += [f"M 100644 inline {name}", f"data {len(content)}", content]
    subprocess.run(["git", "-C", repository, "fast-import", "--quiet"], input="\n".join(lines).encode(), check=True)


@pytest.mark.serial
def test_a_hundred_thousand_files_are_deployed_within_the_limit(record_property: pytest.RecordProperty) -> None:
    """What is refused above is the limit's doing: below it they cost time, and no memory to speak of."""
    with new_world() as world:
        many_files(world.home / "many.git")
        world.commit({"manifests/many.yaml": manifest("many", world.home / "many.git", {})})
        seconds = []
        for outcome in ("changed", "unchanged"):
            began = time.monotonic()
            done = reconciler("-c", str(world.agent_file), "once", "--json")
            seconds.append(time.monotonic() - began)
            assert [app["outcome"] for app in json.loads(done.out)["apps"]] == [outcome], done
        assert world.text("many.example.com") == "many"
        memory = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss // 1024
    record_property(
        "campaign",
        f"{MANY:,} files of one app: deployed in {seconds[0]:.1f} s, looked over in {seconds[1]:.1f} s, "
        f"{memory} MiB in the largest process",
    )
    assert memory < MANY_MEBIBYTES
