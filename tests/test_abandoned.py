"""Proves that what a killed reconciler left at work is ended before anything else is done, and nothing stays."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from command_line import reconciler
from reconciler.host.abandoned import VARIABLE, end_abandoned
from reconciler.model.plan import Outcome
from world import World, manifest, of, wsgi_app

BEAT = "while :; do echo {word} >> {file}; sleep 0.02; done"
QUIET_SECONDS = 0.3


def beats_on(file: Path) -> bool:
    """Whether somebody still writes to a file."""
    before = file.stat().st_size
    time.sleep(QUIET_SECONDS)
    return file.stat().st_size > before


def killed_once(world: World, **spec: object) -> None:
    """Commit the app; a command of its manifest kills the reconciler that runs it."""
    world.commit({"apps/blog/wsgi.py": wsgi_app("second"), "manifests/blog.yaml": manifest("blog", **spec)})
    assert reconciler("-c", str(world.agent_file), "once").status == -signal.SIGKILL


def test_a_hook_of_a_killed_reconciler_does_not_run_beside_the_next_one(world: World, tmp_path: Path) -> None:
    seen, beats = tmp_path / "seen", tmp_path / "beats"
    # one goes to a session of its own, one hears no SIGTERM
    first = (
        f"touch {seen}; setsid sh -c '{BEAT.format(word='free', file=beats)}' & "
        f"trap '' TERM; kill -9 $PPID; {BEAT.format(word='here', file=beats)}"
    )
    killed_once(world, hooks={"beforeSwitch": [f"if test ! -e {seen}; then {first}; fi; cp {beats} {beats}.met"]})
    assert beats_on(beats)
    assert of(world.once(), "blog").outcome is Outcome.CHANGED
    assert set(beats.read_text().split()) == {"free", "here"}
    # nobody wrote while the hook ran again, nor after it
    assert beats.read_bytes() == beats.with_name("beats.met").read_bytes()
    assert not beats_on(beats)
    assert world.text("blog.example.com") == "second"


def test_a_build_of_a_killed_reconciler_leaves_nothing_behind(world: World, tmp_path: Path) -> None:
    seen = tmp_path / "seen"
    first = f"touch {seen}; kill -9 $PPID; {BEAT.format(word='x', file='made-$(date +%N)')}"
    killed_once(world, build={"commands": [f"test -e {seen} || {{ {first}; }}"]})
    left = list((world.root / "store" / "build").glob(".tmp-*"))
    assert len(left) == 1
    for _ in range(2):
        world_pass = reconciler("-c", str(world.agent_file), "once")
        assert world_pass.status == 0, world_pass.err
        assert not list((world.root / "store" / "build").glob(".tmp-*"))
    assert world.text("blog.example.com") == "second"


def test_nothing_is_looked_for_after_a_reconciler_that_ended_by_itself(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.add_app("blog")
    assert of(world.once(), "blog").outcome is Outcome.CHANGED
    assert (world.root / "lock").read_bytes() == b""
    monkeypatch.setattr("reconciler.host.abandoned.end_abandoned", lambda root: pytest.fail(f"looked for {root}"))
    assert of(world.once(), "blog").outcome is Outcome.UNCHANGED


def test_only_commands_of_the_same_state_folder_are_ended(tmp_path: Path) -> None:
    sleeping = [sys.executable, "-c", "import time; print(flush=True); time.sleep(60)"]
    ours, others, nobodys = (
        subprocess.Popen(
            sleeping, env={**os.environ, **more}, stdout=subprocess.PIPE, start_new_session=True, text=True
        )
        for more in ({VARIABLE: str(tmp_path)}, {VARIABLE: f"{tmp_path}2"}, {})
    )
    everyone = (ours, others, nobodys)
    try:
        for process in everyone:
            assert process.stdout is not None
            process.stdout.readline()
        assert end_abandoned(tmp_path) == 1
        assert [process.poll() for process in everyone] == [-signal.SIGTERM, None, None]
    finally:
        for process in everyone:
            process.kill()
            process.communicate()
