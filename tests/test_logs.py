"""Proves that the agent's log is as docs/logs.md says: every event, every field, the level, one line per app."""

from __future__ import annotations

import ast
import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from log_schema import BOUND, EVERYWHERE, documented_events, documented_fields, faults_of
from reconciler.model.plan import Outcome
from test_agent import NEVER, RunningAgent, passes, running, serves, wait_for
from test_control import command
from world import World, manifest, wsgi_app

PACKAGE = Path(__file__).resolve().parent.parent / "reconciler"
LEVELS = {"exception": "error"}


def events_in_code() -> Iterator[tuple[str, str, frozenset[str]]]:
    """Every event that is logged under a name in the code, with its level and the fields that are named there."""
    for file in (file for layer in ("agent", "engine", "stages", "host") for file in (PACKAGE / layer).rglob("*.py")):
        for call in (node for node in ast.walk(ast.parse(file.read_text("utf-8"))) if isinstance(node, ast.Call)):
            if not isinstance(call.func, ast.Attribute):
                continue
            texts = [value.value for value in call.args if isinstance(value, ast.Constant)]
            fields = frozenset(keyword.arg for keyword in call.keywords if keyword.arg)
            if call.func.attr in ("debug", "info", "warning", "error", "exception") and texts:
                yield str(texts[0]), LEVELS.get(call.func.attr, call.func.attr), fields
            if call.func.attr == "_tell_once" and texts:
                yield str(texts[-1]), "error", fields | {"error"}
    yield "library_said", "error", frozenset({"logger", "note"})
    for outcome in set(Outcome) - {Outcome.UNCHANGED, Outcome.SUSPENDED, Outcome.CHANGED}:
        yield f"app_{outcome.value}", "error", frozenset({"error", "hint"})


def test_every_event_of_the_code_is_documented_with_its_level_and_fields_and_no_other() -> None:
    documented = documented_events()
    found = [(event, level, fields) for event, level, fields in events_in_code() if event.isidentifier()]
    assert {event for event, _, _ in found} == documented.keys()
    assert [(event, level) for event, level, _ in found if documented[event].level != level] == []
    known = EVERYWHERE | BOUND
    assert [(event, fields - documented[event].fields - known) for event, _, fields in found
            if not fields <= documented[event].fields | known] == []  # fmt: skip
    assert documented_fields().keys() == {name for row in documented.values() for name in row.fields} | known


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        ({"event": "unheard_of"}, "unheard_of is not documented"),
        ({"event": "pass_began", "colour": "red"}, "colour, which is not documented"),
        ({"event": "pass_began", "level": "info"}, "level info, documented is debug"),
        ({"event": "nothing_to_do", "apps": "three"}, "apps of nothing_to_do is 'three', documented is number"),
    ],
)
def test_the_check_finds_what_is_wrong(line: dict[str, object], fault: str) -> None:
    level = documented_events().get(str(line["event"]))
    whole = {"timestamp": "now", "level": level.level if level else "info", **line}
    assert any(fault in found for found in faults_of(whole))


