"""Proves the commands around a pass on a real host: once, plan, status, history, explain, drift, retry, logs."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from command_line import environment, in_terminal, reconciler
from reconciler.cli.main import main
from tests.world import World, manifest, wsgi_app

STAGES = ["source", "build", "static", "nginx", "vassal"]
DEADLINE_SECONDS = 30.0


class CommandLine:
    """The command line of one world, in this process."""

    def __init__(self, world: World, captured: pytest.CaptureFixture[str]) -> None:
        self.world = world
        self._captured = captured

    def __call__(self, *arguments: str) -> tuple[int, str, str]:
        self._captured.readouterr()
        status = main(["-c", str(self.world.agent_file), *arguments])
        written = self._captured.readouterr()
        return status, written.out, written.err

    def json(self, *arguments: str) -> tuple[int, Any]:
        status, out, _ = self(*arguments, "--json")
        return status, json.loads(out)


@pytest.fixture
def run(world: World, capsys: pytest.CaptureFixture[str]) -> CommandLine:
    return CommandLine(world, capsys)


@contextmanager
def started(*arguments: str) -> Iterator[subprocess.Popen[str]]:
    """``reconciler`` in a process of its own, which ends with the test whatever happens."""
    command = [sys.executable, "-m", "reconciler.cli.main", *arguments]
    with subprocess.Popen(
        command, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not condition():
        assert time.monotonic() < deadline, "it did not come true in time"
        time.sleep(0.02)


@pytest.mark.builds
def test_the_life_of_an_app_as_the_commands_tell_it(run: CommandLine) -> None:
    first = run.world.add_app("blog", "hello")

    status, out, _ = run("plan")
    assert status == 3
    assert f"Commit {first[:7]}: Add blog" in out
    assert "+ blog" in out
    assert out.endswith("Plan: 5 to create, 0 to update, 0 to delete; 0 apps unchanged.\n")
    assert not (run.world.root / "public" / "blog").exists()

    status, out, err = run("once")
    assert status == 0, err
    assert f"http://blog.example.com:{run.world.port}" in out
    assert [row.split(":")[0] for row in err.splitlines()] == [f"blog {stage}" for stage in STAGES]
    assert all("done in" in row and "(never_applied)" in row for row in err.splitlines())

    status, out, err = run("once")
    assert (status, out, err) == (0, f"Nothing to do: 1 app is as commit {first[:7]} asks.\n", "")
    assert run("plan")[:2] == (
        0,
        f"Commit {first[:7]}: Add blog\n\nNo changes. 1 app is as commit {first[:7]} asks.\n",
    )

    second = run.world.commit({"apps/blog/wsgi.py": wsgi_app("changed")}, "Greet otherwise")
    status, out, _ = run("explain", "blog")
    assert status == 0
    assert f"What git asks for: commit {second[:7]}, but no pass has made it yet" in out
    assert "hint: `reconciler plan --app blog`" in out
    assert run("plan", "--app", "blog")[0] == 3
    assert run("plan", "--revision", first)[0] == 0
    assert run("once")[0] == 0

    status, out, _ = run("history", "blog")
    assert [row.split()[2] for row in out.splitlines()] == ["verified", "verified"]
    assert f"commit {second[:7]}" in out.splitlines()[0]
    status, answer = run.json("history", "blog", "-n", "1")
    assert [attempt["revision"] for attempt in answer["attempts"]] == [second]

    status, out, _ = run("explain", "blog")
    assert f"of commit {second[:7]}, since " in out
    assert "  ~ source  an input changed\n      source.revision: " in out
    assert "What git asks for: commit" in out
    assert out.endswith("Nothing to do.\n")

    run.world.commit({"manifests/blog.yaml": None, "manifests/README": "empty"}, "Remove blog")
    status, out, _ = run("plan")
    assert status == 3
    assert "- blog" in out
    assert out.endswith("Plan: 0 to create, 0 to update, 2 to delete; 0 apps unchanged.\n")
    status, out, _ = run("once")
    assert (status, "removed nginx, vassal" in out) == (0, True)
    assert run("history", "blog")[0] == 0


@pytest.mark.builds
def test_the_json_of_plan_and_once_is_the_contract(run: CommandLine) -> None:
    commit = run.world.add_app("blog")
    status, answer = run.json("plan")
    assert status == 3
    assert answer["revision"] == commit
    (app,) = answer["apps"]
    assert {"app", "outcome", "revision", "release", "error", "stages"} <= app.keys()
    assert (app["app"], app["outcome"], app["revision"], app["error"]) == ("blog", "changed", commit, None)
    assert [stage["stage"] for stage in app["stages"]] == STAGES
    for stage in app["stages"]:
        assert {"stage", "action", "reasons", "detail", "digest", "seconds"} <= stage.keys()
        assert (stage["action"], stage["reasons"]) == ("create", ["never_applied"])
    assert next(stage for stage in app["stages"] if stage["stage"] == "nginx")["diff"].startswith("--- /dev/null")
    status, answer = run.json("once")
    assert status == 0
    assert [stage["seconds"] > 0 for stage in answer["apps"][0]["stages"]] == [True] * len(STAGES)
    status, answer = run.json("once")
    assert (status, answer["apps"][0]["outcome"]) == (0, "unchanged")
    assert {stage["action"] for stage in answer["apps"][0]["stages"]} == {"none"}
    assert run.json("plan")[0] == 0


def test_a_failed_release_is_told_by_every_command_and_tried_again_when_asked(run: CommandLine) -> None:
    run.world.add_app("blog", "good")
    assert run("once")[0] == 0
    run.world.commit({"apps/blog/wsgi.py": "import nothing_like_this\n"}, "Break it")

    status, out, err = run("once")
    assert status == 1
    assert "blog  failed  what served before still serves" in out
    assert "  error: " in out
    assert "  | ModuleNotFoundError: No module named 'nothing_like_this'" in out
    assert "blog vassal: failed after " in err

    status, out, _ = run("once")
    assert (status, "blog  quarantined" in out) == (1, True)
    status, out, _ = run("plan")
    assert (status, "! blog  quarantined" in out, "reconciler retry blog" in out) == (1, True, True)

    status, answer = run.json("status")
    (app,) = answer["apps"]
    assert (status, app["ready"]) == (0, True)
    reconciled = next(condition for condition in app["conditions"] if condition["type"] == "Reconciled")
    assert (reconciled["status"], reconciled["reason"]) == ("False", "Quarantined")
    assert "nothing_like_this" in app["last_error"]
    assert "blog quarantined: " in run("status")[1]

    _, out, _ = run("explain", "blog", "--offline")
    assert "  | ModuleNotFoundError" in out
    _, out, _ = run("explain", "blog")
    assert "that release failed before and is not tried again by itself" in out
    assert "hint: commit a correction, or run `reconciler retry blog`" in out
    assert "    error: " in run("history", "blog")[1]

    assert "The next pass tries blog again" in run("retry", "blog")[1]
    assert "blog is not quarantined" in run("retry", "blog")[1]
    assert "blog  failed" in run("once")[1]
    assert run.world.text("blog.example.com") == "good"


def test_status_reads_journal_and_disk_and_notices_what_does_not_serve(run: CommandLine) -> None:
    commit = run.world.add_app("blog")
    run("once")
    # nobody has to be asked: neither the repository nor the network nor an agent
    run.world.config.rename(run.world.home / "gone")
    status, answer = run.json("status")
    (app,) = answer["apps"]
    assert status == 0
    assert {
        "app",
        "ready",
        "release",
        "revision",
        "serving_since",
        "conditions",
        "drifted",
        "last_pass",
        "last_error",
    } <= (app.keys())
    assert (app["ready"], app["revision"], app["drifted"], app["last_error"]) == (True, commit, False, None)
    assert app["serving_since"].endswith("Z")
    assert {condition["type"]: condition["status"] for condition in app["conditions"]} == {
        "Ready": "True",
        "Reconciled": "True",
        "Drifted": "False",
    }
    assert "1 of 1 app ready" in run("status")[1]

    status, out, _ = run("once")
    assert (status, "error: " in out) == (1, True)
    reasons = [condition["reason"] for condition in run.json("status")[1]["apps"][0]["conditions"]]
    assert "ConfigurationUnreadable" in reasons
    assert "What git asks for: cannot be told now, " in run("explain", "blog")[1]

    (run.world.root / "public" / "blog").unlink()
    assert run.json("status")[1]["apps"][0]["conditions"][0]["reason"] == "LinkLeadsElsewhere"
    assert "blog down: " in run("status")[1]


def test_a_socket_that_nobody_listens_on_is_not_ready(run: CommandLine) -> None:
    run.world.add_app("blog")
    run("once")
    run.world.stop()
    for socket in (run.world.root / "run").glob("blog.*.web"):
        socket.unlink()
    assert run.json("status")[1]["apps"][0]["conditions"][0]["reason"] == "NotListening"


def test_servers_that_do_not_run_are_told(run: CommandLine) -> None:
    run.world.add_app("blog")
    run("once")
    assert run.json("status")[1]["servers"] == {"nginx": True, "emperor": True}
    with run.world.engine() as engine:
        assert engine.host.nginx.stop()
    status = run.json("status")[1]
    assert status["servers"] == {"nginx": False, "emperor": True}
    assert status["apps"][0]["conditions"][0]["reason"] == "NginxDown"
    assert (status["apps"][0]["ready"], status["apps"][0]["drifted"]) == (False, False)
    out = run("status")[1]
    assert "nginx does not run: the next pass starts it again" in out
    assert "blog down: release" in out
    assert "run `reconciler once`, which starts nginx again" in run("explain", "blog")[1]
    assert run("once")[0] == 0
    assert run.json("status")[1]["apps"][0]["ready"]


def test_drift_is_told_with_its_difference_and_ends_with_3(run: CommandLine) -> None:
    run.world.add_app("blog")
    run("once")
    assert run("drift")[:2] == (0, "No drift. 1 app is as applied.\n")
    site = run.world.root / "nginx" / "sites" / "blog.conf"
    site.write_text(site.read_text() + "# by hand\n")
    (vassal,) = (run.world.root / "vassals").glob("blog.*.ini")
    vassal.chmod(0o600)
    extra = site.with_name("intruder.conf")
    extra.write_text("# nobody asked\n")
    (run.world.root / "public" / "blog").unlink()

    status, out, _ = run("drift")
    assert status == 3
    assert "blog.conf was modified" in out
    assert "    +# by hand" in out
    assert out.endswith("Drift: 4 differences in 2 apps.\n")
    status, answer = run.json("drift")
    assert status == 3
    assert {(row["app"], row["stage"], row["kind"]) for row in answer["drift"]} == {
        ("blog", "nginx", "modified"),
        ("blog", "vassal", "mode"),
        ("blog", "vassal", "missing"),
        ("intruder", "nginx", "extra"),
    }
    assert all(row["diff"].strip() and row["path"].startswith(str(run.world.root)) for row in answer["drift"])
    assert run.json("status")[1]["apps"][0]["drifted"] is True
    extra.unlink()
    assert run("once")[0] == 0
    assert run("drift")[0] == 0


def test_one_app_that_is_held_does_not_keep_others_from_being_planned(run: CommandLine) -> None:
    run.world.add_app("blog")
    run.world.commit({"manifests/shop.yaml": manifest("shop", uwsgi={"module": "no module"})}, "Add a wrong one")
    status, out, _ = run("once")
    assert status == 1
    assert "blog  changed" in out
    assert "error: manifests/shop.yaml:" in out
    status, out, _ = run("status")
    assert "shop failed: manifests/shop.yaml:" in out
    assert "warning:" not in out
    assert "error: manifests/shop.yaml:" in run("explain", "shop")[1]
    status, _, err = run("plan", "--app", "nobody")
    assert (status, "hint: the apps are: blog, shop" in err) == (2, True)


def test_logs_are_those_of_the_app_and_of_nginx(run: CommandLine) -> None:
    run.world.add_app("blog")
    run("once")
    run.world.get("/somewhere", "blog.example.com")
    status, out, _ = run("logs", "blog", "-n", "2")
    assert (status, len(out.splitlines())) == (0, 2)
    status, shown, _ = run("logs", "blog", "-n", "2", "--json")
    log = str(run.world.root / "logs" / "blog.log")
    assert json.loads(shown) == {"app": "blog", "logs": [{"file": log, "lines": out.splitlines()}]}
    status, out, err = run("logs", "blog", "-f", "--json")
    assert (status, out, "leave one of them out" in err) == (2, "", True)
    status, out, _ = run("logs", "blog", "--nginx")
    assert (status, "GET /somewhere" in out) == (0, True)
    for name in ("nobody", "../nginx.error", "nginx.error"):
        status, out, err = run("logs", name)
        assert (status, out) == (2, "")
        assert err.startswith(f"error: this host knows no app {name!r}\nhint: the apps are: blog")
    (run.world.root / "logs" / "blog.log").unlink()
    status, _, err = run("logs", "blog")
    assert (status, err.startswith("error: blog has not printed anything yet")) == (1, True)


def test_logs_follow_what_is_added_until_ctrl_c(run: CommandLine) -> None:
    run.world.add_app("blog")
    run("once")
    log = run.world.root / "logs" / "blog.log"
    log.write_text("before\n")
    arguments = ["-c", str(run.world.agent_file), "logs", "blog", "-f"]
    with started(*arguments) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "before\n"
        with log.open("a") as file:
            file.write("added\n")
        assert process.stdout.readline() == "added\n"
        log.rename(log.with_suffix(".1"))
        log.write_text("after the rotation\n")
        assert process.stdout.readline() == "after the rotation\n"
        process.send_signal(signal.SIGINT)
        assert process.wait(DEADLINE_SECONDS) == 130


def test_a_second_reconciler_is_refused_and_told_who_works(run: CommandLine) -> None:
    run.world.add_app("blog")
    with run.world.engine():
        status, out, err = run("once")
        assert run("plan")[0] == 3
    assert (status, out) == (1, "")
    assert err.startswith(f"error: another reconciler (process {os.getpid()}, since 2")


def test_ctrl_c_ends_a_pass_at_a_safe_point_and_the_next_one_carries_on(run: CommandLine) -> None:
    marker = run.world.home / "building"
    command = f"test -e {marker} || {{ touch {marker}; sleep 300; }}"
    run.world.add_app("blog", build={"commands": [command]})
    with started("-c", str(run.world.agent_file), "once") as process:
        wait_for(marker.exists)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=DEADLINE_SECONDS)
    assert process.returncode == 130
    assert out == ""
    assert "ending at a safe point; Ctrl-C again ends at once" in err
    assert err.splitlines()[-1].startswith("interrupted: ")
    assert run("once")[0] == 0


def test_a_terminal_sees_live_progress_colours_and_tables_of_its_width(world: World) -> None:
    world.add_app("blog", build={"commands": ["echo the builder speaks; sleep 0.6"]})
    config = str(world.agent_file)
    shown = in_terminal("-c", config, "once").out
    assert "the builder speaks" in shown
    assert "blog build: " in shown
    assert "\x1b[32mdone\x1b[" in shown
    assert f"http://blog.example.com:{world.port}" in shown
    without = in_terminal("-c", config, "status", env={"NO_COLOR": "1"}, columns=70).out
    assert "\x1b" not in without
    assert max(len(row) for row in without.splitlines() if "ready;" not in row) <= 80
    assert "\x1b[" in in_terminal("-c", config, "status").out


def test_a_fresh_scaffold_deploys_as_it_is(tmp_path: Path, world: World) -> None:
    folder = world.home / "new"
    made = reconciler("init", str(folder))
    assert (made.status, made.err) == (0, "")
    agent = folder / "agent.yaml"
    agent.write_text(agent.read_text().replace("port: 8080", f"port: {world.port}"))
    world.agent_file.unlink()
    world.agent_file.symlink_to(agent)
    try:
        done = reconciler("-c", "agent.yaml", "once", cwd=folder)
        assert done.status == 0, done.err
        assert f"http://127.0.0.1:{world.port}" in done.out
        assert "Hello from a commit" in world.text("")
        assert "#2f6f4f" in world.get("/static/site.css").text
    finally:
        # the world ends the daemons of the configuration that its file names
        world.agent_file.unlink()
        world.agent_file.write_text(agent.read_text().replace("root: ./var", "root: ./new/var"))
