"""Proves that what is wrong with a candidate is seen before it has traffic: static files, dying workers."""

from __future__ import annotations

import time
from typing import Any

import pytest

from command_line import reconciler
from reconciler.engine import verifying
from reconciler.engine.results import AppResult
from reconciler.host.uwsgi import Emperor, wait_until_ready
from reconciler.model.plan import Outcome
from reconciler.model.uwsgi_log import death_of_worker
from world import World, manifest, of, wsgi_app

HOST = "blog.example.com"
BROKEN = '''"""Answers every request with an error."""


def app(environ, start_response):
    start_response("500 Internal Server Error", [("Content-Type", "text/plain")])
    return [b"broken"]
'''
DYING = '''"""Every worker ends a moment after it was started, and answers in between."""
import os
import threading

import uwsgi


def begin() -> None:
    threading.Thread(target=os._exit, args=(1,), daemon=True).start()


uwsgi.post_fork_hook = begin


def app(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"dying"]
'''
BEHIND_NGINX = '''"""Answers as asked on its own socket, and with an error behind nginx."""


def app(environ, start_response):
    behind_nginx = "REQUEST_SCHEME" in environ
    start_response("503 Unavailable" if behind_nginx else "200 OK", [("Content-Type", "text/plain")])
    return [b"answered"]
'''
SLOW = '''"""Takes more than half of the time that it has for every answer."""
import time


def app(environ, start_response):
    time.sleep(2.2)
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"slow"]
'''


def deploy(world: World, files: dict[str, str | None], **spec: object) -> AppResult:
    """Commit a change of the app, and reconcile."""
    own = {f"apps/blog/{path}": text for path, text in files.items()}
    world.commit({**own, "manifests/blog.yaml": manifest("blog", **spec)})
    return of(world.once(), "blog")


@pytest.mark.parametrize("fingerprint", [False, True])
def test_an_app_with_static_files_at_its_root_is_proven_before_it_has_traffic(
    world: World, fingerprint: bool
) -> None:
    static = [{"source": "static", "url": "/", "fingerprint": fingerprint}]
    probes = {"probes": [{"path": "/"}, {"path": "/robots.txt", "contains": "agents"}]}
    spec: dict[str, object] = {"static": static, "verify": probes}
    good = deploy(world, {"wsgi.py": wsgi_app("good"), "static/robots.txt": "all agents\n"}, **spec)
    assert good.error is None
    failed = deploy(world, {"wsgi.py": BROKEN}, **spec)
    assert str(failed.error).startswith("GET / on its own socket: status 500 instead of 200")
    assert world.text(HOST) == "good"
    assert deploy(world, {"wsgi.py": wsgi_app("better")}, **spec).outcome is Outcome.CHANGED
    # without the file nginx asks the app, which answers without the text
    lost = deploy(world, {"static/robots.txt": None, "static/other.txt": "x"}, **spec)
    assert str(lost.error).startswith("GET /robots.txt on its own socket: the body does not contain 'agents'")


def test_a_static_file_that_a_probe_asks_for_is_missed_before_the_switch(world: World) -> None:
    probes = {
        "probes": [{"path": "/static/site%2Ecss?v=1", "contains": "green"}, {"path": "/static/", "status": 403}]
    }
    spec: dict[str, object] = {"static": [{"source": "static", "url": "/static/"}], "verify": probes}
    good = deploy(world, {"wsgi.py": wsgi_app("good"), "static/site.css": "a{color:green}", "static/b": "b"}, **spec)
    assert good.error is None
    red = deploy(world, {"static/site.css": "a{color:red}"}, **spec)
    assert "the release's static file does not contain 'green'" in str(red.error)
    lost = deploy(world, {"static/site.css": None}, **spec)
    assert str(lost.error) == "GET /static/site%2Ecss?v=1: the release has no such static file"
    assert "add it below static" in str(lost.error.hint if lost.error else "")
    assert "green" in world.text(HOST, "/static/site.css")


