"""From the end of ``git push`` to the first answer of the new revision, by a running agent, with its parts."""

from __future__ import annotations

import json
import statistics
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import examples
from bench import CHECKOUT
from bench.asking import await_text
from bench.reconciling import HOST, environment, reconciler
from bench.rows import Row, plain
from world import World, manifest, new_world, wsgi_app

RUNS = 5
APART_SECONDS = 3.5
"""A commit that comes sooner after work on the one before may be part of a burst, and waits."""
END_SECONDS = 10.0
DJANGO_HOST = "django.localhost"
TEMPLATE = "examples/django/visits/templates/visits/index.html"

Line = dict[str, Any]


def rows(quick: bool) -> Iterator[Row]:
    """All rows of this part."""
    runs = 1 if quick else RUNS
    files = {"apps/blog/wsgi.py": wsgi_app("page 0"), "manifests/blog.yaml": manifest("blog")}
    yield from _pushed("small app", files, HOST, lambda text: {"apps/blog/wsgi.py": wsgi_app(text)}, runs)
    if not quick:
        page = (CHECKOUT / TEMPLATE).read_text()
        yield from _pushed(
            "Django app", _django_files(), DJANGO_HOST, lambda text: {TEMPLATE: f"{page}<!-- {text} -->\n"}, runs
        )


def _django_files() -> dict[str, str]:
    folder = CHECKOUT / "examples" / "django"
    wanted = [path for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts]
    files = {str(path.relative_to(CHECKOUT)): path.read_text() for path in wanted if path.suffix != ".sqlite3"}
    page = files[TEMPLATE]
    return {
        **files,
        TEMPLATE: f"{page}<!-- page 0 -->\n",
        "manifests/django.yaml": (CHECKOUT / "manifests/django.yaml").read_text(),
    }


def _pushed(
    name: str, files: dict[str, str], host: str, change: Callable[[str], dict[str, str | None]], runs: int
) -> Iterator[Row]:
    with new_world() as world:
        world.commit(dict(files))
        bare = world.home / "c.git"
        examples.git(world.home, "clone", "--quiet", "--bare", str(world.config), str(bare))
        examples.git(world.config, "remote", "add", "origin", str(bare))
        world.configure(repository="{url: ./c.git, branch: main, interval: 60s}", log="{level: debug}")
        with _agent(world) as log:
            await_text(world.port, host, "page 0")
            taken, parts = [], []
            for number in range(1, runs + 1):
                time.sleep(APART_SECONDS)
                world.commit(change(f"page {number} of {name}"))
                examples.git(world.config, "push", "--quiet", "origin", "main")
                pushed, pushed_at = time.monotonic(), time.time()
                taken.append(await_text(world.port, host, f"page {number} of {name}") - pushed)
                parts.append(_parts(_lines_until_changed(log, number), pushed_at))
    names = dict.fromkeys(name for one in parts for name in one)
    medians = {name: statistics.median(one.get(name, 0.0) for one in parts) for name in names}
    note = ", ".join(f"{name} {seconds * 1000:.0f} ms" for name, seconds in medians.items())
    yield plain(f"push to live, {name}", taken, note=note)


def _parts(lines: list[Line], pushed_at: float) -> dict[str, float]:
    """How long the agent took to begin, and each of its steps; in seconds."""
    changed = lines[-1]
    of_pass = [line for line in lines if line.get("pass") == changed.get("pass")] or lines
    began = next(line for line in of_pass if line["event"] in ("pass_began", "repository_polled", "app_planned"))
    spent = {
        "notice": max(0.0, _moment(began) - pushed_at),
        "poll": sum(line["seconds"] for line in of_pass if line["event"] == "repository_polled"),
        "fetch": sum(line["seconds"] for line in of_pass if line["event"] == "repository_fetched"),
    }
    stages = {stage: seconds for stage, seconds in changed["stage_seconds"].items() if seconds and stage != "vassal"}
    steps = {line["step"]: line["seconds"] for line in of_pass if line["event"] == "step_ended"}
    return {**spent, **stages, **steps}


def _moment(line: Line) -> float:
    return datetime.fromisoformat(line["timestamp"]).timestamp()


def _lines_until_changed(log: Path, number: int) -> list[Line]:
    """What the agent said from its last deploy to the one with this number, the first deploy being 0."""
    deadline = time.monotonic() + END_SECONDS
    while time.monotonic() < deadline:
        # the last line may be half written
        lines = [json.loads(line) for line in log.read_text().split("\n")[:-1]]
        ends = [place for place, line in enumerate(lines) if line["event"] == "app_changed"]
        if len(ends) > number:
            return lines[ends[number - 1] + 1 : ends[number] + 1]
        time.sleep(0.02)
    raise TimeoutError(f"the agent did not tell of deploy {number}: {log.read_text()[-2000:]}")


@contextmanager
def _agent(world: World) -> Iterator[Path]:
    """``reconciler run`` with a log file."""
    log = world.home / "agent.log"
    with log.open("wb") as stream:
        process = subprocess.Popen(
            reconciler(world, "run"), stdin=subprocess.DEVNULL, stderr=stream, env=environment()
        )
        try:
            yield log
        finally:
            process.terminate()
            try:
                process.wait(END_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
