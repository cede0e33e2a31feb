"""Proves that the agent hears of changes, tells what it does, heals at once, ends safely, and does not grow."""

from __future__ import annotations

import gc
import json
import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import canary
import examples
from command_line import environment, reconciler, start
from log_schema import faults_of
from preloaded import Command
from reconciler.agent.agent import Agent
from reconciler.agent.queue import TriggerQueue
from reconciler.agent.schedule import COLLECT_INTERVAL, JITTER_SHARE, REMIND_INTERVAL, shift, start_schedule
from reconciler.agent.telling import Telling
from reconciler.agent.watching import local_folder, start_watching, stop_watching
from reconciler.engine.engine import Engine
from reconciler.engine.results import AppResult, PassResult
from reconciler.engine.surveying import Place
from reconciler.host.nginx_process import answered_generation
from reconciler.model.errors import HostError
from reconciler.model.plan import Outcome
from world import World, manifest, wsgi_app

ANSWER_SECONDS = 30.0
"""How long a test waits for what usually takes one: other tests share the processors."""
END_SECONDS = 10.0
IDLE_SECONDS = 3.0
NEVER = "{url: ./c, branch: main, interval: 1h}"
"""A config repository that is not polled within a test: what is found was seen by the watcher."""


def wait_for(what: str, condition: Callable[[], Any], seconds: float = ANSWER_SECONDS) -> float:
    """Wait until a condition holds; return how many seconds that took."""
    started = time.monotonic()
    while not condition():
        assert time.monotonic() - started < seconds, f"{what}: not within {seconds:g} s"
        time.sleep(0.01)
    return time.monotonic() - started


class RunningAgent:
    """``reconciler run`` as a process of its own; ``lines`` are its log lines, read from a pipe."""

    def __init__(self, world: World, *before: str) -> None:
        world.unsettle()
        ours, theirs = os.pipe()
        self._log = os.fdopen(ours, "rb")
        arguments = ("-c", str(world.agent_file), "run")
        with os.fdopen(theirs, "wb"), Path(os.devnull).open("r+b") as nothing:
            self.process: Command | subprocess.Popen[bytes]
            if before:
                command = [*before, sys.executable, "-m", "reconciler", *arguments]
                self.process = subprocess.Popen(
                    command, stdout=nothing, stderr=theirs, cwd=world.home, env=environment()
                )
            else:
                streams = (nothing.fileno(), nothing.fileno(), theirs)
                self.process = start(*arguments, cwd=world.home, streams=streams)
        self.lines: list[bytes] = []
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        with self._log:
            self.lines.extend(iter(self._log.readline, b""))

    def told_lines(self) -> list[dict[str, Any]]:
        """All log lines; every line must be a JSON object."""
        return [json.loads(line) for line in list(self.lines)]

    def check_lines(self) -> None:
        """Hold every line to docs/logs.md."""
        assert [fault for line in self.told_lines() for fault in faults_of(line)] == []

    def told(self, event: str, **values: object) -> list[dict[str, Any]]:
        """The log lines of an event in which these values stand."""
        return [line for line in self.told_lines() if {"event": event, **values}.items() <= line.items()]

    def wait_until_told(self, event: str, **values: object) -> dict[str, Any]:
        """The first line of an event in which these values stand."""
        try:
            wait_for(f"{event} {values}", lambda: self.told(event, **values))
        except AssertionError as error:
            raise AssertionError(f"{error}\n{b''.join(self.lines).decode()}") from None
        return self.told(event, **values)[0]

    def end(self, number: signal.Signals = signal.SIGTERM, seconds: float = ANSWER_SECONDS) -> tuple[int, float]:
        """Send a signal; the exit status, and how many seconds the end took."""
        started = time.monotonic()
        self.process.send_signal(number)
        status = self.process.wait(seconds)
        ended = time.monotonic() - started
        self._reader.join(seconds)
        return status, ended


@contextmanager
def running(world: World, *before: str) -> Iterator[RunningAgent]:
    """An agent that is ended with the block, if it still runs then; ``before`` begin the command of a new process."""
    agent = RunningAgent(world, *before)
    try:
        yield agent
    except BaseException:
        # pytest shows it beside the failure: what the agent did is the first thing that one wants to know
        print(b"".join(agent.lines).decode())
        raise
    finally:
        if agent.process.poll() is None:
            with suppress(subprocess.TimeoutExpired):
                agent.end(seconds=END_SECONDS)
        if agent.process.poll() is None:
            agent.end(signal.SIGKILL)
    canary.refuse(b"".join(agent.lines), "the agent's log")
    agent.check_lines()