def test_a_candidate_whose_workers_die_again_and_again_has_no_traffic_although_it_answers(world: World) -> None:
    assert deploy(world, {"wsgi.py": wsgi_app("good")}).error is None
    # uWSGI ends such a worker itself: that is no death
    options = {"uwsgi": {"options": {"max-requests": 1}}}
    assert deploy(world, {"wsgi.py": wsgi_app("better")}, **options).error is None
    failed = deploy(world, {"wsgi.py": DYING}, verify={"timeout": "60s"})
    assert "does not stay up: one of its workers ended by itself" in str(failed.error)
    assert world.text(HOST) == "better"


def test_a_release_that_fails_through_nginx_alone_is_switched_back_and_quarantined(world: World) -> None:
    good = deploy(world, {"wsgi.py": wsgi_app("good")})
    failed = deploy(world, {"wsgi.py": BEHIND_NGINX})
    assert str(failed.error).startswith("GET / through nginx: status 503 instead of 200")
    assert world.text(HOST) == "good"
    assert [path.stem for path in (world.root / "vassals").glob("*.ini")] == [f"blog.{good.release}"]
    assert of(world.once(), "blog").outcome is Outcome.QUARANTINED


def test_how_a_worker_died_is_read_from_the_log() -> None:
    assert death_of_worker("DAMN ! worker 2 (pid: 14571) died, killed by signal 11 :( trying respawn ...\n") == (
        "was killed by signal 11"
    )
    assert death_of_worker("x\nDAMN ! worker 1 (pid: 7) died :( trying respawn ...\ny\n") == "ended by itself"
    assert death_of_worker("worker 1 killed successfully (pid: 7)\nRespawned uWSGI worker 1 (new pid: 8)\n") is None


def test_probes_through_nginx_have_a_time_of_their_own(world: World) -> None:
    assert deploy(world, {"wsgi.py": SLOW}, verify={"timeout": "4s"}).error is None


def test_a_failing_probe_quotes_the_line_that_uwsgi_logs_after_the_answer(world: World) -> None:
    failed = deploy(world, {"wsgi.py": BROKEN})
    assert "last lines of the app's log" in getattr(failed.error, "tail", "")
    assert "HTTP/1.1 500" in getattr(failed.error, "tail", "")


@pytest.mark.builds
def test_a_release_that_fails_after_the_switch_is_told_by_one_line_per_stage(world: World) -> None:
    hooks = {"hooks": {"afterSwitch": ["exit 3"]}}
    world.commit({"apps/blog/wsgi.py": wsgi_app("new"), "manifests/blog.yaml": manifest("blog", **hooks)})
    ended = reconciler("-c", str(world.agent_file), "once")
    words = [line.split(" ")[1:3] for line in ended.err.splitlines() if line.startswith("blog ")]
    assert words == [["source:", "done"], ["build:", "done"], ["static:", "done"], ["nginx:", "done"],
                     ["vassal:", "failed"]]  # fmt: skip


def test_what_is_ready_before_anybody_waits_for_it_is_not_started_again(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A second start would come when it has traffic, and would fail where the disk is read-only by then."""

    def late(emperor: Emperor, vassal: str, **how: Any) -> None:
        deadline = time.monotonic() + 20
        while (state := emperor.stats().vassals.get(vassal)) is None or not state.accepting:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        wait_until_ready(emperor, vassal, **how)

    monkeypatch.setattr(verifying, "wait_until_ready", late)
    assert deploy(world, {"wsgi.py": wsgi_app("one")}).outcome is Outcome.CHANGED
    assert deploy(world, {"wsgi.py": wsgi_app("one")}, nginx={"clientMaxBodySize": "2m"}).outcome is Outcome.CHANGED
    assert "reload" not in (world.root / "logs" / "emperor.log").read_text()
    assert (world.root / "logs" / "blog.log").read_text().count("Starting uWSGI") == 1