def test_a_whole_life_of_an_agent_is_logged_as_documented(world: World) -> None:
    world.configure(repository=NEVER, log="{level: debug}")
    world.add_app("blog", "one")
    with running(world) as agent:
        line = agent.wait_until_told("app_changed", app="blog")
        stages = ["source", "build", "static", "nginx", "vassal"]
        assert (line["outcome"], line["stages"]) == ("changed", stages)
        assert list(line["stage_seconds"]) == stages
        assert set(line["reasons"]["nginx"]) == {"never_applied"}
        assert line["seconds"] >= max(line["stage_seconds"].values())
        assert list(line)[:3] == ["timestamp", "level", "event"]
        # one pass, one name: what it polled, planned and ran can be found by it
        same = {told["event"] for told in agent.told_lines() if told.get("pass") == line["pass"]}
        assert {"pass_began", "repository_polled", "repository_fetched", "app_planned"} <= same

        ran = [told["pass"] for told in agent.told("stage_ended")]
        assert set(ran) == {line["pass"]}

        # a drift that is healed
        site = world.root / "nginx/sites/blog.conf"
        site.write_text(site.read_text() + "# by hand\n")
        healed = agent.wait_until_told("app_changed", stages=["nginx"])
        assert healed["reasons"] == {"nginx": ["drifted"]}

        # a failure, and a revert that mends it
        world.commit({"apps/blog/wsgi.py": "import nothing_like_this\n"})
        failed = agent.wait_until_told("app_failed", app="blog")
        assert "nothing_like_this" in failed["error"]
        assert failed["stages"] == ["source", "vassal"]
        assert failed["release"] != line["release"]
        world.commit({"apps/blog/wsgi.py": wsgi_app("one")})
        recovered = agent.wait_until_told("app_recovered", app="blog")
        assert (recovered["was"], recovered["release"]) == (failed["error"], healed["release"])

        # a hook that fails, with where its output is
        hooks = {"beforeSwitch": ["exit 3"]}
        world.commit({"manifests/blog.yaml": manifest("blog", hooks=hooks, env={"COLOUR": "red"})})
        hook = agent.wait_until_told("hook_failed", app="blog")
        assert (hook["status"], hook["moment"], hook["run"]) == (3, "beforeSwitch", 1)
        assert Path(hook["log"]).is_file()
        world.commit({"manifests/blog.yaml": manifest("blog")})

        # an attempt that a newer commit ends
        started = world.home / "started"
        build = {"commands": [f"touch {started}; sleep 60"]}
        world.commit({"manifests/blog.yaml": manifest("blog", build=build)})
        wait_for("the build", started.exists)
        world.commit({"apps/blog/wsgi.py": wsgi_app("two"), "manifests/blog.yaml": manifest("blog")})
        superseded = agent.wait_until_told("app_superseded", app="blog")
        assert superseded["stages"]
        wait_for("the newer page", serves(world, "two"))

        # a repository that is away for a while
        away = world.config.rename(world.home / "away")
        command(world, "sync")
        agent.wait_until_told("pass_failed")
        away.rename(world.config)
        command(world, "sync")
        assert agent.wait_until_told("pass_recovered")["was"] == agent.told("pass_failed")[0]["error"]

        # a mistake, told once for as long as it lasts, and again when it is made again
        for _ in range(2):
            world.commit({"manifests/bad.yaml": "kind: App\nnonsense: {"})
            count = len(agent.told("manifest_problem"))
            wait_for("the mistake", lambda count=count: len(agent.told("manifest_problem")) > count)  # type: ignore[misc]
            world.commit({"manifests/bad.yaml": None})
            command(world, "sync")

        assert command(world, "suspend", "blog", "--reason", "a rest").status == 0
        assert agent.wait_until_told("control_request", command="suspend")["app"] == "blog"
        assert agent.told("command_ran")
        assert {told["stage"] for told in agent.told("stage_ended")} == set(stages)
    assert agent.told("agent_stopped")


def test_a_signal_switches_debug_on_and_off(world: World) -> None:
    world.configure(log="{level: warning}")
    world.add_app("blog", "one")
    with running(world) as agent:
        wait_for("the agent", (world.root / "run/control.sock").exists)
        assert command(world, "sync").status == 0
        assert agent.lines == []
        agent.process.send_signal(signal.SIGUSR1)
        agent.wait_until_told("log_level_changed", before="warning", after="debug")
        agent.wait_until_told("repository_polled")
        agent.process.send_signal(signal.SIGUSR1)
        agent.wait_until_told("log_level_changed", before="debug", after="warning")
        count = len(passes(world))
        known = len(agent.lines)
        wait_for("two more passes", lambda: len(passes(world)) >= count + 2)
        assert len(agent.lines) == known


def log_of(code: str) -> str:
    """What a program that begins with a configured log writes to a pipe."""
    program = f"from reconciler.agent.logs import *\nimport structlog, logging\nconfigure_logs()\n{code}"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True, cwd=PACKAGE.parent
    )
    return done.stderr


def test_no_password_of_an_address_and_no_library_s_own_format_reaches_the_log() -> None:
    text = log_of('structlog.get_logger().info("pass_failed", error="https://anna:geheim@example.com/a.git: gone")')
    assert "geheim" not in text
    assert json.loads(text)["error"] == "https://***@example.com/a.git: gone"
    said = json.loads(log_of('logging.getLogger("apscheduler").error("job %s failed", 7)'))
    assert (said["event"], said["logger"], said["note"]) == ("library_said", "apscheduler", "job 7 failed")
    assert faults_of(said) == []
    unexpected = log_of('try: 1/0\nexcept Exception: structlog.get_logger().exception("unexpected_error", error="e")')
    assert "ZeroDivisionError" in json.loads(unexpected)["exception"]


def test_every_line_of_a_test_is_checked(world: World) -> None:
    agent = RunningAgent.__new__(RunningAgent)
    agent.lines = [b'{"event": "agent_started", "level": "info", "timestamp": "x", "nonsense": 1}\n']
    with pytest.raises(AssertionError, match="nonsense"):
        agent.check_lines()
