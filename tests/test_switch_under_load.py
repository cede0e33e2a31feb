"""Proves that deploys cost no request: an open loop of 200 new requests/s through good and broken releases."""

from __future__ import annotations

import bisect
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from command_line import environment
from reconciler.host.nginx_process import serving_workers
from reconciler.model.plan import Outcome
from test_agent import wait_for
from world import World, manifest, of, wsgi_app

RATE = 200
KILLS = 12
KILLED_EVERY_SECONDS = 0.12
"""The first agent is killed so long after its start, the second after twice as long, and so on."""
LOAD = Path(__file__).parent / "load.py"
LONGEST_SECONDS = 0.1

SLOW_APP = '''"""Takes 1.5 s to import, as {kind}, and says which version it is."""
import time

{work}

def app(environ, start_response):
    start_response({status!r}, [("Content-Type", "text/plain")])
    return [b{version!r}]
'''
SLEEP = "time.sleep(1.5)"
COMPUTE = "end = time.process_time() + 1.5\nwhile time.process_time() < end:\n    sum(range(1000))"
HANG = "time.sleep(60)"


def slow_app(version: str, work: str = SLEEP, status: str = "200 OK") -> str:
    return SLOW_APP.format(kind="work", work=work, version=version, status=status)


@dataclass
class Load:
    """What the visitors saw: (started, latency, status, body) in the order of starting.

    ``looks`` are (time, seconds for which a hypervisor has kept each processor from this machine so far).
    """

    results: list[tuple[float, float, int, str]] = field(default_factory=list)
    looks: list[list[float]] = field(default_factory=list)

    @property
    def failed(self) -> list[tuple[float, float, int, str]]:
        return [entry for entry in self.results if entry[2] != 200]

    @property
    def longest(self) -> float:
        return max(entry[1] for entry in self.results)

    @property
    def longest_with_processors(self) -> float:
        """The longest, without the time for which there was no processor: no deploy can do anything about that."""
        return max(latency - self._stolen(started, started + latency) for started, latency, *_ in self.results)

    def _stolen(self, since: float, until: float) -> float:
        """What was stolen from the processor that lost most, from the look before ``since`` to the one after."""
        times = [look[0] for look in self.looks]
        before = self.looks[max(bisect.bisect_right(times, since) - 1, 0)]
        after = self.looks[min(bisect.bisect_left(times, until), len(times) - 1)]
        lost = max(late - early for early, late in zip(before[1:], after[1:], strict=True))
        return min(lost, until - since)

    def percentile(self, share: float, until: float = float("inf")) -> float:
        ordered = sorted(entry[1] for entry in self.results if entry[0] < until)
        return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


@contextmanager
def visitors(world: World, host: str, seconds: float = 200) -> Iterator[Load]:
    """Visitors from outside the agent, in a process of their own, for as long as the block lasts."""
    result, looks = world.home / "load.json", world.home / "stolen.json"
    command = [sys.executable, LOAD, str(world.port), host, "/", str(RATE), str(seconds), result, looks]
    load = Load()
    process = subprocess.Popen(command, stdin=subprocess.PIPE)
    try:
        yield load
    finally:
        assert process.stdin is not None
        process.stdin.close()
        process.wait(timeout=60)
    load.results = [tuple(entry) for entry in json.loads(result.read_text())]
    load.looks = json.loads(looks.read_text())


VERIFY = {"timeout": "6s", "probes": [{"path": "/", "status": 200}]}


@pytest.mark.load
@pytest.mark.timeout(240)
@pytest.mark.parametrize("work", [SLEEP, COMPUTE], ids=["sleep", "compute"])
def test_ten_deploys_three_of_them_broken_lose_no_request(world: World, work: str) -> None:
    deploys = [
        (slow_app("v1", work), True),
        (slow_app("v2", work), True),
        ("import nothing_like_this\n", False),
        (slow_app("v4", work), True),
        (slow_app("v5", work, "500 Internal Server Error"), False),
        (slow_app("v6", work), True),
        (slow_app("v7", work), True),
        (slow_app("v8", HANG), False),
        (slow_app("v9", work), True),
        (slow_app("v10", work), True),
    ]
    world.add_app("blog", verify=VERIFY, uwsgi={"processes": 2})
    world.commit({"apps/blog/wsgi.py": slow_app("v0", work)})
    with world.engine() as engine:
        first = of(engine.reconcile("test"), "blog")
        assert first.error is None, first.error
        with visitors(world, "blog.example.com") as load:
            time.sleep(3)
            steady_until = time.monotonic()
            for source, good in deploys:
                world.commit({"apps/blog/wsgi.py": source})
                outcome = of(engine.reconcile("test"), "blog").outcome
                assert outcome is (Outcome.CHANGED if good else Outcome.FAILED)
            time.sleep(1)
    steady = load.percentile(0.99, steady_until)
    bar = max(LONGEST_SECONDS, 5 * steady)
    print(
        f"{len(load.results)} requests, {len(load.failed)} failed, steady 99th percentile {steady * 1000:.1f} ms, "
        f"99th percentile {load.percentile(0.99) * 1000:.1f} ms, longest {load.longest * 1000:.1f} ms, "
        f"without stolen time {load.longest_with_processors * 1000:.1f} ms (bar {bar * 1000:.0f} ms)"
    )
    assert load.failed == []
    versions = [entry[3] for entry in load.results]
    assert set(versions) == {"v0", "v1", "v2", "v4", "v6", "v7", "v9", "v10"}
    for old, new in zip(
        ["v0", "v1", "v2", "v4", "v6", "v7", "v9"], ["v1", "v2", "v4", "v6", "v7", "v9", "v10"], strict=True
    ):
        last_old = max(entry[0] for entry in load.results if entry[3] == old)
        first_new = min(entry[0] for entry in load.results if entry[3] == new)
        assert last_old - first_new <= load.longest, f"{old} was answered {last_old - first_new:.3f} s after {new}"
    assert load.longest_with_processors <= bar


