"""Proves that work on one app never holds another's: turns, slow builds, failures that back off, limits, aborts."""

from __future__ import annotations

import itertools
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import httpx
import pytest

from reconciler.engine import turns as turns_module
from reconciler.engine.attempt import Attempt, Wish
from reconciler.engine.engine import Engine
from reconciler.engine.results import AppResult
from reconciler.engine.turns import AT_MOST, AT_ONCE, SLOW_SECONDS, next_turns
from reconciler.engine.work import FIRST_RETRY_SECONDS, Work
from reconciler.host.interruption import stop_if_interrupted
from reconciler.host.probing import PLAIN
from reconciler.host.uwsgi_stats import worker_stats
from reconciler.model.errors import HostError, JournalError, StageFailed
from reconciler.model.plan import AppPlan, Change, Outcome
from reconciler.model.stage import Action, StageName
from test_agent import NEVER, passes, running, serves, wait_for
from world import World, manifest, of, wsgi_app

PLAN = AppPlan("", (Change(StageName.VASSAL, Action.UPDATE),))
SITE = AppPlan("", (Change(StageName.NGINX, Action.CREATE),))
DEADLINE_SECONDS = 10.0
NOW = 1000.0
SLOW_APP = """
import os, time

def app(environ, start_response):
    if environ["QUERY_STRING"]:
        deadline = time.monotonic() + 50
        while not os.path.exists(environ["QUERY_STRING"]) and time.monotonic() < deadline:
            time.sleep(0.05)
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"one"]
"""
HANG = "echo $$ > {started}; exec sleep 60"


# turns, without a host


def desired(*apps: str, commit: str = "1", needs: Mapping[str, tuple[str, ...]] | None = None) -> Any:
    """Desired state with as much in it as the order of work looks at."""

    def app(name: str) -> SimpleNamespace:
        spec = SimpleNamespace(depends_on=(needs or {}).get(name, ()), verify=None, hooks=commit)
        return SimpleNamespace(name=name, manifest=SimpleNamespace(spec=spec), stages=())

    return SimpleNamespace(apps={name: app(name) for name in apps}, held={}, unreadable=(), revision=commit)


def wish(name: str, *apps: str, plan: AppPlan = PLAN, **needs: tuple[str, ...]) -> Wish:
    """Work for one app."""
    return Wish(AppResult(name, Outcome.CHANGED, plan), desired(*(apps or (name,)), needs=needs), "test")


def starts(
    wishes: list[Wish],
    under_way: Mapping[str, float] | None = None,
    results: Mapping[str, AppResult] | None = None,
    not_before: Mapping[str, float] | None = None,
) -> tuple[str, ...]:
    """The apps that may start; ``under_way`` has for how long others have been worked on."""
    attempts = {name: Attempt(wish(name), NOW - seconds) for name, seconds in (under_way or {}).items()}
    by_name = {one.app: one for one in wishes}
    return next_turns(by_name, attempts, results or {}, not_before or {}, NOW).start


def test_so_many_are_worked_on_at_once_and_slow_ones_give_their_place_away() -> None:
    wishes = [wish(f"app{number}") for number in range(AT_MOST + 4)]
    assert starts(wishes) == tuple(one.app for one in wishes[:AT_ONCE])
    assert starts(wishes, {f"other{number}": 1.0 for number in range(AT_ONCE)}) == ()
    slow = {f"slow{number}": SLOW_SECONDS + 1 for number in range(AT_ONCE)}
    assert starts(wishes, slow) == tuple(one.app for one in wishes[:AT_ONCE])
    assert starts(wishes, {f"slow{number}": SLOW_SECONDS + 1 for number in range(AT_MOST)}) == ()
    attempts = {f"other{number}": Attempt(wish(f"other{number}"), NOW - 1.0) for number in range(AT_ONCE)}
    turns = next_turns({one.app: one for one in wishes}, attempts, {}, {}, NOW)
    assert turns.look_again == NOW - 1.0 + SLOW_SECONDS


