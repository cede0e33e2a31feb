"""Proves the bars of drift: a scan against `git status`, and how soon a change is told and put right."""

from __future__ import annotations

import os
import sqlite3
import statistics
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from reconciler.host.contents import Contents
from reconciler.host.layout import Layout
from reconciler.model.stage import StageName
from test_agent import NEVER, running, wait_for
from world import World

pytestmark = pytest.mark.serial

FOLDERS, FILES_EACH = 1_000, 100
MOST_TIMES_GIT = 2.0
RUNS = 7
DIGEST = "d" * 64
TOLD_SECONDS = 0.2
HEALED_SECONDS = 2.0
CHANGES = 3
QUIET = {"GIT_OPTIONAL_LOCKS": "0", "GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_SYSTEM": "/dev/null"}


def drift_events(world: World) -> int:
    """How many drift events the journal has."""
    connection = sqlite3.connect(f"{(world.root / 'journal.sqlite3').as_uri()}?mode=ro", uri=True)
    try:
        return int(connection.execute("SELECT count(*) FROM events WHERE kind = 'drift'").fetchone()[0])
    finally:
        connection.close()


def make_tree(root: Path) -> None:
    """A hundred thousand small files."""
    for number in range(FOLDERS):
        folder = root / f"package{number // 40:02}" / f"module{number % 40:02}"
        folder.mkdir(parents=True)
        place = os.open(folder, os.O_RDONLY)
        for name in range(FILES_EACH):
            file = os.open(f"file{name:03}.py", os.O_WRONLY | os.O_CREAT, 0o644, dir_fd=place)
            os.write(file, b"%d %d\n" % (number, name))
            os.close(file)
        os.close(place)


def git(root: Path, *arguments: str) -> None:
    # the repository lies beside the tree: what is scanned is the same
    command = ["git", f"--git-dir={root}.git", f"--work-tree={root}", "-c", "core.untrackedCache=false", *arguments]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, timeout=120, env=os.environ | QUIET)


def seconds_of(action: Callable[[], object]) -> float:
    began = time.perf_counter()
    action()
    return time.perf_counter() - began


def test_a_scan_of_a_hundred_thousand_files_takes_at_most_twice_as_long_as_git_status(tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    root = layout.output("source", DIGEST)
    make_tree(root)
    git(root, "init", "--quiet")
    git(root, "add", ".")
    Contents(layout).made(StageName.SOURCE, DIGEST)

    def scan() -> None:
        # a new process knows nothing: the index is read from its file
        contents = Contents(layout)
        contents.scan({(StageName.SOURCE, root.name): ""})
        assert contents.differences(StageName.SOURCE, DIGEST) == ()

    def status() -> None:
        git(root, "status", "--porcelain")

    scan()
    git(root, "update-index", "-q", "--refresh")
    pairs = [(seconds_of(status), seconds_of(scan)) for _ in range(RUNS)]
    by_git, by_us = (min(times) for times in zip(*pairs, strict=True))
    print(
        f"{FOLDERS * FILES_EACH} files, nothing changed: git status {by_git * 1000:.0f} ms, "
        f"scan {by_us * 1000:.0f} ms, {by_us / by_git:.2f} times (bar {MOST_TIMES_GIT:g})"
    )
    assert by_us <= MOST_TIMES_GIT * by_git

    changed = root / "package03" / "module07" / "file042.py"
    changed.write_bytes(changed.read_bytes()[::-1])
    contents = Contents(layout)
    contents.scan({(StageName.SOURCE, root.name): ""})
    assert [difference.path for difference in contents.differences(StageName.SOURCE, DIGEST)] == [str(changed)]


def test_a_changed_byte_of_a_live_site_file_is_told_and_put_right_at_once(world: World) -> None:
    world.configure(repository=NEVER, drift="{interval: 1h}")
    world.add_app("blog", "here")
    told, healed = [], []
    with running(world) as agent:
        agent.wait_until_told("app_changed", app="blog")
        site = world.root / "nginx/sites/blog.conf"
        original = site.read_text()
        for number in range(CHANGES):
            changes = len(agent.told("app_changed"))
            # what the deployment, or the last heal, wrote has been looked at
            time.sleep(1.0)
            site.write_text(original.replace("client_max_body_size 1m", "client_max_body_size 9m"))
            told.append(wait_for("the drift event", lambda: drift_events(world) > number))  # noqa: B023
            healed.append(told[-1] + wait_for("the heal", lambda: len(agent.told("app_changed")) > changes))  # noqa: B023
            assert site.read_text() == original
    print(
        f"a changed byte of a site file: told after {statistics.median(told) * 1000:.0f} ms "
        f"(bar {TOLD_SECONDS * 1000:g} ms), "
        f"healed and verified after {statistics.median(healed):.2f} s (bar {HEALED_SECONDS:g})"
    )
    assert statistics.median(told) <= TOLD_SECONDS
    assert statistics.median(healed) <= HEALED_SECONDS