def passes(world: World) -> list[tuple[str, str]]:
    """All passes in the journal: who asked, and how many apps had which outcome."""
    connection = sqlite3.connect(f"{(world.root / 'journal.sqlite3').as_uri()}?mode=ro", uri=True)
    try:
        return connection.execute("SELECT trigger, outcomes FROM passes ORDER BY id").fetchall()
    finally:
        connection.close()


def serves(world: World, page: str) -> Callable[[], bool]:
    """Whether the blog answers with this page."""
    return lambda: world.text("blog.example.com") == page


# hearing of changes


def test_a_commit_is_seen_at_once_and_told_as_json_and_the_agents_own_writes_are_no_news(
    world: World, record_property: Callable[[str, object], None]
) -> None:
    world.configure(repository=NEVER)
    world.add_app("blog", "first")
    with running(world) as agent:
        first = agent.wait_until_told("app_changed", app="blog")
        assert first["trigger"] == "start"
        assert world.text("blog.example.com") == "first"
        for greeting in ("second", "third"):
            commit = world.commit({"apps/blog/wsgi.py": wsgi_app(greeting)})
            seconds = wait_for(f"the {greeting} page", serves(world, greeting))
            record_property(f"seconds to the {greeting} page", round(seconds, 2))
            print(f"commit to page by the file watcher: {seconds:.2f} s")
            line = agent.wait_until_told("app_changed", app="blog", commit=commit[:7])
            # a pass that an own write asked for may find the commit first; either way a file event led to it
            assert "file:" in line["trigger"]
            assert line["stages"] == ["source", "vassal"]
            assert {"timestamp", "level", "release", "revision", "seconds"} <= line.keys()

        before = passes(world)
        time.sleep(IDLE_SECONDS)
        after = passes(world)
        # the look that ends the last deploy, and one that what it wrote may have started; both found nothing to do
        assert len(after) - len(before) <= 2
        assert {outcomes for _, outcomes in after[len(before) :]} <= {'{"unchanged": 1}'}
        assert len(agent.told("app_changed")) == 3
        assert not [line for line in map(json.loads, agent.lines) if line["level"] != "info"]


def test_a_poll_finds_a_commit_in_the_repository_of_an_app(world: World) -> None:
    code = examples.new_repository(world.home / "code")
    examples.write_and_commit(code, {"wsgi.py": wsgi_app("one")}, "One")
    source = {"repository": code.as_uri(), "revision": "main", "directory": "."}
    world.commit({"manifests/blog.yaml": manifest("blog", source=source)})
    with running(world) as agent:
        agent.wait_until_told("app_changed", app="blog")
        # the look that ends the work, and one that the files led to which it wrote, would find the commit too
        wait_for("two quiet polls", lambda: [trigger for trigger, _ in passes(world)][-2:] == ["poll", "poll"])
        commit = examples.write_and_commit(code, {"wsgi.py": wsgi_app("two")}, "Two")
        line = agent.wait_until_told("app_changed", app="blog", commit=commit[:7])
        assert "poll" in line["trigger"]
        assert world.text("blog.example.com") == "two"


def test_what_is_changed_behind_gits_back_is_healed_at_once(world: World) -> None:
    world.configure(repository=NEVER, drift="{interval: 1h}")
    world.add_app("blog", "here")
    with running(world) as agent:
        agent.wait_until_told("app_changed", app="blog")
        site = world.root / "nginx/sites/blog.conf"
        original = site.read_text()

        site.write_text(original.replace("client_max_body_size 1m", "client_max_body_size 9m"))
        seconds = wait_for("the edited site file", lambda: site.read_text() == original)
        print(f"an edited site file is healed after {seconds:.2f} s")
        line = agent.wait_until_told("app_changed", app="blog", stages=["nginx"])
        assert "file:drift" in line["trigger"]

        site.unlink()
        wait_for("the removed site file", lambda: site.exists() and site.read_text() == original)

        (vassal,) = (world.root / "vassals").glob("*.ini")
        text = vassal.read_text()
        vassal.write_text(text.replace("processes = 1", "processes = 3"))
        wait_for("the edited vassal", lambda: vassal.exists() and vassal.read_text() == text)

        link = world.root / "public/blog"
        target = link.readlink()
        link.unlink()
        wait_for("the removed link", lambda: link.is_symlink() and link.readlink() == target)
        wait_for("the page", lambda: world.get("/", "blog.example.com").text == "here")


