"""Proves that on a disk that fills up at any stage, or turns read-only, the old release serves, the error names the
disk and what is missing, and that with room again the next pass converges by itself.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import pytest

import canary
from breaking import show, well_said
from command_line import reconciler
from file_systems import MEBIBYTE, Ext4, fill, make_room, mounts_of_our_own, read_only, small, take_inodes
from reconciler.cli.wiring import Installation
from reconciler.engine.progress import Silence
from reconciler.engine.results import PassResult
from reconciler.host.locking import state_lock
from reconciler.model.errors import JournalError, ReconcilerError
from reconciler.model.plan import Change, Outcome
from reconciler.model.stage import StageName
from test_agent import running, wait_for
from world import World, manifest, new_world, of, wsgi_app

ROOT_MEBIBYTES = 128
ROOT_INODES = 8_000
CSS = ".blog { color: #00ff00 }\n"
AGENT_SECONDS = 60.0


class At(Silence):
    """Does something at the moment when a stage of the blog begins."""

    def __init__(self, stage: StageName, action: Callable[[], None]) -> None:
        self._stage, self._action = stage, action

    def stage_started(self, app: str, change: Change) -> None:
        if (app, change.stage) == ("blog", self._stage):
            self._action()


@dataclass
class Disk:
    """A host whose state folder is a small file system, with one app."""

    world: World
    number: int = 0
    spec: dict[str, object] = field(default_factory=dict)
    files: dict[str, str] = field(default_factory=dict)

    @property
    def root(self) -> Path:
        return self.world.root

    def change(self, spec: Mapping[str, object] | None = None, files: Mapping[str, str] | None = None) -> str:
        """Commit another page, and whatever else a stage is to have work with; returns the page."""
        self.number += 1
        self.spec |= spec or {}
        self.files |= files or {}
        page = f"page {self.number}"
        own = {f"apps/blog/{name}": text for name, text in self.files.items()}
        more: dict[str, object] = {"static": [{"source": "static", "url": "/static/"}], "secrets": canary.REFERENCES}
        self.world.commit(
            {
                "apps/blog/wsgi.py": wsgi_app(page),
                "apps/blog/static/site.css": CSS,
                "manifests/blog.yaml": manifest("blog", retain=1, **more, **self.spec),
                **own,
                **canary.provide(self.world.home),
            }
        )
        return page

    def once(self, progress: Silence | None = None) -> PassResult:
        installation = Installation.load(self.world.agent_file)
        installation.layout.create()
        with state_lock(installation.layout), installation.engine(progress) as engine:
            result = engine.reconcile("test")
        show(result)
        return result

    def page(self) -> str:
        return self.world.text("blog.example.com")

    def stylesheet(self) -> int:
        return self.world.get("/static/site.css", "blog.example.com").status_code

    def half_made(self) -> list[str]:
        return [str(path.relative_to(self.root)) for path in self.root.rglob(".tmp-*")]

    def serves(self, page: str) -> None:
        assert (self.page(), self.stylesheet(), self.half_made()) == (page, 200, [])

    def converges(self, page: str) -> None:
        """With room again, by one pass, and then there is nothing left to do."""
        make_room(self.root)
        result = self.once()
        assert not result.failed
        self.serves(page)
        assert of(self.once(), "blog").outcome is Outcome.UNCHANGED


@pytest.fixture(scope="module")
def own_disk() -> Iterator[Disk]:
    mounts_of_our_own()
    with new_world() as world, small(world.root, mebibytes=ROOT_MEBIBYTES, inodes=ROOT_INODES):
        disk = Disk(world)
        page = disk.change()
        assert not disk.once().failed
        disk.serves(page)
        yield disk
        world.end()
        canary.search(world.root)


@pytest.fixture
def disk(own_disk: Disk) -> Iterator[Disk]:
    yield own_disk
    make_room(own_disk.root)


def say(error: ReconcilerError | None, disk: Disk, *patterns: str) -> None:
    assert error is not None
    well_said(error)
    text = f"{error} {error.hint}"
    assert f"the file system {disk.root} " in text, text
    for pattern in patterns:
        assert re.search(pattern, text), text


FULL = r"is full: .* are free"
MISSING = r"and about [\d.]+ (KiB|MiB) more are needed \((the checkout|the one before|what it writes) takes "
STAGES: dict[StageName, tuple[Mapping[str, object], Mapping[str, str], int]] = {
    StageName.SOURCE: ({}, {"big.txt": "x" * 2 * MEBIBYTE}, MEBIBYTE),
    StageName.BUILD: ({"build": {"commands": ["head -c 3000000 /dev/zero > made"]}}, {"big.txt": "y"}, 4 * MEBIBYTE),
    StageName.STATIC: ({}, {"static/big.css": "".join(f".c{n} {{ top: {n}px }}\n" for n in range(99_999))}, MEBIBYTE),
    StageName.NGINX: ({"nginx": {"clientMaxBodySize": "7m"}}, {}, 0),
    StageName.VASSAL: ({"env": {"COLOUR": ""}}, {}, 0),
}
"""What a commit changes so that a stage has work, and how many bytes that stage finds free."""


@pytest.mark.parametrize("stage", list(STAGES))
def test_a_disk_that_is_full_when_a_stage_begins(disk: Disk, stage: StageName) -> None:
    before = disk.page()
    spec, files, left = STAGES[stage]
    page = disk.change(spec, files)
    result = disk.once(At(stage, lambda: fill(disk.root, left=left)))
    failed = of(result, "blog")
    assert failed.outcome is Outcome.FAILED
    # before the first build there is no output of the kind to tell how much it takes
    say(failed.error, disk, f"the {stage} stage could not write: ", FULL, MISSING, "du -xhd1")
    disk.serves(before)
    disk.converges(page)


@pytest.mark.parametrize("stage", [StageName.SOURCE, StageName.VASSAL])
def test_a_disk_that_takes_no_more_files(disk: Disk, stage: StageName) -> None:
    before = disk.page()
    page = disk.change(files={f"many/{number}": "" for number in range(40)})
    result = disk.once(At(stage, lambda: take_inodes(disk.root, left=20 if stage is StageName.SOURCE else 2)))
    failed = of(result, "blog")
    assert failed.outcome is Outcome.FAILED
    say(failed.error, disk, r"takes no more files: \d+ of its [\d,]+ inodes are free, although", r"du --inodes")
    if stage is StageName.SOURCE:
        say(failed.error, disk, r"about \d+ more inodes are needed \(the checkout has \d+ files\)")
    disk.serves(before)
    disk.converges(page)


def test_a_disk_on_which_no_commit_can_be_fetched(disk: Disk) -> None:
    before = disk.page()
    page = disk.change(files={"incompressible": "".join(f"{n * 7919 % 1_000_003:x}" for n in range(400_000))})
    with disk.world.engine() as engine:
        fill(disk.root)
        result = engine.reconcile("test")
    show(result)
    assert result.apps == ()
    say(result.error, disk, r"/c cannot be fetched: the file system", FULL)
    disk.serves(before)
    assert not list((disk.root / "mirrors").rglob("tmp_*"))
    disk.converges(page)


def test_a_disk_on_which_the_journal_cannot_be_written(disk: Disk) -> None:
    """Nothing begins that could not be recorded."""
    before = disk.page()
    page = disk.change()
    # the commit is fetched before the disk is full
    assert disk.world.plan().apps[0].outcome is Outcome.CHANGED
    fill(disk.root)
    with pytest.raises(JournalError) as caught:
        disk.once()
    say(caught.value, disk, r"the journal .* cannot be (opened|written): ", FULL)
    disk.serves(before)
    disk.converges(page)


def test_a_disk_that_fills_up_between_the_switch_and_its_record(disk: Disk) -> None:
    """It has been proven, and serves; the next pass proves it again, which nobody notices, and records it."""
    page = disk.change({"hooks": {"afterSwitch": [f"dd if=/dev/zero of={disk.root}/filling bs=4k; true"]}})
    try:
        result = disk.once()
    finally:
        disk.spec.pop("hooks")
    failed = of(result, "blog")
    assert failed.outcome is Outcome.FAILED
    say(failed.error, disk, r"the journal .* cannot be written: ", FULL)
    assert disk.page() in (page, f"page {disk.number - 1}")
    make_room(disk.root)
    disk.converges(disk.change())


def test_sites_serve_while_no_log_can_be_written(disk: Disk) -> None:
    fill(disk.root)
    for _ in range(5):
        assert disk.page().startswith("page ")
    ended = reconciler("-c", str(disk.world.agent_file), "status")
    assert ended.status == 0, ended


def test_a_cache_of_packages_on_a_full_disk_of_its_own(disk: Disk, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = disk.world.home / "uv"
    before = disk.page()
    with small(cache, mebibytes=2):
        monkeypatch.setenv("UV_CACHE_DIR", str(cache))
        page = disk.change({"build": {"commands": ["true", f": {disk.number}"]}})
        failed = of(disk.once(), "blog")
        assert failed.outcome is Outcome.FAILED
        assert failed.error is not None
        assert f"the build stage could not write: the file system {cache} is full" in str(failed.error)
        disk.serves(before)
        monkeypatch.undo()
        disk.converges(page)


def test_a_running_agent_tells_of_a_full_disk_and_goes_on_by_itself_when_there_is_room(disk: Disk) -> None:
    before = disk.page()
    with running(disk.world) as agent:
        wait_for("the first pass", lambda: agent.told("nothing_to_do"))
        fill(disk.root, left=2 * MEBIBYTE)
        page = disk.change(files={"big.txt": "z" * 4 * MEBIBYTE})
        wait_for("an error", lambda: agent.told("app_failed") or agent.told("pass_failed"))
        (*_, line) = [*agent.told("app_failed"), *agent.told("pass_failed")]
        assert f"the file system {disk.root} is full" in line["error"]
        assert line["hint"]
        fill(disk.root)
        assert disk.page() == before
        make_room(disk.root)
        wait_for("the new page", lambda: disk.page() == page, AGENT_SECONDS)
        assert agent.process.poll() is None
    disk.serves(page)


def test_a_disk_that_turns_read_only_is_told_and_everything_that_reads_goes_on(disk: Disk) -> None:
    before = disk.page()
    file = str(disk.world.agent_file)
    with read_only(disk.root):
        once = reconciler("-c", file, "once")
        assert once.status == 1
        assert f"the file system {disk.root} is read-only" in once.err
        assert "remount,rw" in once.err
        status = reconciler("-c", file, "status", "--json")
        assert status.status == 0
        assert json.loads(status.out)["apps"][0]["ready"]
        for command in ("history blog", "explain blog", "drift", "plan"):
            ended = reconciler("-c", file, *command.split())
            assert ended.status == 0, ended
        page = disk.change()
        plan = reconciler("-c", file, "plan")
        assert plan.status == 1
        assert f"the file system {disk.root} is read-only" in plan.err + plan.out
        assert disk.page() == before
    disk.converges(page)


def test_a_running_agent_lives_through_a_disk_that_is_read_only_for_a_while(disk: Disk) -> None:
    before = disk.page()
    with running(disk.world) as agent, ExitStack() as stack:
        wait_for("the first pass", lambda: agent.told("nothing_to_do"))
        stack.enter_context(read_only(disk.root))
        page = disk.change()
        wait_for("an error", lambda: agent.told("app_failed") or agent.told("pass_failed"))
        (line, *_) = [*agent.told("app_failed"), *agent.told("pass_failed")]
        assert f"the file system {disk.root} is read-only" in line["error"]
        assert disk.page() == before
        stack.close()
        wait_for("the new page", lambda: disk.page() == page, AGENT_SECONDS)
        assert not agent.told("unexpected_error")
    disk.serves(page)


def test_a_real_disk_is_full_and_then_has_an_error() -> None:
    """What the kernel makes read-only after an error stays so until it was checked, which takes a new start."""
    mounts_of_our_own()
    with new_world() as world:
        ext4 = Ext4(world.home / "image", world.root)
        ext4.make(ROOT_MEBIBYTES)
        disk = Disk(world)
        first = disk.change()
        assert not disk.once().failed
        full = disk.change(files={"big.txt": "x" * 2 * MEBIBYTE})
        failed = of(disk.once(At(StageName.SOURCE, lambda: fill(disk.root, left=MEBIBYTE))), "blog")
        say(failed.error, disk, "the source stage could not write: ", FULL, MISSING)
        disk.serves(first)
        disk.converges(full)

        ext4.fail()
        last = disk.change()
        once = reconciler("-c", str(world.agent_file), "once")
        assert once.status == 1, once
        assert f"the file system {disk.root} is read-only" in once.err, once
        assert "fsck" in once.err
        for command in ("status", "history blog", "drift"):
            assert reconciler("-c", str(world.agent_file), *command.split()).status == 0, command
        disk.serves(full)
        world.end()
        ext4.take_away()
        ext4.check()
        ext4.mount()
        disk.converges(last)
        world.end()
        canary.search(world.root)
        ext4.take_away()
