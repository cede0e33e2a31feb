"""Proves that commands steer a running agent through its socket, that no client disturbs it, and do without one."""

from __future__ import annotations

import grp
import json
import os
import socket
import stat
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

import reconciler.agent.control as control_module
from command_line import Ended
from command_line import reconciler as run_reconciler
from reconciler.agent.control import CLIENTS_AT_ONCE, ControlServer
from reconciler.agent.waiting import NoAnswer, Waiting
from reconciler.engine.operating import resume, suspend
from reconciler.engine.results import AppResult, PassResult
from reconciler.engine.results_wire import as_wire, from_wire
from reconciler.host.control_socket import CONTROL_GROUP, Peer, listen, may_speak
from reconciler.host.journal import Journal
from reconciler.host.layout import Layout
from reconciler.host.locking import AGENT, holder_of, state_lock
from reconciler.model.control import (
    REQUEST_BYTES,
    Command,
    Request,
    read_answer,
    read_request,
    write_answer,
    write_error,
    write_request,
)
from reconciler.model.errors import ReconcilerError, StageFailed, StateLocked, UsageError
from reconciler.model.plan import AppPlan, Change, Outcome
from reconciler.model.stage import Action, Reason, StageName
from test_agent import ANSWER_SECONDS, NEVER, passes, running, serves, wait_for
from world import World, manifest, wsgi_app

MEBIBYTE = 1024 * 1024


# the language


@pytest.mark.parametrize(
    "request_",
    [
        Request(Command.SYNC),
        Request(Command.SYNC, "blog", wait=False, seconds=3.5),
        Request(Command.SUSPEND, "blog", "the database moves"),
        Request(Command.RESUME, "blog"),
        Request(Command.RETRY, "blog"),
        Request(Command.ABORT, "blog"),
    ],
)
def test_a_request_is_read_as_it_was_written(request_: Request) -> None:
    line = write_request(request_)
    assert line.count(b"\n") == 1
    assert read_request(line) == request_


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        (b"", "the request is no JSON: ''"),
        (b"sync\n", "the request is no JSON: 'sync\\n'"),
        (b"\xff\xfe\n", "the request is no JSON"),
        (b"[" * 5000, "the request is no JSON"),
        (b'"sync"', "the request is no JSON object: 'sync'"),
        (b'{"command": "sync"}', "version 1 of the control protocol, and was asked in version None"),
        (b'{"version": 2, "command": "sync"}', "asked in version 2"),
        (b'{"version": 1}', "no command None; there are: sync, suspend, resume, retry, abort"),
        (b'{"version": 1, "command": "stop"}', "no command 'stop'"),
        (b'{"version": 1, "command": ["sync"]}', "no command ['sync']"),
        (b'{"version": 1, "command": "sync", "force": true}', "sync takes no 'force'"),
        (b'{"version": 1, "command": "resume", "app": "a", "reason": "b"}', "resume takes no 'reason'"),
        (b'{"version": 1, "command": "sync", "app": 7}', "app is 7, which it cannot be"),
        (b'{"version": 1, "command": "sync", "wait": "no"}', "wait is 'no', which it cannot be"),
        (b'{"version": 1, "command": "sync", "seconds": true}', "seconds is True, which it cannot be"),
        (b'{"version": 1, "command": "sync", "seconds": 0}', "seconds is 0, not between 0 and 86400"),
        (b'{"version": 1, "command": "sync", "seconds": NaN}', "not between 0 and 86400"),
        (b'{"version": 1, "command": "retry"}', "retry needs an app"),
        (b'{"version": 1, "command": "suspend", "app": "a"}', "the reason is empty"),
        (b'{"version": 1, "command": "suspend", "app": "a", "reason": " \\n"}', "the reason is empty"),
        (b'{"version": 1, "command": "suspend", "app": "a", "reason": "\\u001b[2J"}', "control characters"),
        (
            json.dumps({"version": 1, "command": "suspend", "app": "a", "reason": "x" * 501}).encode(),
            "501 characters",
        ),
    ],
)
def test_a_wrong_request_is_refused_with_a_sentence(line: bytes, sentence: str) -> None:
    with pytest.raises(UsageError) as refused:
        read_request(line)
    assert sentence in str(refused.value)
    assert len(str(refused.value)) < 200