def test_a_repository_that_is_away_for_a_while_is_told_once_and_takes_nothing_down(world: World) -> None:
    world.add_app("blog", "here")
    with running(world) as agent:
        agent.wait_until_told("app_changed", app="blog")
        away = world.config.rename(world.home / "away")
        told = agent.wait_until_told("pass_failed")
        assert told["level"] == "error"
        assert str(world.config) in told["error"]
        count = len(passes(world))
        wait_for("two more passes", lambda: len(passes(world)) >= count + 2)
        assert len(agent.told("pass_failed")) == 1
        assert world.text("blog.example.com") == "here"
        examples.write_and_commit(away, {"apps/blog/wsgi.py": wsgi_app("back")}, "Back")
        away.rename(world.config)
        wait_for("the new page", serves(world, "back"))


def test_a_log_on_a_full_disk_does_not_end_the_agent(world: World) -> None:
    world.add_app("blog", "first")
    world.unsettle()
    with Path("/dev/full").open("w") as full:
        agent = start("-c", str(world.agent_file), "run", streams=(full.fileno(),) * 3)
    try:
        # that something listens is no sign: `nginx -t` does too, for the moment of its test, and answers nobody
        control = world.root / "run" / "nginx.control"
        wait_for("nginx, which starts with the first release", lambda: answered_generation(control))
        wait_for("the first release", serves(world, "first"))
        world.commit({"apps/blog/wsgi.py": wsgi_app("second")})
        wait_for("the second release", serves(world, "second"))
        assert agent.poll() is None
        agent.send_signal(signal.SIGTERM)
        assert agent.wait(END_SECONDS) == 0
    finally:
        agent.kill()
        agent.wait()


def test_a_journal_that_cannot_be_written_for_a_while_does_not_end_the_agent(world: World) -> None:
    world.add_app("blog", "here")
    with running(world) as agent:
        agent.wait_until_told("app_changed", app="blog")
        other = sqlite3.connect(world.root / "journal.sqlite3", isolation_level=None)
        try:
            other.execute("BEGIN IMMEDIATE")
            told = agent.wait_until_told("pass_failed")
        finally:
            other.close()
        assert "journal" in told["error"]
        world.commit({"apps/blog/wsgi.py": wsgi_app("again")})
        wait_for("the new page", serves(world, "again"))


# ending


def test_a_second_agent_says_who_holds_the_state_folder_and_ends(world: World) -> None:
    world.add_app("blog", "here")
    with running(world) as agent:
        agent.wait_until_told("app_changed", app="blog")
        for command in ("run", "once"):
            second = reconciler("-c", str(world.agent_file), command, cwd=world.home)
            assert second.status == 1
            assert f"another reconciler (process {agent.process.pid}, since 2" in second.err
            assert f") works on {world.root}" in second.err
            assert "hint:" in second.err
            assert "Traceback" not in second.err
        assert agent.process.poll() is None


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_an_idle_agent_ends_at_once_and_the_sites_keep_serving(world: World, number: signal.Signals) -> None:
    world.add_app("blog", "here")
    with running(world) as agent:
        agent.wait_until_told("app_changed", app="blog")
        status, seconds = agent.end(number)
        print(f"{number.name} ends an idle agent after {seconds:.2f} s")
        assert (status, seconds < END_SECONDS) == (0, True)
        assert agent.told("agent_stopped")
        assert world.text("blog.example.com") == "here"


@pytest.mark.long
def test_an_agent_that_builds_ends_soon_leaves_nothing_running_and_the_next_one_carries_on(world: World) -> None:
    world.add_app("blog", "old")
    started, go = world.home / "started", world.home / "go"
    wait = f"echo $$ > {started}; test -e {go} || exec sleep 600"
    with running(world) as agent:
        agent.wait_until_told("app_changed", app="blog")
        world.commit(
            {
                "apps/blog/wsgi.py": wsgi_app("new"),
                "manifests/blog.yaml": manifest("blog", build={"commands": [wait]}),
            }
        )
        wait_for("the build command", lambda: started.exists() and started.read_text().strip())
        builder = int(started.read_text())
        status, seconds = agent.end()
        print(f"SIGTERM ends an agent in the middle of a build after {seconds:.2f} s")
        assert (status, seconds < END_SECONDS) == (0, True)
        assert agent.told("work_interrupted")
        assert not agent.told("app_failed")
        assert not Path(f"/proc/{builder}").exists()
    assert world.text("blog.example.com") == "old"
    assert not list((world.root / "store/build").glob(".tmp-*"))
    go.touch()
    with running(world) as agent:
        agent.wait_until_told("app_changed", app="blog")
        assert world.text("blog.example.com") == "new"


