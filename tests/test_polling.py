"""Proves that no server holds up another, that one that fails is asked less and less often, and that nothing known is
forgotten meanwhile.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import pytest

from reconciler.engine import polling
from reconciler.engine.app_trees import Located, trees_of
from reconciler.engine.asking import Answer
from reconciler.engine.polling import Polls
from reconciler.host.git import RemoteRefs
from reconciler.model.errors import RepositoryUnreachable, RevisionNotFound
from reconciler.model.manifest import Manifest, Metadata, Source, Spec, Uwsgi
from reconciler.model.repositories import LONGEST_PAUSE_SECONDS, Trouble, pause_after, read, written

OLD, NEW = RemoteRefs({"refs/heads/main": "a" * 40}, None), RemoteRefs({"refs/heads/main": "b" * 40}, None)
AWAY = RepositoryUnreachable("it is away", hint="wait")
SOON_SECONDS = 5.0


@dataclass
class Servers:
    """Stands for all mirrors: an address answers as ``answers`` says, or waits for its event first."""

    answers: dict[str, Answer] = field(default_factory=dict)
    hanging: dict[str, threading.Event] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    current: dict[str, RemoteRefs] = field(default_factory=dict)

    def poll(self, address: str) -> RemoteRefs:
        self.asked.append(address)
        if address in self.hanging:
            assert self.hanging[address].wait(SOON_SECONDS)
        answer = self.answers[address]
        if isinstance(answer, RemoteRefs):
            return answer
        raise answer

    def update(self, address: str, refs: RemoteRefs) -> bool:
        self.current[address] = refs
        return True

    def is_current(self, address: str, refs: RemoteRefs) -> bool:
        return self.current.get(address) == refs

    def held(self, address: str) -> RemoteRefs | None:
        return self.current.get(address)

    def has_mirror(self, address: str) -> bool:
        return address in self.current


@pytest.fixture
def servers() -> Iterator[Servers]:
    made = Servers()
    yield made
    for event in made.hanging.values():
        event.set()


@pytest.fixture
def agent(servers: Servers, monkeypatch: pytest.MonkeyPatch) -> Polls:
    monkeypatch.setattr(polling, "PATIENCE_SECONDS", 1.0)
    monkeypatch.setattr(polling, "FIRST_PATIENCE_SECONDS", 1.0)
    polls = Polls(servers, 60.0, patient=False)  # type: ignore[arg-type]
    polls.begin("poll")
    return polls


def eventually(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + SOON_SECONDS
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def test_a_slow_server_is_asked_once_and_stands_where_it_was_until_it_answers(servers: Servers, agent: Polls) -> None:
    servers.answers = {"fast": OLD, "slow": OLD}
    assert agent.fetch(agent.poll(["fast", "slow"])) == {"fast": OLD, "slow": OLD}
    servers.hanging["slow"] = threading.Event()
    servers.answers = {"fast": NEW, "slow": NEW}
    heard = threading.Event()
    agent.answered = heard.set
    for _ in range(3):
        assert agent.fetch(agent.poll(["fast", "slow"])) == {"fast": NEW, "slow": OLD}
    assert servers.asked.count("slow") == 2
    servers.hanging["slow"].set()
    assert heard.wait(SOON_SECONDS)
    assert agent.fetch(agent.poll(["fast", "slow"])) == {"fast": NEW, "slow": NEW}
    assert servers.asked.count("slow") == 2


def test_a_server_that_was_never_heard_is_not_taken_for_an_empty_one(servers: Servers, agent: Polls) -> None:
    servers.answers, servers.hanging = {"new": OLD}, {"new": threading.Event()}
    answer = agent.fetch(agent.poll(["new"]))["new"]
    assert isinstance(answer, RepositoryUnreachable)
    assert "has not answered yet" in str(answer)


def test_a_server_that_fails_is_asked_less_and_less_often(servers: Servers, agent: Polls) -> None:
    now = 0.0
    agent.clock = lambda: now
    servers.answers = {"down": AWAY, "up": OLD}
    asked = []
    for now in range(0, 1_000, 10):
        before = servers.asked.count("down")
        assert agent.poll(["down", "up"]) == {"down": AWAY, "up": OLD}
        asked += [now] * (servers.asked.count("down") - before)
    assert asked == [0, 60, 180, 420, 720]
    assert servers.asked.count("up") == 100
    (trouble,) = agent.troubles({"down", "up"})
    assert (trouble.repository, trouble.failures, trouble.error) == ("down", 5, "it is away")
    assert agent.troubles({"up"}) == ()
    # somebody waits for it
    agent.begin("poll+sync")
    servers.answers["down"] = OLD
    assert agent.fetch(agent.poll(["down"])) == {"down": OLD}
    assert agent.troubles({"down", "up"}) == ()


def test_what_only_git_can_mend_is_no_failure_of_the_server(servers: Servers, agent: Polls) -> None:
    servers.answers = {"down": RevisionNotFound("there is no such branch")}
    agent.poll(["down"])
    agent.poll(["down"])
    assert servers.asked == ["down", "down"]
    assert agent.troubles({"down"}) == ()


def test_many_hanging_servers_leave_room_for_those_that_answer(
    servers: Servers, agent: Polls, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(polling, "SLOW_SECONDS", 0.02)
    slow = [f"a{number}" for number in range(polling.AT_ONCE * 2)]
    servers.hanging = {address: threading.Event() for address in slow}
    servers.answers = {**dict.fromkeys(slow, OLD), "z": OLD}
    answers = agent.poll([*slow, "z"])
    assert answers["z"] == OLD
    assert all(isinstance(answers[address], RepositoryUnreachable) for address in slow)


def test_a_command_waits_to_the_end_and_is_told_of_what_ends_it(servers: Servers) -> None:
    polls = Polls(servers, 60.0)  # type: ignore[arg-type]
    servers.answers = {"one": OLD, "two": AWAY}
    servers.hanging["one"] = threading.Event()
    threading.Timer(0.1, servers.hanging["one"].set).start()
    assert polls.fetch(polls.poll(["one", "two"])) == {"one": OLD, "two": AWAY}
    servers.answers = {"one": KeyError("a bug"), "two": OLD}  # type: ignore[dict-item]
    with pytest.raises(KeyError):
        polls.poll(["one", "two"])


def test_the_pauses_grow_to_a_limit_that_is_never_below_the_interval() -> None:
    assert [pause_after(failures, 60.0) for failures in (1, 2, 3, 4, 99)] == [
        60,
        120,
        240,
        LONGEST_PAUSE_SECONDS,
        300,
    ]
    assert pause_after(5, 3_600.0) == 3_600.0
    troubles = (Trouble("https://example.com/x", "it is away", 3, 1.0, 2.0),)
    assert read(written(troubles)) == troubles
    assert read(written(())) == read(None) == ()


def test_a_mirror_that_cannot_be_read_holds_the_apps_of_its_own_repository_alone() -> None:
    class Files:
        def trees(self, address: str, wanted: list[tuple[str, str]]) -> dict[tuple[str, str], str | None]:
            if address == "/bad":
                raise AWAY
            return {place: "tree" if place[1] == "here" else None for place in wanted}

    def app(name: str, address: str, directory: str) -> Located:
        spec = Spec(Source(address, directory=directory), Uwsgi("wsgi:app"))
        return Located(Manifest(Metadata(name), spec), address, "c" * 40, None)

    found = trees_of(
        Files(),  # type: ignore[arg-type]
        [app("a", "/good", "here"), app("b", "/bad", "here"), app("c", "/good", "gone")],
        "/config",
    )
    assert (found["a"], found["b"]) == ("tree", AWAY)
    assert isinstance(found["c"], RevisionNotFound)
    assert str(found["c"]) == "/good has no folder gone at ccccccc"
