"""The Emperor starts vassals at once, tells early when one cannot, lets requests finish, and outlives the agent."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import httpx
import pytest

from reconciler.host.releases import remove_vassal
from reconciler.host.uwsgi import Emperor, drain, find_uwsgi
from reconciler.host.uwsgi_stats import EmperorStats
from reconciler.model.errors import HostError, VerificationFailed
from serving import APP, Served, eventually, serving

SLOW_TO_LOAD = "import time; time.sleep(60)\n" + APP
DOES_NOT_IMPORT = "raise RuntimeError('there is no database')\n"


@pytest.fixture
def served() -> Iterator[Served]:
    with serving() as everything:
        yield everything


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def environment(served: Served, vassal: str = "a") -> dict[str, str]:
    found: dict[str, str] = served.ask(vassal).json()["environment"]
    return found


def in_background(served: Served, path: str, answers: list[int | str]) -> threading.Thread:
    def ask() -> None:
        try:
            answers.append(served.ask("a", path).status_code)
        except httpx.HTTPError as error:
            answers.append(repr(error))

    thread = threading.Thread(target=ask)
    thread.start()
    return thread


def busy(served: Served) -> bool:
    return any(worker.busy for worker in served.emperor.vassal_stats("a").workers)


def test_the_emperor_is_started_once_and_adopted_by_the_next_agent(served: Served) -> None:
    script = f"""
from pathlib import Path
from reconciler.host.layout import Layout
from reconciler.host.uwsgi import Emperor, find_uwsgi
Emperor(Layout(Path({str(served.layout.root)!r})), find_uwsgi()).ensure_running()
"""
    subprocess.run([sys.executable, "-c", script], check=True, timeout=60)
    assert served.emperor.running()
    assert not served.emperor.ensure_running()
    assert served.emperor.stats().vassals == {}


def test_a_new_vassal_is_started_at_once_and_ready_means_every_worker(served: Served) -> None:
    served.emperor.ensure_running()
    served.wait("a", served.write("a"))
    stats = served.emperor.vassal_stats("a")
    assert stats.ready
    assert len(stats.workers) == 2
    assert served.ask("a").headers["Reconciler-Release"] == "r1"
    state = served.emperor.stats().vassals["a"]
    assert state.ready
    assert state.pid == stats.pid


def test_a_module_that_does_not_import_fails_early_and_is_quoted(served: Served) -> None:
    served.emperor.ensure_running()
    position = served.write("a", DOES_NOT_IMPORT)
    started = time.monotonic()
    with pytest.raises(VerificationFailed) as caught:
        served.wait("a", position, seconds=60)
    assert "there is no database" in caught.value.tail
    assert time.monotonic() - started < 20
    assert "a" in served.emperor.stats().throttled


def test_an_unknown_option_fails_early(served: Served) -> None:
    served.emperor.ensure_running()
    position = served.write("a", options={"no-such-option": ["1"]})
    with pytest.raises(VerificationFailed, match=r"\[strict-mode\] unknown config directive: no-such-option"):
        served.wait("a", position, seconds=60)


def test_a_module_that_loads_too_slowly_is_told_at_the_deadline(served: Served) -> None:
    served.emperor.ensure_running()
    with pytest.raises(VerificationFailed, match="not ready in time: it is loading the app"):
        served.wait("a", served.write("a", SLOW_TO_LOAD), seconds=2)


def test_a_release_starts_under_the_name_of_one_that_failed(served: Served) -> None:
    served.emperor.ensure_running()
    with pytest.raises(VerificationFailed):
        served.wait("a", served.write("a", DOES_NOT_IMPORT), seconds=60)
    served.wait("a", served.write("a", release="r2"), release="r2", seconds=60)
    assert served.ask("a").headers["Reconciler-Release"] == "r2"


def test_every_value_reaches_the_app_as_it_is(served: Served) -> None:
    values = {
        "TEST_QUOTES": """it's "quoted" `pwd` \\""",
        "TEST_LINES": "one\ntwo\n\n three ",
        "TEST_UWSGI": "$(HOME) @(/etc/passwd) %(module) 100% %n ${x} $$",
        "TEST_UNICODE": "grüße 🙂",
        "TEST_EMPTY": "",
    }
    served.start("a", env=values)
    assert environment(served) == values