def test_an_answer_is_read_as_it_was_written_and_an_error_is_raised() -> None:
    assert read_answer(write_answer({"released": True}))["released"] is True
    for error, kind in ((UsageError("no app", hint="look"), UsageError), (StageFailed("no"), ReconcilerError)):
        with pytest.raises(kind) as raised:
            read_answer(write_error(error))
        assert (str(raised.value), raised.value.hint) == (str(error), error.hint)
    for line in (b"", b"{}", b'{"version": 1}', b'{"version": 1, "ok": false, "error": 3}', b"[]"):
        with pytest.raises(ReconcilerError):
            read_answer(line)


def test_a_result_is_told_as_a_pass_would_print_it() -> None:
    change = Change(StageName.SOURCE, Action.UPDATE, (Reason.DRIFTED,), ("a -> b",), "ff")
    error = StageFailed("it failed", hint="mend it", tail="line 1\nline 2")
    apps = (
        AppResult("a", Outcome.CHANGED, AppPlan("a", (change,)), "c1", "r1", None, "n", {StageName.SOURCE: 0.5}, 0.7),
        AppResult("b", Outcome.FAILED, AppPlan("b"), error=error),
    )
    result = PassResult("c0", apps, ("a problem",), ("a note",), None, 1.5)
    told = from_wire(json.loads(json.dumps(as_wire(result))))
    assert told.apps[0] == apps[0]
    failed = told.apps[1].error
    assert isinstance(failed, StageFailed)
    assert (str(failed), failed.hint, failed.tail) == ("it failed", "mend it", "line 1\nline 2")
    assert told.as_json() == result.as_json()


# waiting for the end


def ended(app: str, outcome: Outcome = Outcome.CHANGED) -> AppResult:
    return AppResult(app, outcome)


def test_who_asks_hears_of_the_next_look_and_of_the_work_that_it_found() -> None:
    waiting, told = Waiting(), []
    at_rest = threading.Event()
    waiting.look_began()
    asked = waiting.ask(None)
    client = threading.Thread(
        target=lambda: told.append(waiting.wait(asked, 30, at_rest=at_rest.is_set, given_up=lambda: False))
    )
    client.start()
    # the look that was under way may have asked git before the commit
    waiting.look_ended(PassResult("old", (ended("a", Outcome.UNCHANGED),)))
    waiting.look_began()
    waiting.look_ended(PassResult("new", (ended("a"), ended("b"), ended("c", Outcome.UNCHANGED))))
    waiting.attempt_ended(ended("a"))
    client.join(0.2)
    assert client.is_alive()
    waiting.attempt_ended(ended("b", Outcome.FAILED))
    client.join(ANSWER_SECONDS)
    (result,) = told
    assert result.revision == "new"
    outcomes = {app.app: app.outcome for app in result.apps}
    assert outcomes == {"a": Outcome.CHANGED, "b": Outcome.FAILED, "c": Outcome.UNCHANGED}


def test_what_a_pass_under_way_changed_is_told_although_the_next_one_finds_nothing_to_do() -> None:
    waiting = Waiting()
    waiting.look_began()
    asked = waiting.ask(None)
    waiting.attempt_ended(ended("a"))
    waiting.look_ended(PassResult("new", (ended("a"),)))
    waiting.look_began()
    waiting.attempt_ended(ended("a", Outcome.UNCHANGED))
    waiting.look_ended(PassResult("new", (ended("a", Outcome.UNCHANGED),)))
    result = waiting.wait(asked, 30, at_rest=lambda: True, given_up=lambda: False)
    assert result is not None
    assert [app.outcome for app in result.apps] == [Outcome.CHANGED]


def test_who_waits_for_one_app_does_not_wait_for_the_others() -> None:
    waiting = Waiting()
    asked = waiting.ask("quick")
    waiting.look_began()
    waiting.look_ended(PassResult("new", (ended("quick"), ended("slow")), ("a problem of nobody",)))
    waiting.attempt_ended(ended("quick"))
    result = waiting.wait(asked, 30, at_rest=lambda: False, given_up=lambda: False)
    assert result is not None
    assert ([app.app for app in result.apps], result.problems) == (["quick"], ())
    asked = waiting.ask("nope")
    waiting.look_began()
    waiting.look_ended(PassResult("new", (ended("quick"),)))
    with pytest.raises(UsageError, match="there is no app nope on this host"):
        waiting.wait(asked, 30, at_rest=lambda: True, given_up=lambda: False)


