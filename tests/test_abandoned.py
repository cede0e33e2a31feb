"""Proves that what a killed reconciler left at work is ended before anything else is done, and nothing stays."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
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


def test_what_a_hook_left_behind_on_purpose_goes_on(world: World, tmp_path: Path) -> None:
    beats, seen = tmp_path / "beats", tmp_path / "seen"
    daemon = f"setsid sh -c '{BEAT.format(word='daemon', file=beats)}' > {os.devnull} 2>&1 &"
    # until it has left the group of the hook, it ends with it
    begun = f"until test -e {beats}; do sleep 0.02; done"
    world.add_app("blog", "first", hooks={"afterSwitch": [f"{daemon} {begun}"]})
    assert of(world.once(), "blog").outcome is Outcome.CHANGED
    try:
        killed_once(world, hooks={"beforeSwitch": [f"test -e {seen} || {{ touch {seen}; kill -9 $PPID; }}"]})
        assert of(world.once(), "blog").outcome is Outcome.CHANGED
        assert beats_on(beats)
        assert not list((world.root / "run" / "commands").iterdir())
    finally:
        end_by_file(beats)


def end_by_file(beats: Path) -> None:
    """End the shells whose command line names a file."""
    for entry in Path("/proc").iterdir():
        with suppress(OSError, ValueError):
            if os.fsencode(beats) in (entry / "cmdline").read_bytes():
                os.kill(int(entry.name), signal.SIGKILL)


def test_nothing_is_looked_for_after_a_reconciler_that_ended_by_itself(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.add_app("blog", hooks={"afterSwitch": ["true"]})
    assert of(world.once(), "blog").outcome is Outcome.CHANGED
    monkeypatch.setattr("reconciler.host.abandoned.end_abandoned", lambda folder: pytest.fail(f"looked in {folder}"))
    assert of(world.once(), "blog").outcome is Outcome.UNCHANGED


SLEEPER = "import time; print(flush=True); time.sleep(60)"
STUBBORN = f"import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); {SLEEPER}"


@contextmanager
def sleeping(
    name: str | None, *, child: str = "", env: Mapping[str, str] | None = None
) -> Iterator[subprocess.Popen[str]]:
    """A process with a name of a command that has begun to sleep; ``child`` is Python for one in its session."""
    start = f"import subprocess, sys; subprocess.Popen([sys.executable, '-c', {child!r}], env={env!r}); "
    command = [sys.executable, "-c", f"{start if child else ''}{SLEEPER}"]
    named = {**os.environ, **({VARIABLE: name} if name else {})}
    with subprocess.Popen(command, env=named, stdout=subprocess.PIPE, start_new_session=True, text=True) as process:
        try:
            assert process.stdout is not None
            for _ in range(2 if child else 1):
                process.stdout.readline()
            yield process
        finally:
            # not reaped yet, so that its number is nobody else's
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)


@pytest.fixture
def mine() -> str:
    """The name of a command; other tests look for theirs at the same time."""
    return os.urandom(16).hex()


def test_only_commands_that_the_folder_names_are_ended(tmp_path: Path, mine: str) -> None:
    (tmp_path / mine).touch()
    with sleeping(mine) as ours, sleeping(f"{mine}0") as others, sleeping(None) as nobodys:
        assert end_abandoned(tmp_path) == (1, [])
        assert [process.poll() for process in (ours, others, nobodys)] == [-signal.SIGTERM, None, None]
        assert not list(tmp_path.iterdir())
        assert end_abandoned(tmp_path) == (0, [])


def test_a_process_whose_name_is_no_text_is_in_nobodys_way(tmp_path: Path, mine: str) -> None:
    (tmp_path / mine).touch()
    rename = "open('/proc/self/comm', 'wb').write(b'\\xff) Z ('); "
    with subprocess.Popen(
        [sys.executable, "-c", f"{rename}{SLEEPER}"], stdout=subprocess.PIPE, start_new_session=True
    ) as oddly_named:
        try:
            assert oddly_named.stdout is not None
            oddly_named.stdout.readline()
            with sleeping(mine) as ours:
                assert end_abandoned(tmp_path) == (1, [])
                assert (ours.poll(), oddly_named.poll()) == (-signal.SIGTERM, None)
        finally:
            oddly_named.kill()


def test_what_hides_its_name_and_hears_nothing_is_ended_with_its_session(tmp_path: Path, mine: str) -> None:
    (tmp_path / mine).touch()
    with sleeping(mine, child=STUBBORN, env={}):
        assert end_abandoned(tmp_path) == (2, [])


def test_a_named_process_in_the_session_of_another_is_ended_alone(tmp_path: Path, mine: str) -> None:
    (tmp_path / mine).touch()
    with sleeping(None, child=SLEEPER, env={VARIABLE: mine}) as daemon:
        assert end_abandoned(tmp_path) == (1, [])
        assert daemon.poll() is None
