"""Proves that progress is told in whole lines by any number of threads, and that live lines never block a pass."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from command_line import RUN_SECONDS, environment
from reconciler.cli import progress as progress_module
from reconciler.cli.progress import LiveProgress, PlainProgress, make_progress
from reconciler.engine.progress import Progress
from reconciler.model.plan import Change
from reconciler.model.stage import Action, Reason, StageName
from world import World

BUILD = Change(StageName.BUILD, Action.CREATE, (Reason.INPUT_CHANGED, Reason.UPSTREAM_CHANGED))
THREAD_SECONDS = 20.0


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


def tell(progress: Progress, app: str) -> None:
    for stage in StageName:
        progress.stage_started(app, Change(stage, Action.CREATE, (Reason.NEVER_APPLIED,)))
        for number in range(20):
            progress.stage_said(app, stage, f"line {number}\x1b[2J")
        progress.stage_finished(app, stage, 0.5, None)


def test_a_pipe_gets_one_line_per_stage(capsys: pytest.CaptureFixture[str]) -> None:
    progress = make_progress()
    assert isinstance(progress, PlainProgress)
    progress.stage_started("blog", BUILD)
    progress.stage_said("blog", "build", "Installed 3 packages")
    progress.stage_finished("blog", "build", 2.1, None)
    progress.stage_started("shop", BUILD)
    progress.stage_finished("shop", "build", 0.04, "uv ended with status 1: no such package\nand more")
    progress.close()
    out, err = capsys.readouterr()
    assert out == ""
    assert err == (
        "blog build: done in 2.1 s (input_changed, upstream_changed)\n"
        "shop build: failed after 0.04 s: uv ended with status 1: no such package\n"
    )


def test_lines_of_apps_that_end_together_do_not_mix(capsys: pytest.CaptureFixture[str]) -> None:
    progress = PlainProgress()
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda number: tell(progress, f"app{number}"), range(8)))
    rows = capsys.readouterr().err.splitlines()
    assert sorted(rows) == sorted(
        f"app{number} {stage.value}: done in 0.5 s (never_applied)" for number in range(8) for stage in StageName
    )


def test_a_terminal_gets_every_stage_and_no_deadlock(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr(progress_module.sys, "stderr", terminal)
    progress = make_progress()
    assert isinstance(progress, LiveProgress)
    threads = [threading.Thread(target=tell, args=(progress, f"app{number}"), daemon=True) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(THREAD_SECONDS)
    assert not any(thread.is_alive() for thread in threads)
    progress.close()
    shown = terminal.getvalue()
    for number in range(4):
        for stage in StageName:
            assert f"app{number} {stage.value}: " in shown
    assert "\x1b[2J" not in shown
    assert shown.count("\x1b[?25h") >= shown.count("\x1b[?25l") > 0


def test_live_progress_shows_the_last_line_and_imports_nothing_before_it_is_needed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(progress_module.sys, "stderr", Terminal())
    progress = LiveProgress()
    progress.close()
    progress.stage_started("blog", BUILD)
    progress.stage_said("blog", "build", "first")
    progress.stage_said("blog", "build", "second")
    progress.stage_said("blog", "build", "  ")
    table = progress.table()
    assert [str(next(iter(column.cells))) for column in table.columns][0:2] == ["blog", "build"]
    assert str(next(iter(table.columns[3].cells))) == "second"
    progress.stage_finished("blog", "build", 1.0, None)
    assert progress.table().row_count == 0
    progress.close()


def test_a_reader_that_went_away_fails_no_deployment(world: World) -> None:
    world.add_app("blog", "here")
    ours, theirs = os.pipe()
    os.close(ours)
    command = [sys.executable, "-m", "reconciler.cli.main", "-c", str(world.agent_file), "once", "--json"]
    done = subprocess.run(
        command, stdout=subprocess.PIPE, stderr=theirs, env=environment(), timeout=RUN_SECONDS, check=False
    )
    os.close(theirs)
    assert done.returncode == 0
    assert world.text("blog.example.com") == "here"
