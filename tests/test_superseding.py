"""Proves that a newer commit ends a build, a start and a probe that it overtakes, disturbs no other app, and that of
a burst of commits only the last one is deployed."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path

import httpx
import pytest

from reconciler.agent import queue as queue_module
from reconciler.agent.queue import TriggerQueue
from reconciler.host.interruption import Superseded, giving_way, left_behind_if_interrupted, to_the_end
from reconciler.host.probing import PLAIN
from reconciler.host.processes import run
from test_agent import NEVER, running, serves, wait_for
from world import World, manifest, wsgi_app

HANG = "import time\ntime.sleep(60)\n"
HANG_AT_REQUEST = """
import time

def app(environ, start_response):
    time.sleep(60)
"""
VERIFY = {"timeout": "60s"}
FIX_SECONDS = 12.0
"""How long a fix may take where other tests share the processors; alone it takes 3 s, without superseding 60."""
COMMITS = 20
APART_SECONDS = 0.5


def attempts(world: World, app: str) -> list[tuple[str, str]]:
    """How every attempt for an app ended, with its commit, in the order of ending."""
    with closing(sqlite3.connect(f"{(world.root / 'journal.sqlite3').as_uri()}?mode=ro", uri=True)) as journal:
        return journal.execute("SELECT state, revision FROM releases WHERE app = ? ORDER BY id", (app,)).fetchall()


def quarantined(world: World) -> list[str]:
    """The apps that are quarantined or have a last error."""
    with closing(sqlite3.connect(f"{(world.root / 'journal.sqlite3').as_uri()}?mode=ro", uri=True)) as journal:
        query = "SELECT app FROM apps WHERE quarantined_key IS NOT NULL OR last_error IS NOT NULL"
        return [app for (app,) in journal.execute(query)]


def vassals(world: World) -> list[Path]:
    """All vassals of a host."""
    return sorted((world.root / "vassals").glob("*.ini"))


@pytest.mark.parametrize("source", [HANG, HANG_AT_REQUEST], ids=["start", "request"])
def test_the_fix_of_a_commit_that_hangs_serves_at_once(
    world: World, source: str, record_property: Callable[[str, object], None]
) -> None:
    world.configure(repository=NEVER)
    world.add_app("blog", "old", verify=VERIFY, uwsgi={"drain": "1s"})
    with running(world) as agent:
        agent.wait_until_told("app_changed", app="blog")
        (old,) = vassals(world)
        hanging = world.commit({"apps/blog/wsgi.py": source})
        wait_for("the candidate", lambda: len(vassals(world)) == 2)
        (candidate,) = set(vassals(world)) - {old}
        time.sleep(2)
        fix = world.commit({"apps/blog/wsgi.py": wsgi_app("fixed")})
        assert world.text("blog.example.com") == "old"
        seconds = wait_for("the fix", serves(world, "fixed"), FIX_SECONDS)
        record_property("seconds to the fix", round(seconds, 2))
        print(f"commit of the fix to its page: {seconds:.2f} s")
        assert not candidate.exists()
        agent.wait_until_told("app_changed", app="blog", commit=fix[:7])
        assert [(state, commit) for state, commit in attempts(world, "blog")][1:] == [
            ("superseded", hanging),
            ("verified", fix),
        ]
        assert not quarantined(world)
        assert not agent.told("app_failed")
        wait_for("the end of the old release", lambda: len(vassals(world)) == 1)
        wait_for("the end of its sockets", lambda: not list((world.root / "run").glob(f"*{candidate.stem}*")))


LONG = """
import time