def test_what_is_worked_on_or_backs_off_does_not_start_again() -> None:
    wishes = [wish("one"), wish("two"), wish("three")]
    assert starts(wishes, {"one": 1.0}, not_before={"two": NOW + 1, "three": NOW - 1}) == ("three",)
    turns = next_turns({one.app: one for one in wishes}, {}, {}, {"two": NOW + 7}, NOW)
    assert turns.look_again == NOW + 7


def test_a_new_site_waits_until_apps_that_go_are_gone() -> None:
    going = wish("old", "new", "other")
    wishes = [going, wish("new", plan=SITE), wish("other")]
    assert going.removal
    assert starts(wishes) == ("old", "other")
    attempts = {"old": Attempt(going, NOW)}
    assert next_turns({"new": wishes[1]}, attempts, {}, {}, NOW).start == ()
    assert next_turns({"new": wishes[1]}, {}, {}, {}, NOW).start == ("new",)


def test_an_app_follows_what_it_depends_on_and_is_held_back_by_its_failure() -> None:
    needs = {"child": ("parent",), "grandchild": ("child",)}
    names = ("child", "grandchild", "parent")
    wishes = {
        name: Wish(AppResult(name, Outcome.CHANGED, PLAN), desired(*names, needs=needs), "test") for name in names
    }
    assert next_turns(wishes, {}, {}, {}, NOW).start == ("parent",)
    left = {name: wishes[name] for name in ("child", "grandchild")}
    assert next_turns(left, {"parent": Attempt(wishes["parent"], NOW)}, {}, {}, NOW).start == ()
    good = {"parent": AppResult("parent", Outcome.CHANGED, PLAN)}
    assert next_turns(left, {}, good, {}, NOW).start == ("child",)
    bad = {"parent": AppResult("parent", Outcome.FAILED, PLAN, error=HostError("no luck"))}
    for wanted, not_before in ((left, {}), (wishes, {"parent": NOW + 5})):
        turns = next_turns(wanted, {}, bad, not_before, NOW)
        assert turns.start == ()
        assert turns.held_back["child"].note == "it depends on parent, which failed (no luck)"
        assert str(turns.held_back["grandchild"].note).startswith("it depends on child, which waits itself (")


def test_apps_that_wait_for_each_other_hang_nobody() -> None:
    needs = {"one": ("two",), "two": ("one",)}
    wishes = {
        name: Wish(AppResult(name, Outcome.CHANGED, PLAN), desired("one", "two", "three", needs=needs), "test")
        for name in ("one", "two", "three")
    }
    assert next_turns(wishes, {}, {}, {}, NOW).start == ("three",)


# work, with a worker that does nothing


@dataclass
class Hand:
    """A worker that notes what it is asked for, and fails where it is told to."""

    work: Work = field(init=False)
    order: list[str] = field(default_factory=list)
    errors: dict[str, Exception] = field(default_factory=dict)
    hold: dict[str, threading.Event] = field(default_factory=dict)
    ended: list[tuple[str, Outcome | None]] = field(default_factory=list)
    looks: int = 0

    def __post_init__(self) -> None:
        self.work = Work(self, self)

    def plan_again(self, wish: Wish) -> AppResult:
        return wish.planned

    def attempt(self, attempt: Attempt) -> AppResult:
        app = attempt.wish.app
        self.order.append(f"{app} {attempt.wish.desired.revision}")
        deadline = time.monotonic() + DEADLINE_SECONDS
        while app in self.hold and not self.hold[app].is_set() and time.monotonic() < deadline:
            stop_if_interrupted()
            time.sleep(0.005)
        error = self.errors.get(app)
        result = attempt.wish.planned
        return result if error is None else result.failed(cast("Any", error))

    def attempt_began(self, attempt: Attempt) -> None:
        pass

    def attempt_ended(self, attempt: Attempt, result: AppResult | None) -> None:
        self.ended.append((attempt.wish.app, None if result is None else result.outcome))

    def look_needed(self) -> None:
        self.looks += 1

    def submit(self, *apps: str, commit: str = "1", **needs: tuple[str, ...]) -> None:
        """A look that found work for these apps."""
        results = tuple(AppResult(app, Outcome.CHANGED, PLAN) for app in apps)
        self.work.submit(desired(*apps, commit=commit, needs=needs), results, "test", self.work.marks())