def test_a_vassal_that_a_killed_agent_left_behind_is_ended_by_the_next_pass(world: World) -> None:
    world.add_app("blog", "old")
    world.once()
    (old,) = (world.root / "vassals").glob("*.ini")
    kept = {path: path.read_text() for path in (old, old.with_suffix(".env"))}
    world.commit({"apps/blog/wsgi.py": wsgi_app("new")})
    world.once()
    (new,) = (world.root / "vassals").glob("*.ini")
    # as if the agent had been killed while the old release drained
    for path, text in kept.items():
        path.write_text(text)
    world.once()
    assert list((world.root / "vassals").glob("*.ini")) == [new]
    assert world.text("blog.example.com") == "new"


# reading the configuration again


def test_hangup_reads_the_configuration_and_a_wrong_one_changes_nothing(world: World) -> None:
    world.configure(repository=NEVER)
    world.add_app("blog", "here")
    world.add_app("shop", "here", placement={"role": "shop"})
    with running(world) as agent:
        agent.wait_until_told("app_changed", app="blog")
        world.agent_file.write_text(world.agent_file.read_text() + "no such key: 1\n")
        agent.process.send_signal(signal.SIGHUP)
        refused = agent.wait_until_told("configuration_refused")
        assert "no such key" in refused["error"]
        world.configure(repository=NEVER, root="./elsewhere")
        agent.process.send_signal(signal.SIGHUP)
        wait_for("the second refusal", lambda: len(agent.told("configuration_refused")) == 2)
        assert "restart the agent" in agent.told("configuration_refused")[1]["hint"]
        assert not agent.told("configuration_read")

        world.configure(repository=NEVER, host="{name: web9, labels: {role: shop}}", log="{level: debug}")
        agent.process.send_signal(signal.SIGHUP)
        assert agent.wait_until_told("configuration_read")["host"] == "web9"
        agent.wait_until_told("app_changed", app="shop")
        assert agent.told("pass_began")
        assert world.text("blog.example.com") == "here"
        world.commit({"apps/blog/wsgi.py": wsgi_app("again")})
        wait_for("the new page", serves(world, "again"))
        status, seconds = agent.end()
        assert (status, seconds < END_SECONDS) == (0, True)


def test_a_hangup_while_the_configuration_is_read_reads_it_once_more(world: World) -> None:
    world.add_app("blog", "here")

    @dataclass
    class Renewing:
        """Reads the configuration, and is told of a change meanwhile."""

        checks: int = 0
        renewed: int = 0

        def check(self) -> None:
            self.checks += 1

        def renew(self) -> tuple[Engine, str]:
            self.renewed += 1
            with pytest.raises(HostError, match="reading its configuration anew"):
                agent.journal.apps()
            if self.renewed == 1:
                agent._read_configuration()
            else:
                end()
            return engine, "host"

    def end() -> None:
        agent._ending = True
        agent.queue.close()

    with world.engine() as engine:
        renewing = Renewing()
        agent = Agent(engine, "host", renewing)
        running = threading.Thread(target=agent.run)
        running.start()
        try:
            wait_for("the first look", lambda: passes(world))
            agent._read_configuration()
            running.join(ANSWER_SECONDS)
            assert not running.is_alive()
        finally:
            end()
            running.join(ANSWER_SECONDS)
    assert (renewing.checks, renewing.renewed) == (2, 2)


def test_hangup_in_the_middle_of_a_build_begins_it_anew(world: World) -> None:
    world.configure(repository=NEVER)
    started, go = world.home / "started", world.home / "go"
    wait = f"echo $$ >> {started}; test -e {go} || exec sleep 600"
    world.add_app("blog", "here", build={"commands": [wait]})
    with running(world) as agent:
        wait_for("the build command", lambda: started.exists() and started.read_text().strip())
        builder = int(started.read_text())
        go.touch()
        agent.process.send_signal(signal.SIGHUP)
        agent.wait_until_told("configuration_read")
        agent.wait_until_told("app_changed", app="blog")
        assert not Path(f"/proc/{builder}").exists()
        assert world.text("blog.example.com") == "here"


# living long