LONG_APP = '''"""Answers /long after five seconds."""
import time


def app(environ, start_response):
    if environ["PATH_INFO"] == "/long":
        time.sleep(5)
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b{version!r}]
'''


@pytest.mark.long
def test_a_long_request_that_is_in_flight_at_the_switch_finishes(world: World) -> None:
    world.add_app("blog")
    world.commit({"apps/blog/wsgi.py": LONG_APP.format(version="old")})
    assert of(world.once(), "blog").error is None
    result = str(world.home / "long.json")
    command = [sys.executable, str(LOAD), str(world.port), "blog.example.com", "/long", "1", "1", result]
    process = subprocess.Popen(command, stdin=subprocess.PIPE)
    time.sleep(1)
    world.commit({"apps/blog/wsgi.py": LONG_APP.format(version="new")})
    assert of(world.once(), "blog").outcome is Outcome.CHANGED
    assert world.text("blog.example.com") == "new"
    process.communicate(timeout=30)
    ((_, latency, status, body),) = json.loads(Path(result).read_text())
    assert (status, body) == (200, "old")
    assert latency >= 5
    assert len(list((world.root / "vassals").glob("*.ini"))) == 1


@pytest.mark.load
def test_an_agent_that_is_killed_again_and_again_costs_no_request(world: World) -> None:
    world.add_app("blog", "v0", static=[{"source": "static", "url": "/static/"}], files={"static/a.txt": "a"})
    assert of(world.once(), "blog").error is None
    command = [sys.executable, "-m", "reconciler.cli.main", "-c", str(world.agent_file), "once"]
    with visitors(world, "blog.example.com") as load:
        for number in range(1, KILLS + 1):
            spec = {"nginx": {"clientMaxBodySize": f"{number}m"}} if number % 3 == 0 else {}
            world.commit(
                {
                    "apps/blog/wsgi.py": wsgi_app(f"v{number}"),
                    "manifests/blog.yaml": manifest("blog", static=[{"source": "static", "url": "/static/"}], **spec),
                }
            )
            agent = subprocess.Popen(command, env=environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            with suppress(subprocess.TimeoutExpired):
                agent.wait(number * KILLED_EVERY_SECONDS)
            agent.kill()
            agent.wait()
        result = world.once()
        assert not result.failed
        assert world.text("blog.example.com") == f"v{KILLS}"
    assert load.failed == []
    assert {entry[3] for entry in load.results} <= {f"v{number}" for number in range(KILLS + 1)}
    wait_for("the end of what the killed ones left", lambda: len(list((world.root / "vassals").glob("*.ini"))) == 1)
    assert not list(world.root.rglob(".tmp-*"))


@pytest.mark.serial
def test_a_revert_is_a_switch_and_nothing_else(world: World) -> None:
    import examples

    world.add_app("blog", verify=VERIFY)
    world.commit({"apps/blog/wsgi.py": slow_app("one")})
    with world.engine() as engine:
        assert of(engine.reconcile("test"), "blog").error is None
        world.commit({"apps/blog/wsgi.py": slow_app("two")})
        engine.reconcile("test")
        examples.revert(world.config)
        nginx = int((world.root / "run" / "nginx.pid").read_text())
        workers = serving_workers(nginx)
        started = time.perf_counter()
        result = of(engine.reconcile("test"), "blog")
        seconds = time.perf_counter() - started
        assert serving_workers(nginx) == workers, "nginx was reloaded"
    assert world.text("blog.example.com") == "one"
    assert [change.stage.value for change in result.plan.changes if change.needed] == ["vassal"]
    print(f"git revert to live: {seconds:.2f} s with an import of 1.5 s (bar 3.0 s)")
    assert seconds <= 1.5 + 1.5