def test_a_wait_ends_after_its_time_with_the_agent_and_with_the_client() -> None:
    waiting = Waiting()
    with pytest.raises(NoAnswer, match="not done within 0.1 s"):
        waiting.wait(waiting.ask(None), 0.1, at_rest=lambda: True, given_up=lambda: False)
    assert waiting.wait(waiting.ask(None), 30, at_rest=lambda: True, given_up=lambda: True) is None
    waiting.close()
    with pytest.raises(NoAnswer, match="the agent ended"):
        waiting.wait(waiting.ask(None), 30, at_rest=lambda: True, given_up=lambda: False)


# the server


class Steered:
    """An agent that only notes what it is asked for; ``go`` ends the work that ``sync`` waits for."""

    def __init__(self, journal: Journal) -> None:
        self.journal = journal
        self.asked: list[str] = []
        self.go = threading.Event()
        self.left = threading.Event()

    def ask_for_pass(self, trigger: str) -> None:
        self.asked.append(trigger)

    def sync(self, app: str | None, seconds: float, given_up: Callable[[], bool]) -> PassResult | None:
        self.asked.append(f"sync {app}")
        while not self.go.wait(0.01):
            if given_up():
                self.left.set()
                return None
        return PassResult("c", ())

    def abort(self, app: str, who: str) -> bool:
        self.asked.append(f"abort {app}")
        return True

    def forget_back_off(self, app: str) -> None:
        self.asked.append(f"forget {app}")


@contextmanager
def serving(folder: Path) -> Iterator[tuple[ControlServer, Steered]]:
    with Journal.open(folder / "journal") as journal:
        journal.record_error("blog", "it failed")
        steered = Steered(journal)
        server = ControlServer(steered, folder / "control.sock")
        assert server.start()
        try:
            yield server, steered
        finally:
            server.close()


@pytest.fixture
def short() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="rc-") as folder:
        yield Path(folder)


def connected(server: ControlServer) -> socket.socket:
    client = socket.socket(socket.AF_UNIX)
    client.settimeout(ANSWER_SECONDS)
    client.connect(str(server.path))
    return client


def say(server: ControlServer, data: bytes) -> dict[str, Any]:
    """Send bytes, and read one answer."""
    with connected(server) as client:
        # it may be told that this is too much before it has said everything
        with suppress(OSError):
            client.sendall(data)
        with client.makefile("rb") as answers:
            return json.loads(answers.readline())


def request(command: Command, app: str | None = "blog", **more: Any) -> bytes:
    return write_request(Request(command, app, **more))


def test_the_socket_has_its_mode_and_group_and_goes_with_the_server(short: Path) -> None:
    (short / "control.sock").touch()
    with serving(short) as (server, _):
        status = server.path.stat()
        assert stat.S_ISSOCK(status.st_mode)
        assert stat.S_IMODE(status.st_mode) == 0o660
        assert status.st_uid == os.geteuid()
        assert status.st_gid == expected_group()
        assert not list(short.glob(".tmp-*"))
    assert not server.path.exists()


def expected_group() -> int:
    try:
        group = grp.getgrnam(CONTROL_GROUP).gr_gid
    except KeyError:
        return os.getegid()
    return group if os.geteuid() == 0 or group in os.getgroups() else os.getegid()


def test_the_socket_is_given_to_the_group_where_the_agent_may(short: Path) -> None:
    groups = [grp.getgrgid(number).gr_name for number in os.getgroups() if number != os.getegid()]
    groups += [entry.gr_name for entry in grp.getgrall() if os.geteuid() == 0 and entry.gr_gid != os.getegid()]
    if not groups:
        pytest.skip("this account is in one group only")
    with listen(short / "one", groups[0]):
        assert grp.getgrgid((short / "one").stat().st_gid).gr_name == groups[0]
    with listen(short / "two", "no-such-group"):
        assert (short / "two").stat().st_gid == os.getegid()


def test_root_the_own_account_and_members_of_the_group_may_speak() -> None:
    own, group = os.getuid(), 54321
    assert may_speak(Peer(1, 0, 0), owner=own, group=group)
    assert may_speak(Peer(1, own, 1), owner=own, group=group)
    assert may_speak(Peer(1, 60001, group), owner=own, group=group)
    assert not may_speak(Peer(1, 60001, 60001), owner=own, group=group)
    assert Peer(1, 60001, 60001).name == "user 60001"