@contextmanager
def going_on() -> Iterator[Hand]:
    """A worker as an agent has it."""
    hand = Hand()
    hand.work.start()
    try:
        yield hand
    finally:
        hand.work.close()
        for held in hand.hold.values():
            held.set()
        hand.work.join()


def test_a_single_pass_tries_every_app_once_in_order() -> None:
    hand = Hand(errors={"bad": HostError("no luck")})
    names = [f"app{number}" for number in range(30)]
    needs = {name: (before,) for before, name in itertools.pairwise(names)}
    hand.submit("child", "bad", *reversed(names), child=("bad",), **needs)
    results = hand.work.finish()
    assert {app: result.outcome for app, result in results.items() if app not in names} == {
        "bad": Outcome.FAILED,
        "child": Outcome.WAITING,
    }
    assert [one for one in hand.order if one.startswith("app")] == [f"{name} 1" for name in names]
    assert hand.order.count("bad 1") == 1
    assert hand.work.at_rest


def test_what_a_worker_raises_is_a_failure_and_no_success(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_hand: Hand, _attempt: Attempt) -> AppResult:
        raise JournalError("the journal cannot be written")

    monkeypatch.setattr(Hand, "attempt", fail)
    hand = Hand()
    hand.submit("blog")
    (result,) = hand.work.finish().values()
    assert result.outcome is Outcome.FAILED
    assert str(result.error) == "the journal cannot be written"


def test_equal_requests_merge_and_a_newer_one_ends_the_attempt() -> None:
    with going_on() as hand:
        hand.hold["blog"] = threading.Event()
        hand.submit("blog")
        wait_for("the attempt", lambda: hand.order)
        hand.submit("blog")
        hand.submit("blog")
        assert hand.order == ["blog 1"]
        hand.submit("blog", commit="2")
        wait_for("the newer attempt", lambda: hand.order[-1] == "blog 2")
        hand.hold["blog"].set()
        wait_for("the end", lambda: hand.work.at_rest)
        assert hand.ended == [("blog", None), ("blog", Outcome.CHANGED)]
        assert hand.looks >= 1