def app(environ, start_response):
    if environ["PATH_INFO"] == "/long":
        time.sleep(25)
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"old"]
"""


def test_a_commit_does_not_wait_for_the_drain_of_the_release_before_and_a_bad_one_leaves_no_vassal(
    world: World,
) -> None:
    world.configure(repository=NEVER)
    drain = {"uwsgi": {"drain": "5m"}}
    world.add_app("blog", "old", **drain)
    world.commit({"apps/blog/wsgi.py": LONG})
    with running(world) as agent:
        agent.wait_until_told("app_changed", app="blog")
        visitor = threading.Thread(target=lambda: suppressed(world, "/long"), daemon=True)
        visitor.start()
        world.commit({"apps/blog/wsgi.py": wsgi_app("two")})
        wait_for("the second release", serves(world, "two"))
        assert len(vassals(world)) == 2
        world.commit({"apps/blog/wsgi.py": "import nothing_like_this\n"})
        agent.wait_until_told("app_failed", app="blog")
        assert world.text("blog.example.com") == "two"
        assert visitor.is_alive(), "the first release still answers"
        # what drained is not forgotten because a newer commit failed
        world.commit({"unrelated": "x"})
        wait_for("the end of the first release", lambda: len(vassals(world)) == 1, 40)


def suppressed(world: World, path: str) -> None:
    """A visitor who may be left waiting at the end of the test."""
    with suppress(httpx.HTTPError), httpx.Client(trust_env=False, timeout=60, verify=PLAIN) as client:
        client.get(f"http://127.0.0.1:{world.port}{path}", headers={"Host": "blog.example.com"})


def test_a_build_that_is_overtaken_is_ended_and_another_app_is_not_disturbed(world: World) -> None:
    world.configure(repository=NEVER)
    world.add_app("blog", "old")
    world.add_app("shop", "old")
    started, began = world.home / "started", world.home / "began"
    go = world.home / "go"
    slow = manifest("blog", build={"commands": [f"echo $$ > {started}; exec sleep 60"]})
    steady = manifest("shop", build={"commands": [f"echo x >> {began}; until test -e {go}; do sleep 0.05; done"]})
    with running(world) as agent:
        agent.wait_until_told("app_changed", app="shop")
        world.commit(
            {
                "apps/blog/wsgi.py": wsgi_app("slow"),
                "manifests/blog.yaml": slow,
                "apps/shop/wsgi.py": wsgi_app("new"),
                "manifests/shop.yaml": steady,
            }
        )
        wait_for("both build commands", lambda: began.exists() and started.exists() and started.read_text().strip())
        builder = int(started.read_text())
        world.commit({"apps/blog/wsgi.py": wsgi_app("fixed"), "manifests/blog.yaml": manifest("blog")})
        seconds = wait_for("the fix", serves(world, "fixed"), FIX_SECONDS)
        print(f"commit to page, past a build that sleeps: {seconds:.2f} s")
        assert not Path(f"/proc/{builder}").exists()
        assert not agent.told("app_changed", app="shop", stages=["source", "build", "vassal"])
        go.touch()
        wait_for("the other app", lambda: world.text("shop.example.com") == "new")
        agent.wait_until_told("app_changed", app="blog")
        # visitors see the page before the journal has it: that is written when nginx's answer has been proven
        wait_for("the record of the other app", lambda: len(attempts(world, "shop")) == 2)
        assert [state for state, _ in attempts(world, "blog")] == ["verified", "superseded", "verified"]
        assert [state for state, _ in attempts(world, "shop")] == ["verified", "verified"]
        assert began.read_text() == "x\n"
        assert not quarantined(world)
        assert not list((world.root / "store/build").glob(".tmp-*"))


def test_a_revert_ends_the_attempt_and_a_broken_manifest_does_not(world: World) -> None:
    world.configure(repository=NEVER)
    world.add_app("blog", "old", verify=VERIFY)
    with running(world) as agent:
        agent.wait_until_told("app_changed", app="blog")
        world.commit({"apps/blog/wsgi.py": HANG})
        wait_for("the candidate", lambda: len(vassals(world)) == 2)
        world.commit({"manifests/blog.yaml": "apiVersion: reconciler/v1\nkind: App\nmetadata: {name: blog}\n"})
        time.sleep(queue_module.QUIET_SECONDS + 1.0)
        assert len(vassals(world)) == 2
        world.commit(
            {"apps/blog/wsgi.py": wsgi_app("old"), "manifests/blog.yaml": manifest("blog", verify=VERIFY)}, "Revert"
        )
        wait_for("the end of the candidate", lambda: len(vassals(world)) == 1, FIX_SECONDS)
        assert world.text("blog.example.com") == "old"
        wait_for("the record", lambda: [s for s, _ in attempts(world, "blog")] == ["verified", "superseded"])
        assert not quarantined(world)


def test_the_one_vassal_of_touch_goes_back_and_then_on(world: World) -> None:
    world.configure(repository=NEVER)
    world.add_app("blog", "old", verify=VERIFY, uwsgi={"strategy": "touch"})
    with running(world) as agent:
        agent.wait_until_told("app_changed", app="blog")
        (vassal,) = vassals(world)
        before = vassal.read_text()
        world.commit({"apps/blog/wsgi.py": HANG})
        wait_for("the touched vassal", lambda: vassal.read_text() != before)
        world.commit({"apps/blog/wsgi.py": wsgi_app("fixed")})
        seconds = wait_for("the fix", serves(world, "fixed"), 2 * FIX_SECONDS)
        print(f"commit to page, strategy touch: {seconds:.2f} s")
        wait_for("the record", lambda: len(attempts(world, "blog")) == 3)
        assert [state for state, _ in attempts(world, "blog")] == ["verified", "superseded", "verified"]


@pytest.mark.load
def test_of_a_burst_of_commits_the_last_one_serves_and_few_were_built(
    world: World, record_property: Callable[[str, object], None]
) -> None:
    world.configure(repository=NEVER)
    world.add_app("blog", "old")
    with running(world) as agent:
        agent.wait_until_told("app_changed", app="blog")
        time.sleep(queue_module.BURST_SECONDS)
        begin = time.monotonic()
        for number in range(COMMITS):
            time.sleep(max(0.0, begin + number * APART_SECONDS - time.monotonic()))
            last = world.commit({"apps/blog/wsgi.py": wsgi_app(f"number {number}")})
        seconds = wait_for("the last page", serves(world, f"number {COMMITS - 1}"))
        agent.wait_until_told("app_changed", commit=last[:7])
        tried = attempts(world, "blog")[1:]
        record_property("built", len(tried))
        print(f"{COMMITS} commits: {len(tried)} built, the last one serves {seconds:.2f} s after its commit")
        assert tried[-1] == ("verified", last)
        assert len(tried) <= 3
        assert len(list((world.root / "store/source").iterdir())) <= 1 + 3


# parts


def test_a_program_and_an_answer_end_with_what_overtakes_them_and_what_must_end_well_does() -> None:
    overtaken = threading.Event()
    threading.Timer(0.2, overtaken.set).start()
    started = time.monotonic()
    with pytest.raises(Superseded), giving_way(overtaken.is_set):
        run(["sleep", "30"], timeout=60)
    with pytest.raises(Superseded), giving_way(overtaken.is_set):
        pass
    overtaken.clear()
    threading.Timer(0.2, overtaken.set).start()
    with pytest.raises(Superseded), giving_way(overtaken.is_set):
        left_behind_if_interrupted(lambda: time.sleep(5))
    assert time.monotonic() - started < 5
    overtaken.clear()
    with giving_way(overtaken.is_set), to_the_end():
        overtaken.set()
        assert run(["echo", "done"], timeout=60).text == "done\n"
    with pytest.raises(ZeroDivisionError):
        left_behind_if_interrupted(lambda: 1 // 0)


def test_a_commit_is_taken_at_once_and_the_next_ones_after_a_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(queue_module, "QUIET_SECONDS", 0.2)
    queue = TriggerQueue()
    queue.put("file:git")
    started = time.monotonic()
    assert queue.take() == "file:git"
    assert time.monotonic() - started < 0.1
    queue.working()
    queue.put("file:git")
    assert queue.take() == "file:git"
    assert time.monotonic() - started >= 0.2
    queue.working()
    for trigger in ("file:git", "poll", "work", "sync"):
        queue.put(trigger)
    # a person does not wait
    started = time.monotonic()
    assert queue.take() == "file:git+poll+work+sync"
    assert time.monotonic() - started < 0.1