def test_a_stranger_is_refused_even_where_the_file_lets_it_in(short: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(short) as (server, steered):
        monkeypatch.setattr(control_module, "peer_of", lambda _: Peer(7, 60001, 60001))
        answer = say(server, request(Command.SYNC, None, wait=False))
        assert answer["error"]["message"] == "user 60001 may not steer this agent"
        assert steered.asked == []


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (b"rubbish\n", "the request is no JSON"),
        (b"\x00" * 100 + b"\n", "the request is no JSON"),
        (b"x" * MEBIBYTE, f"the request is longer than {REQUEST_BYTES} bytes"),
        (b"x" * MEBIBYTE + b"\n", f"the request is longer than {REQUEST_BYTES} bytes"),
        (b"{" + b" " * (REQUEST_BYTES - 1) + b"\n", f"the request is longer than {REQUEST_BYTES} bytes"),
        (b'{"version": 1}', "no whole request came within 0.2 s"),
        (b"", "no whole request came within 0.2 s"),
    ],
    ids=["rubbish", "zeros", "1 MiB", "1 MiB and a line break", "one byte too many", "no line break", "nothing"],
)
def test_a_client_that_talks_rubbish_is_told_and_harms_nobody(
    short: Path, data: bytes, sentence: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(control_module, "REQUEST_SECONDS", 0.2)
    with serving(short) as (server, steered):
        answer = say(server, data)
        assert answer["ok"] is False
        assert sentence in answer["error"]["message"]
        with connected(server):
            pass
        assert say(server, request(Command.SYNC, None, wait=False))["ok"] is True
        assert steered.asked == ["sync"]


def test_one_connection_may_ask_for_many_things_and_close_its_side_early(short: Path) -> None:
    with serving(short) as (server, steered), connected(server) as client:
        lines = [request(Command.RETRY), b"rubbish\n", request(Command.ABORT), request(Command.SYNC, None)]
        client.sendall(b"".join(lines))
        client.shutdown(socket.SHUT_WR)
        steered.go.set()
        with client.makefile("rb") as answers:
            told = [json.loads(answer) for answer in answers]
        assert [answer["ok"] for answer in told] == [True, False, True, True]
        assert steered.asked == ["forget blog", "retry", "abort blog", "sync None"]


def test_clients_that_hang_and_clients_that_wait_hold_nobody_up(short: Path) -> None:
    with serving(short) as (server, steered):
        silent = [connected(server) for _ in range(20)]
        waiting = [connected(server) for _ in range(20)]
        for client in waiting:
            client.sendall(request(Command.SYNC, None))
        started = time.monotonic()
        assert say(server, request(Command.SUSPEND, reason="now"))["before"] is None
        assert time.monotonic() - started < control_module.REQUEST_SECONDS
        wait_for("all of them", lambda: steered.asked.count("sync None") == 20)
        steered.go.set()
        for client in waiting:
            with client, client.makefile("rb") as answers:
                assert json.loads(answers.readline())["ok"] is True
        for client in silent:
            client.close()


def test_a_client_that_goes_away_is_not_waited_for(short: Path) -> None:
    with serving(short) as (server, steered):
        with connected(server) as client:
            client.sendall(request(Command.SYNC, None))
            wait_for("the request", lambda: steered.asked)
        assert steered.left.wait(ANSWER_SECONDS)


def test_one_client_too_many_is_told_to_come_again(short: Path) -> None:
    with serving(short) as (server, steered):
        clients = [connected(server) for _ in range(CLIENTS_AT_ONCE)]
        for client in clients:
            client.sendall(request(Command.SYNC, None))
        wait_for("all of them", lambda: len(steered.asked) == CLIENTS_AT_ONCE)
        answer = say(server, request(Command.RETRY))
        assert "too many commands wait" in answer["error"]["message"]
        for client in clients:
            client.close()
        wait_for("a place", lambda: say(server, request(Command.RETRY))["ok"])


def test_a_socket_that_cannot_be_made_is_told_and_ends_nothing(short: Path) -> None:
    with Journal.open(short / "journal") as journal:
        assert not ControlServer(Steered(journal), short / ("x" * 120)).start()


# suspensions in the journal


def test_a_suspension_is_remembered_with_who_and_why_until_it_ends(short: Path) -> None:
    with Journal.open(short / "journal") as journal:
        with pytest.raises(UsageError, match="this host knows no app 'blog'"):
            suspend(journal, "blog", "first", "anna")
        journal.record_error("blog", "known by its error")
        assert suspend(journal, "blog", "first", "anna") is None
        before = suspend(journal, "blog", "second", "ben")
        assert before is not None
        assert before.sentence.startswith("suspended by anna since ")
    with Journal.open(short / "journal") as journal:
        (kept,) = journal.suspensions().values()
        assert (kept.app, kept.reason, kept.by) == ("blog", "second", "ben")
        assert resume(journal, "blog", "anna").before == kept
        assert resume(journal, "blog", "anna").before is None
        assert journal.suspensions() == {}
        assert [event.kind for event in journal.events("blog")] == ["resumed", "suspended", "suspended"]


def test_the_holder_of_a_state_folder_can_be_asked_for_without_disturbing_it(short: Path) -> None:
    layout = Layout(short)
    assert holder_of(layout) is None
    with state_lock(layout, AGENT):
        holder = holder_of(layout)
        assert holder is not None
        assert (holder.process, holder.what) == (os.getpid(), AGENT)
        assert holder.since is not None
        assert time.time() - holder.since < ANSWER_SECONDS
        with pytest.raises(StateLocked, match=f"process {os.getpid()}, since 2"), state_lock(layout):
            pass
        # as a version before this one wrote it, and one that was only about to
        for text, process in (("4711\n", 4711), ("", None)):
            layout.lock.write_text(text)
            found = holder_of(layout)
            assert found is not None
            assert (found.process, found.since) == (process, None)
    assert holder_of(layout) is None


# commands, with an agent and without one


def command(world: World, *arguments: str) -> Ended:
    return run_reconciler("-c", str(world.agent_file), *arguments)


def test_every_command_speaks_to_a_running_agent(world: World) -> None:
    world.configure(repository=NEVER)
    world.add_app("blog", "one")
    with running(world) as agent:
        agent.wait_until_told("app_changed", app="blog")
        status = json.loads(command(world, "status", "--json").out)
        assert status["agent"]["process"] == agent.process.pid

        suspended = command(world, "suspend", "blog", "--reason", "the database moves")
        assert (suspended.status, suspended.err) == (0, "")
        commit = world.commit({"apps/blog/wsgi.py": wsgi_app("two")})
        synced = command(world, "sync")
        assert synced.status == 0
        assert "suspended by root" in synced.out or "suspended by" in synced.out
        assert "the database moves" in synced.out
        assert world.text("blog.example.com") == "one"

        resumed = command(world, "resume", "blog")
        assert "Resumed blog; it was suspended by" in resumed.out
        synced = command(world, "sync", "--app", "blog")
        assert synced.status == 0
        assert agent.wait_until_told("app_changed", app="blog", commit=commit[:7])
        assert world.text("blog.example.com") == "two"

        world.commit({"apps/blog/wsgi.py": "import nothing_like_this\n"})
        failed = command(world, "sync")
        assert failed.status == 1
        assert "nothing_like_this" in failed.out
        again = command(world, "retry", "blog")
        assert again.out.startswith("blog was quarantined; the agent looks at it now.")
        agent.wait_until_told("control_request", command="retry", app="blog")

        for wrong, sentence in (
            (["sync", "--app", "nope"], "there is no app nope on this host"),
            (["suspend", "nope", "--reason", "x"], "this host knows no app 'nope'"),
            (["resume", "nope"], "this host knows no app 'nope'"),
            (["retry", "nope"], "this host knows no app 'nope'"),
        ):
            refused = command(world, *wrong)
            assert (refused.status, refused.out) == (2, "")
            assert refused.err.startswith(f"error: {sentence}")
        assert command(world, "sync", "--no-wait").out.startswith("The agent was asked for a pass")
        assert not agent.told("unexpected_error")


def test_an_attempt_is_ended_by_a_person_and_not_begun_again(world: World) -> None:
    world.configure(repository=NEVER)
    world.add_app("blog", "one")
    with running(world) as agent:
        agent.wait_until_told("app_changed", app="blog")
        assert "Nothing is being deployed for blog" in command(world, "abort", "blog").out
        assert command(world, "abort", "nope").status == 2

        started = world.home / "started"
        build = {"commands": [f"echo $$ > {started}; exec sleep 600"]}
        world.commit({"manifests/blog.yaml": manifest("blog", build=build)})
        wait_for("the build", lambda: started.exists() and started.read_text().strip())
        aborted = command(world, "abort", "blog")
        assert (aborted.status, aborted.err) == (0, "")
        assert aborted.out.startswith("The attempt to deploy blog ends at a safe point")
        failed = agent.wait_until_told("app_failed", app="blog")
        assert "was ended by" in failed["error"]
        assert not Path(f"/proc/{int(started.read_text())}").exists()
        assert world.text("blog.example.com") == "one"

        started.unlink()
        assert command(world, "sync").status == 1
        assert not started.exists()
        assert command(world, "retry", "blog").status == 0
        wait_for("the build", started.exists)
        # what is under way is given up for a suspension
        assert command(world, "suspend", "blog", "--reason", "enough").status == 0
        agent.wait_until_told("app_superseded", app="blog")
        assert command(world, "sync", "--timeout", "30").status == 0
    assert command(world, "abort", "blog").out == "No agent runs, so there is nothing to end.\n"


def test_a_suspension_outlives_the_agent_and_stops_deploys(world: World) -> None:
    world.add_app("blog", "one")
    with running(world) as agent:
        agent.wait_until_told("app_changed", app="blog")
        assert command(world, "suspend", "blog", "--reason", "holidays").status == 0
    world.commit({"apps/blog/wsgi.py": wsgi_app("two"), "manifests/blog.yaml": None})
    world.add_app("other", "other")
    with running(world) as agent:
        agent.wait_until_told("app_changed", app="other")
        count = len(passes(world))
        wait_for("two more passes", lambda: len(passes(world)) >= count + 2)
        # its manifest is gone: what is suspended is not removed either
        assert world.text("blog.example.com") == "one"
        status = {app["app"]: app for app in json.loads(command(world, "status", "--json").out)["apps"]}
        assert status["blog"]["suspension"]["reason"] == "holidays"
        assert "holidays" in command(world, "explain", "blog").out
        assert "holidays" in command(world, "plan").out
        world.commit({"manifests/blog.yaml": manifest("blog")})
        assert command(world, "resume", "blog").status == 0
        wait_for("the new page", serves(world, "two"))


@pytest.mark.builds
def test_without_an_agent_the_journal_is_worked_on_directly(world: World) -> None:
    world.add_app("blog", "one")
    missing = command(world, "suspend", "blog", "--reason", "x")
    assert missing.status == 1
    assert "there is no journal" in missing.err
    assert not world.root.exists()
    world.once()

    for arguments in (["suspend", "blog", "--reason", "night"], ["resume", "blog"], ["retry", "blog"]):
        done = command(world, *arguments)
        assert done.status == 0
        assert done.err.startswith("No agent runs")
        if arguments[0] == "suspend":
            world.commit({"apps/blog/wsgi.py": wsgi_app("two")})
            assert world.once().apps[0].outcome is Outcome.SUSPENDED
    assert world.once().apps[0].outcome is Outcome.CHANGED

    synced = command(world, "sync")
    assert synced.status == 1
    assert synced.err.startswith("error: no agent listens at ")
    assert "`reconciler once`" in synced.err
    assert json.loads(command(world, "status", "--json").out)["agent"] is None
    with world.engine():
        locked = command(world, "suspend", "blog", "--reason", "x")
        assert locked.status == 1
        assert "another reconciler (process" in locked.err


def test_what_a_manifest_suspends_only_the_manifest_resumes(world: World) -> None:
    world.add_app("blog", "one", suspend=True)
    world.once()
    assert "Its manifest suspends blog: set spec.suspend to false" in command(world, "resume", "blog").out
    command(world, "suspend", "blog", "--reason", "as well")
    world.once()
    explained = command(world, "explain", "blog").out
    assert "spec.suspend is true; suspended by" in explained
    out = command(world, "resume", "blog").out
    assert "Resumed blog" in out
    assert "Its manifest still suspends blog" in out
    app = json.loads(command(world, "status", "--json").out)["apps"][0]
    assert app["suspension"] is None
    assert "spec.suspend is true" in str(app["conditions"])
