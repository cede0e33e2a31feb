"""Proves that the agent hears of changes in live releases, follows deploys, and lives without watches."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from reconciler.agent.watching import Place, start_watching, stop_watching
from reconciler.host.touched import Touched
from test_agent import NEVER, running, wait_for
from world import World, wsgi_app

NAMESPACE = ("unshare", "--user", "--map-root-user", "sh", "-c")
DRIFT_INTERVAL = 2.0


def limited(name: str, number: int) -> tuple[str, ...]:
    """Words before a command that has it run where the kernel allows no more than ``number`` of something."""
    script = f'echo {number} > /proc/sys/user/{name} && exec "$@"'
    if subprocess.run([*NAMESPACE, script, "sh", "true"], check=False, capture_output=True).returncode != 0:
        pytest.skip("this kernel has no user namespaces for us")
    return (*NAMESPACE, script, "sh")


def code_of(world: World) -> Path:
    """The code of the release that serves."""
    (release,) = (world.root / "releases" / "blog").iterdir()
    return release / "app" / "wsgi.py"


def test_a_touched_file_of_the_live_release_is_put_right_at_once_also_after_a_deploy(world: World) -> None:
    world.configure(repository=NEVER, drift="{interval: 1h}")
    world.add_app("blog", "first")
    with running(world) as agent:
        agent.wait_until_told("app_changed", app="blog")
        for greeting in ("first", "second"):
            code = code_of(world).resolve()
            original = code.read_text()
            assert greeting in original
            count, changes = len(agent.told("app_drifted")), len(agent.told("app_changed"))
            # twice: the files that were put right are watched too
            for number in (1, 2):
                code.write_text(original.replace(f"'{greeting}'", "'broken'"))
                wait_for("the heal", lambda: code.read_text() == original)  # noqa: B023
                wait_for("the page", lambda: world.text("blog.example.com") == greeting)  # noqa: B023
                wait_for("the line", lambda: len(agent.told("app_drifted")) >= count + number)  # noqa: B023
                wait_for("the proof", lambda: len(agent.told("app_changed")) >= changes + number)  # noqa: B023
            line = agent.told("app_drifted")[-1]
            assert (line["app"], line["stage"], line["path"]) == ("blog", "source", str(code))
            assert "+GREETING = 'broken'" in line["diff"]
            assert {"kind", "owner", "changed_at", "response", "note"} <= line.keys()
            if greeting == "first":
                world.commit({"apps/blog/wsgi.py": wsgi_app("second")})
                wait_for("the new page", lambda: world.text("blog.example.com") == "second")
                wait_for("the end of the old one", lambda: len(list((world.root / "releases/blog").iterdir())) == 1)
        assert not agent.told("app_failed")


@pytest.mark.parametrize(
    ("limit", "number", "event"),
    [("max_inotify_watches", 6, "watch_limited"), ("max_inotify_instances", 0, "watch_failed")],
)
def test_where_the_kernel_allows_no_more_watches_it_is_said_once_and_scans_find_the_rest(
    world: World, limit: str, number: int, event: str
) -> None:
    before = limited(limit, number)
    world.configure(repository="{url: ./c, branch: main, interval: 1h}", drift=f"{{interval: {DRIFT_INTERVAL:g}s}}")
    world.add_app("blog", "here")
    with running(world, *before) as agent:
        agent.wait_until_told("app_changed", app="blog")
        code = code_of(world).resolve()
        original = code.read_text()
        code.write_text(original.replace("'here'", "'gone'"))
        seconds = wait_for("the line", lambda: agent.told("app_drifted", path=str(code)))
        print(f"without a watch a changed byte is told after {seconds:.2f} s (drift.interval {DRIFT_INTERVAL:g} s)")
        wait_for("the heal", lambda: code.read_text() == original)
        (line,) = agent.told(event)
        assert "fs.inotify.max_user_watches" in line["hint"]
        if event == "watch_limited":
            # the first ones stay: a commit is still seen at once
            assert line["watched"] > 0
            world.commit({"apps/blog/wsgi.py": wsgi_app("seen")})
            wait_for("the new page", lambda: world.text("blog.example.com") == "seen")
        assert len(agent.told(event)) == 1


def test_watches_follow_and_what_is_known_is_no_news(tmp_path: Path) -> None:
    for name in ("one/inner", "two"):
        (tmp_path / name).mkdir(parents=True)
    asked: list[str] = []
    touched = Touched()
    known = {tmp_path / "two" / "known"}
    watcher = start_watching(asked.append, [], [], touched, known.__contains__)
    assert watcher is not None
    try:
        watcher.follow([Place(tmp_path / "one", recursive=True)])
        assert watcher.watched == {tmp_path / "one", tmp_path / "one" / "inner"}
        touched.take()
        (tmp_path / "one" / "inner" / "file").write_text("x")
        wait_for("the event", lambda: tmp_path / "one" / "inner" / "file" in touched.take()[0])
        assert asked

        watcher.follow([Place(tmp_path / "two"), Place(tmp_path / "nowhere")])
        assert watcher.watched == {tmp_path / "two"}
        # a folder that is watched from now on is looked at once
        assert tmp_path / "two" in touched.take()[0]
        (tmp_path / "one" / "file").write_text("x")
        (tmp_path / "two" / "known").write_text("x")
        (tmp_path / "two" / "file.pyc").write_text("x")
        (tmp_path / "two" / "news").write_text("x")
        heard: set[Path] = set()
        wait_for("the event", lambda: heard.update(touched.take()[0]) or tmp_path / "two" / "news" in heard)
        assert heard.isdisjoint({tmp_path / "one" / "file", tmp_path / "two" / "file.pyc", *known})

        # another folder takes its place: it is watched after the next pass
        (tmp_path / "two").rename(tmp_path / "away")
        (tmp_path / "two").mkdir()
        subprocess.run(["rm", "-r", str(tmp_path / "away")], check=True)
        wait_for("the end of the watch", lambda: not watcher.watched)
        watcher.follow([Place(tmp_path / "two")])
        (tmp_path / "two" / "again").write_text("x")
        wait_for("the event", lambda: tmp_path / "two" / "again" in touched.take()[0])
    finally:
        stop_watching(watcher)


def test_lost_events_are_a_look_at_everything(tmp_path: Path) -> None:
    asked: list[str] = []
    touched = Touched()
    watcher = start_watching(asked.append, [], [Place(tmp_path)], touched)
    assert watcher is not None
    try:
        watcher.on_queue_overflow()
        assert touched.take() == (frozenset(), True)
        assert "file:drift" in asked
    finally:
        stop_watching(watcher)
