"""Proves that `forget` removes what an app left, keeps shared files unless asked, and refuses what is in use."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

from command_line import RUN_SECONDS, Ended, environment, reconciler
from reconciler.cli.wiring import Installation
from reconciler.engine.forgetting import logs_of
from reconciler.host.journal import Journal
from reconciler.host.layout import Layout
from reconciler.host.locking import state_lock
from reconciler.model.plan import Outcome
from world import World, of


@pytest.fixture
def left(world: World) -> World:
    """A host that served blog and shop; the manifest of blog is gone."""
    world.add_app("blog", "hello", shared=["data"])
    world.add_app("shop", "shop")
    world.once()
    (world.root / "shared" / "blog" / "data" / "photo").write_text("photo")
    world.commit({"manifests/blog.yaml": None})
    assert of(world.once(), "blog").outcome is Outcome.CHANGED
    return world


def forget(world: World, *arguments: str) -> Ended:
    return reconciler("-c", str(world.agent_file), "forget", *arguments)


def rows(world: World, app: str) -> int:
    """How much the journal has of an app."""
    with Journal.read(world.root / "journal.sqlite3") as journal:
        return len(journal.releases(app)) + len(journal.events(app)) + (app in journal.apps())


def photo(world: World) -> Path:
    return world.root / "shared" / "blog" / "data" / "photo"


def test_what_an_app_left_goes_and_its_shared_files_stay(left: World) -> None:
    assert logs_of(Layout(left.root), "blog")
    before = rows(left, "shop")
    ended = forget(left, "blog")
    assert ended.status == 0, ended.err
    assert ended.out.splitlines()[0].startswith("Forgot blog: 1 attempt, 3 logs")
    assert f"Left its shared files in {left.root}/shared/blog; `reconciler forget --shared blog`" in ended.out
    assert rows(left, "blog") == 0
    assert logs_of(Layout(left.root), "blog") == []
    assert photo(left).read_text() == "photo"
    # nothing of anybody else
    assert rows(left, "shop") == before
    assert left.text("shop.example.com") == "shop"
    assert of(left.once(), "shop").outcome is Outcome.UNCHANGED

    ended = forget(left, "blog", "--shared", "--yes")
    assert (ended.status, ended.out) == (0, "Forgot blog.\n")
    assert not (left.root / "shared" / "blog").exists()

    ended = forget(left, "blog")
    assert ended.status == 2
    assert "error: this host knows no app 'blog'\nhint: the apps are: shop" in ended.err


def test_shared_files_go_only_after_a_yes(left: World) -> None:
    ended = forget(left, "--shared", "blog")
    assert ended.status == 2
    assert "nobody is at a terminal to agree" in ended.err
    assert photo(left).exists()
    for answer, status in (("n", 1), ("", 1), ("y", 0)):
        assert at_terminal(left, answer) == status
        assert photo(left).exists() == (status != 0)
        assert (rows(left, "blog") > 0) == (status != 0)


def test_a_question_that_nobody_answers_keeps_nobody_from_working(left: World) -> None:
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "reconciler.cli.main", "-c", str(left.agent_file), "forget", "--shared", "blog"]
    try:
        with subprocess.Popen(command, env=environment(), stdin=theirs, stderr=subprocess.PIPE) as asking:
            assert asking.stderr is not None
            assert asking.stderr.read(6) == b"Remove"
            assert not left.once().failed
            os.write(ours, b"n\n")
            assert asking.wait(RUN_SECONDS) == 1
    finally:
        os.close(ours)
        os.close(theirs)
    assert photo(left).exists()


def at_terminal(world: World, answer: str) -> int:
    """The exit status of `forget --shared blog` after a person at a terminal answered so."""
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "reconciler.cli.main", "-c", str(world.agent_file), "forget", "--shared", "blog"]
    try:
        os.write(ours, f"{answer}\n".encode())
        return subprocess.run(
            command, env=environment(), stdin=theirs, capture_output=True, timeout=RUN_SECONDS, check=False
        ).returncode
    finally:
        os.close(ours)
        os.close(theirs)


def test_an_app_that_serves_is_refused(left: World) -> None:
    ended = forget(left, "shop", "--shared", "--yes")
    assert ended.status == 2
    assert "error: shop still serves on this host\nhint: remove its manifest" in ended.err
    left.commit({"manifests/shop.yaml": None})
    assert "shop still serves" in forget(left, "shop").err
    assert left.text("shop.example.com") == "shop"


def test_an_app_that_a_manifest_asks_for_again_is_refused(left: World) -> None:
    left.add_app("blog", "again")
    ended = forget(left, "blog", "--shared", "--yes")
    assert ended.status == 2
    assert "error: a manifest still asks for blog on this host\nhint: remove the manifest" in ended.err
    assert photo(left).exists()


def test_a_manifest_that_may_be_its_own_is_refused(left: World) -> None:
    left.commit({"manifests/other.yaml": "a: [\n"})
    ended = forget(left, "blog")
    assert ended.status == 2
    assert "error: manifests/other.yaml cannot be read, and may describe blog" in ended.err
    assert rows(left, "blog") > 0


def test_another_reconciler_at_work_is_respected(left: World) -> None:
    with state_lock(Installation.load(left.agent_file).layout):
        ended = forget(left, "blog")
    assert ended.status == 1
    assert f"another reconciler (process {os.getpid()}, since 2" in ended.err
    assert rows(left, "blog") > 0


@pytest.mark.parametrize("name", ["../shop", "..", "/etc", "Blog", "."])
def test_what_is_no_name_of_an_app_leads_nowhere(left: World, name: str) -> None:
    ended = forget(left, "--shared", "--yes", name)
    assert ended.status == 2
    assert "this host knows no app" in ended.err
    assert photo(left).exists()


def test_logs_of_the_servers_and_of_other_apps_are_not_an_app_s(tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    layout.logs.mkdir()
    names = [
        "nginx.error.log", "nginx.error.log.1", "nginx.log", "emperor.log", "emperor.log.1", "host.packages.log",
        "a.log", "a.log.1", "a.log-20260101.gz", "a.access.log", "a.hooks.log", "a-b.log", "ab.log",
    ]  # fmt: skip
    for name in names:
        (layout.logs / name).touch()
    assert [log.name for log in logs_of(layout, "a")] == [
        "a.access.log", "a.hooks.log", "a.log", "a.log-20260101.gz", "a.log.1",
    ]  # fmt: skip
    assert [log.name for log in logs_of(layout, "nginx")] == ["nginx.log"]
    assert logs_of(layout, "emperor") == logs_of(layout, "host") == []