@pytest.mark.long
def test_two_hundred_passes_hold_no_more_than_one(world: World) -> None:
    world.add_app("blog", "here")
    descriptors: list[int] = []
    memory: list[int] = []
    with world.engine() as engine:
        for number in range(200):
            if number % 10 == 0:
                world.commit({"NOTES.txt": f"note {number}"})
            result = engine.reconcile("test")
            assert not result.failed
            if number in (19, 199):
                gc.collect()
                descriptors.append(len(list(Path("/proc/self/fd").iterdir())))
                memory.append(int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE"))
    grown = (memory[1] - memory[0]) / 1024**2
    print(f"180 passes: {descriptors[1] - descriptors[0]:+d} descriptors, {grown:+.2f} MiB")
    assert descriptors[1] <= descriptors[0]
    assert grown < 4


# parts


def test_triggers_merge_until_they_are_taken_and_none_comes_after_the_end() -> None:
    queue = TriggerQueue()
    for trigger in ("poll", "file:git", "poll"):
        queue.put(trigger)
    assert queue.take() == "poll+file:git"
    taken: list[str | None] = []
    waiting = threading.Thread(target=lambda: [taken.append(queue.take()) for _ in range(2)])
    waiting.start()
    queue.put("drift")
    wait_for("the trigger", lambda: taken)
    queue.close()
    waiting.join(ANSWER_SECONDS)
    assert taken == ["drift", None]
    queue.put("late")
    assert queue.take() is None


def test_a_burst_of_file_events_is_one_pass() -> None:
    queue = TriggerQueue()
    queue.put("file:git")
    late = threading.Timer(0.05, queue.put, ["file:drift"])
    late.start()
    assert queue.take(settle_seconds=1.0) == "file:git+file:drift"


def test_hosts_poll_apart_and_each_always_at_its_own_shift() -> None:
    from datetime import timedelta

    minute = timedelta(minutes=1)
    shifts = [shift(f"web{number}", minute) for number in range(20)]
    assert len(set(shifts)) == 20
    assert all(timedelta(0) <= one < minute * JITTER_SHARE for one in shifts)
    assert shifts == [shift(f"web{number}", minute) for number in range(20)]


def test_the_clock_asks_for_polls_scans_collections_and_reminders_each_once_at_a_time() -> None:
    from datetime import timedelta

    minute = timedelta(minutes=1)
    scheduler = start_schedule(lambda _trigger: None, host="web1", poll=minute, drift=5 * minute)
    try:
        jobs = {job.id: job for job in scheduler.get_jobs()}
        assert {name: job.trigger.interval for name, job in jobs.items()} == {
            "poll": minute,
            "drift": 5 * minute,
            "collect": COLLECT_INTERVAL,
            "remind": REMIND_INTERVAL,
        }
        assert all(job.coalesce and job.max_instances == 1 for job in jobs.values())
    finally:
        scheduler.shutdown(wait=False)


def test_an_error_that_lasts_is_told_once_and_again_when_it_is_time(
    configure_logs: Callable[[], None], capsys: pytest.CaptureFixture[str]
) -> None:
    configure_logs()
    telling = Telling()
    failed = AppResult("blog", Outcome.FAILED, error=HostError("the disk is full"))
    for trigger in ("poll", "poll", "poll+remind", "poll"):
        telling.tell_look(PassResult("c", (failed,)), trigger)
    told = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert [line["trigger"] for line in told if line["event"] == "app_failed"] == ["poll", "poll+remind"]


def test_what_nobody_needs_is_collected_by_the_clock_too(world: World) -> None:
    world.add_app("blog", "here")
    with world.engine() as engine:
        assert not engine.reconcile("test").failed
        stray = world.root / "store/static/stray"
        stray.mkdir(parents=True)
        engine.look("poll")
        assert stray.exists()
        engine.look("collect")
        assert not stray.exists()


def test_only_repositories_of_this_machine_are_watched(tmp_path: Path) -> None:
    tree = examples.new_repository(tmp_path / "tree")
    bare = tmp_path / "bare.git"
    examples.git(tmp_path, "init", "--quiet", "--bare", str(bare))
    assert local_folder(str(tree)) == tree / ".git"
    assert local_folder(tree.as_uri()) == tree / ".git"
    assert local_folder(str(bare)) == bare
    for elsewhere in ("https://example.com/a.git", "git@example.com:a.git", str(tmp_path), str(tmp_path / "none")):
        assert local_folder(elsewhere) is None


def test_files_written_aside_and_files_only_read_ask_for_nothing(tmp_path: Path) -> None:
    asked: list[str] = []
    observer = start_watching(asked.append, [], [Place(tmp_path)])
    assert observer is not None
    try:
        (tmp_path / ".tmp-1").write_text("x")
        (tmp_path / "index.lock").write_text("x")
        (tmp_path / ".tmp-1").read_text()
        list(tmp_path.iterdir())
        # events come in order: once this one has been heard, the others have been
        (tmp_path / "site.conf").write_text("x")
        wait_for("the event", lambda: asked)
        known = len(asked)
        (tmp_path / ".tmp-1").unlink()
        (tmp_path / "site.conf").read_text()
        (tmp_path / "other.conf").write_text("x")
        wait_for("the other event", lambda: len(asked) > known)
    finally:
        stop_watching(observer)
    assert set(asked) == {"file:drift"}