def test_who_waits_for_the_end_of_all_work_has_a_word_meanwhile(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("reconciler.engine.work.JOIN_SECONDS", 0.01)
    with going_on() as hand:
        hold = hand.hold["blog"] = threading.Event()
        hand.submit("blog")
        wait_for("the attempt", lambda: hand.order)
        words: list[int] = []

        def say() -> None:
            words.append(len(words))
            if len(words) == 5:
                hold.set()

        hand.work.join(say)
        assert len(words) >= 5


def test_a_failure_that_may_pass_backs_off_alone_and_a_new_commit_resets_it() -> None:
    with going_on() as hand:
        hand.errors["blog"] = HostError("the disk is full")
        hand.submit("blog", "shop")
        wait_for("both", lambda: len(hand.ended) == 2 and hand.work.at_rest)
        # a look that still finds the same work changes nothing
        hand.submit("blog")
        (standing,) = hand.work.as_it_stands((AppResult("blog", Outcome.CHANGED, PLAN),))
        assert (standing.outcome, str(standing.error)) == (Outcome.FAILED, "the disk is full")
        assert standing.note == f"failed once, is tried again in {FIRST_RETRY_SECONDS:.0f} s"
        assert hand.order.count("blog 1") == 1
        hand.work.forget_back_off("blog")
        wait_for("the attempt that a person asked for", lambda: hand.order.count("blog 1") == 2)
        wait_for("its end", lambda: hand.work.at_rest)
        hand.submit("blog", commit="2")
        wait_for("the attempt for the new commit", lambda: hand.order[-1] == "blog 2")


def test_what_only_git_can_mend_is_not_tried_again() -> None:
    with going_on() as hand:
        hand.errors["blog"] = StageFailed("a syntax error")
        hand.submit("blog")
        wait_for("the failure", lambda: hand.ended == [("blog", Outcome.FAILED)])
        hand.submit("other")
        wait_for("the other", lambda: hand.order[-1] == "other 1" and hand.work.at_rest)
        assert hand.order == ["blog 1", "other 1"]


# a real host


@contextmanager
def working(world: World) -> Iterator[Engine]:
    """An engine whose work goes on beside its looks, as in an agent."""
    with world.engine() as engine:
        engine.work.start()
        try:
            yield engine
        finally:
            engine.work.close()
            engine.work.give_up()
            engine.work.join()


def hanging(name: str, started: Path) -> str:
    """A manifest whose build never ends by itself."""
    return manifest(name, build={"commands": [HANG.format(started=started)]})


def builder(started: Path) -> int:
    """The process of a build command that hangs, once it runs."""
    wait_for("the build command", lambda: started.exists() and started.read_text().strip())
    return int(started.read_text())


def test_the_fix_of_a_failed_app_does_not_wait_for_another_apps_build(world: World) -> None:
    world.configure(repository=NEVER)
    started = world.home / "started"
    world.add_app("blog", "old")
    world.add_app("slow", "old")
    with running(world) as agent:
        agent.wait_until_told("app_changed", app="slow")
        agent.wait_until_told("app_changed", app="blog")
        world.commit(
            {
                "apps/blog/wsgi.py": "import nothing_like_this\n",
                "apps/slow/wsgi.py": wsgi_app("new"),
                "manifests/slow.yaml": hanging("slow", started),
            }
        )
        agent.wait_until_told("app_failed", app="blog")
        process = builder(started)
        world.commit({"apps/blog/wsgi.py": wsgi_app("fixed")})
        seconds = wait_for("the fix", serves(world, "fixed"))
        print(f"fix of a failed app while another builds: {seconds:.2f} s")
        assert Path(f"/proc/{process}").exists()
        assert '"applying"' in passes(world)[-1][1]


def long_request(world: World, path: str) -> str:
    """The answer to a request that takes long."""
    with httpx.Client(trust_env=False, timeout=60, verify=PLAIN) as client:
        address = f"http://127.0.0.1:{world.port}{path}"
        return client.get(address, headers={"Host": "blog.example.com"}).text


def busy_workers(world: World) -> bool:
    """Whether an app answers a request."""
    return any(
        worker.busy for path in (world.root / "run").glob("blog*.stats") for worker in worker_stats(path).workers
    )


def test_a_deploy_does_not_wait_for_the_last_requests_of_the_release_before(world: World) -> None:
    world.configure(repository=NEVER)
    world.add_app("blog", files={"wsgi.py": SLOW_APP}, uwsgi={"drain": "60s"})
    with running(world) as agent:
        agent.wait_until_told("app_changed", app="blog")
        answers: list[str] = []
        go = world.home / "go"
        visitor = threading.Thread(target=lambda: answers.append(long_request(world, f"/?{go}")))
        visitor.start()
        wait_for("the request", lambda: busy_workers(world))
        for greeting in ("two", "three"):
            world.commit({"apps/blog/wsgi.py": wsgi_app(greeting)})
            wait_for(f"page {greeting}", serves(world, greeting))
        assert not answers
        go.touch()
        visitor.join(DEADLINE_SECONDS)
        assert answers == ["one"]
        wait_for("the end of the old ones", lambda: len(list((world.root / "vassals").glob("*.ini"))) == 1)


def test_a_failure_that_passes_by_itself_is_mended_without_a_commit(world: World) -> None:
    world.configure(repository=NEVER)
    world.add_app("blog", "here")
    with socket.socket() as other:
        other.bind(("127.0.0.1", world.port))
        other.listen()
        with running(world) as agent:
            told = agent.wait_until_told("app_failed", app="blog")
            assert f"127.0.0.1:{world.port}" in told["error"]
            other.close()
            wait_for("the app", lambda: agent.told("app_changed"), FIRST_RETRY_SECONDS + DEADLINE_SECONDS)
            assert world.text("blog.example.com") == "here"
            assert len(agent.told("app_failed")) == 1


def test_a_stage_that_takes_too_long_is_ended_with_all_that_it_started(world: World) -> None:
    world.configure(limits="{build: 5s}")
    started = world.home / "started"
    world.add_app("blog", "here")
    world.commit({"manifests/blog.yaml": hanging("blog", started)})
    world.add_app("shop", "here")
    began = time.monotonic()
    result = world.once()
    assert time.monotonic() - began < 2 * DEADLINE_SECONDS
    assert str(of(result, "blog").error) == "the build stage took longer than 5 s and was ended"
    assert "raise limits.build in agent.yaml" in str(getattr(of(result, "blog").error, "hint", ""))
    assert of(result, "shop").outcome is Outcome.CHANGED
    assert not Path(f"/proc/{builder(started)}").exists()
    assert of(world.once(), "blog").outcome is Outcome.QUARANTINED


def test_an_attempt_that_a_person_ends_is_told_and_waits_for_a_change(world: World) -> None:
    started = world.home / "started"
    world.add_app("blog", "here")
    world.commit({"manifests/blog.yaml": hanging("blog", started)})
    with working(world) as engine:
        assert [app.outcome for app in engine.look("test").apps] == [Outcome.CHANGED]
        process = builder(started)
        assert not engine.work.abort("nobody", "root")
        assert engine.work.abort("blog", "root")
        wait_for("the end", lambda: engine.work.at_rest)
        assert not Path(f"/proc/{process}").exists()
        assert not engine.work.abort("blog", "root")
        (result,) = engine.look("test").apps
        assert result.outcome is Outcome.QUARANTINED
        assert "was ended by root after " in str(result.error)
        world.commit({"manifests/blog.yaml": manifest("blog")})
        engine.look("test")
        wait_for("the end", lambda: engine.work.at_rest)
        assert world.text("blog.example.com") == "here"


@pytest.mark.load
def test_nine_apps_deploy_at_full_speed_beside_a_build_that_hangs(
    world: World, record_property: Callable[[str, object], None]
) -> None:
    world.configure(repository=NEVER)
    names = [f"app{number}" for number in range(10)]
    for name in names:
        world.add_app(name, "0")
    started = world.home / "started"
    with running(world) as agent:
        for name in names:
            agent.wait_until_told("app_changed", app=name)

        def deploy(apps: list[str], greeting: str, **more: str) -> float:
            time.sleep(turns_module.SLOW_SECONDS / 5)
            world.commit({**{f"apps/{name}/wsgi.py": wsgi_app(greeting) for name in apps}, **more})
            return max(
                wait_for(name, lambda name=name: world.text(f"{name}.example.com") == greeting) for name in apps
            )  # type: ignore[misc]

        alone = [deploy(names[1:], f"alone {number}") for number in range(3)]
        hang = {"manifests/app0.yaml": hanging("app0", started)}
        beside = [deploy(names[1:], f"beside {number}", **hang) for number in range(3)]
        assert Path(f"/proc/{builder(started)}").exists()
    ratio = sorted(beside)[1] / sorted(alone)[1]
    record_property("ratio", round(ratio, 2))
    print(f"nine apps: alone {sorted(alone)} s, beside a build that hangs {sorted(beside)} s, ratio {ratio:.2f}")
    assert ratio < 1.5