def test_the_agents_own_environment_reaches_no_app(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEST_AGENT_SECRET", "s3cret")
    served.start("a")
    assert environment(served) == {}


def test_a_rewritten_vassal_is_reloaded_with_its_new_environment_and_loses_no_request(served: Served) -> None:
    served.start("a", env={"TEST_OLD": "1"})
    answers: list[int | str] = []
    slow = in_background(served, "/slow", answers)
    eventually(lambda: busy(served), "the slow request")
    position = served.write("a", release="r2", env={"TEST_NEW": "2"})
    stop = threading.Event()
    quick: list[int | str] = []

    def keep_asking() -> None:
        while not stop.is_set():
            in_background(served, "/", quick).join()

    asking = threading.Thread(target=keep_asking)
    asking.start()
    served.wait("a", position, release="r2")
    stop.set()
    asking.join()
    slow.join()
    assert answers == [200]
    assert set(quick) == {200}
    assert environment(served) == {"TEST_NEW": "2"}
    assert served.ask("a").headers["Reconciler-Release"] == "r2"


def test_two_writings_within_one_second_are_both_taken_up(served: Served) -> None:
    served.start("a")
    for number in range(2, 5):
        release = f"r{number}"
        served.wait("a", served.write("a", release=release), release=release)
        assert served.ask("a").headers["Reconciler-Release"] == release


class DeafVassals(Emperor):
    """An Emperor whose signal to its vassals was lost, as it is when they have just started on a busy machine."""

    deaf = False
    reloads = 0

    def stats(self) -> EmperorStats:
        """What the Emperor says that waits for ever for a vassal to take requests."""
        state = super().stats()
        if not self.deaf:
            return state
        waited_for = {name: replace(known, ready=False, accepting=False) for name, known in state.vassals.items()}
        return replace(state, vassals=waited_for)

    def reload(self, vassal: str) -> None:
        """This time the signal arrives."""
        self.deaf = False
        self.reloads += 1
        super().reload(vassal)


def test_a_reload_that_the_vassal_did_not_hear_is_asked_for_again(served: Served) -> None:
    served.start("a")
    emperor = DeafVassals(served.layout, served.emperor.binary)
    emperor.deaf = True
    replace(served, emperor=emperor).wait("a", served.write("a", release="r2"), release="r2")
    assert not emperor.deaf
    assert served.ask("a").headers["Reconciler-Release"] == "r2"


def test_a_reload_that_waits_for_a_long_request_is_not_asked_for_again(served: Served) -> None:
    served.start("a", APP.replace("time.sleep(1.0)", "time.sleep(3.0)"))
    emperor = DeafVassals(served.layout, served.emperor.binary)
    answers: list[int | str] = []
    slow = in_background(served, "/slow", answers)
    eventually(lambda: busy(served), "the slow request")
    position = served.write("a", release="r2")
    # the Emperor may have read the first file within the same second
    served.emperor.reload("a")
    eventually(lambda: not emperor.stats().vassals["a"].accepting, "the reload")
    replace(served, emperor=emperor).wait("a", position, release="r2")
    slow.join()
    assert (answers, emperor.reloads) == ([200], 0)


def test_a_removed_vassal_answers_what_it_has_begun_and_leaves_nothing(served: Served) -> None:
    served.start("a")
    pids = [worker.pid for worker in served.emperor.vassal_stats("a").workers]
    answers: list[int | str] = []
    slow = in_background(served, "/slow", answers)
    eventually(lambda: busy(served), "the slow request")
    remove_vassal(served.layout, "a")
    served.emperor.wake()
    eventually(lambda: "a" not in served.emperor.stats().vassals, "the end of the vassal")
    slow.join()
    assert answers == [200]
    assert not any(alive(pid) for pid in pids)
    assert not list(served.layout.run.glob("a.*"))


def test_draining_waits_for_requests_and_tells_when_it_did_not_end(served: Served) -> None:
    served.start("a")
    stats = served.layout.socket("a", "stats")
    assert drain(stats, time.monotonic() + 5)
    slow = in_background(served, "/slow", [])
    eventually(lambda: busy(served), "the slow request")
    assert not drain(stats, time.monotonic() + 0.1)
    assert drain(stats, time.monotonic() + 10)
    slow.join()
    assert drain(served.layout.socket("gone", "stats"), time.monotonic())


def test_an_emperor_that_was_killed_comes_back_with_all_vassals(served: Served) -> None:
    served.start("a")
    workers = [worker.pid for worker in served.emperor.vassal_stats("a").workers]
    os.kill(served.emperor.stats().pid, signal.SIGKILL)
    eventually(lambda: not any(alive(pid) for pid in workers), "the end of the workers")
    assert served.emperor.ensure_running()
    served.wait("a")
    assert served.ask("a").status_code == 200


def test_stopping_ends_everything(served: Served) -> None:
    served.start("a")
    pids = [served.emperor.stats().pid, *(worker.pid for worker in served.emperor.vassal_stats("a").workers)]
    assert served.emperor.stop()
    assert not any(alive(pid) for pid in pids)
    assert not served.emperor.stop()


def test_a_uwsgi_that_does_not_run_is_told_with_its_words(served: Served, tmp_path: Path) -> None:
    fake = tmp_path / "uwsgi"
    fake.write_text("#!/bin/sh\necho no such library >&2\nexit 127\n")
    fake.chmod(0o755)
    with pytest.raises(HostError, match="no such library"):
        Emperor(served.layout, fake).ensure_running()


def test_uwsgi_is_found_beside_the_interpreter() -> None:
    assert find_uwsgi().name == "pyuwsgi"
