"""Proves that the benchmark holds its bars, ends what takes too long, keeps its page, and runs."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from bench import CHECKOUT, page, running
from bench.measuring import in_turn, timed
from bench.profiling import slim, without_places
from bench.rows import Row, amount, bounded, cells, faster, plain, slower

RUN_SECONDS = 115


@pytest.mark.parametrize(
    ("row", "passed", "ratio"),
    [
        (slower("poll", [0.02, 0.03, 0.04], "floor", [0.01, 0.01, 0.01], 3), True, "3.00x (2.00x to 4.00x) floor"),
        (slower("poll", [0.04], "floor", [0.01], 3), False, "4.00x floor"),
        (slower("poll", [0.04], "floor", [0.01]), None, "4.00x floor"),
        (faster("pass", [0.01], "it", [2.0], 100), True, "200x it, 2.00 s"),
        (faster("pass", [0.01], "it", [0.5], 100), False, "50x it, 500 ms"),
        (bounded("memory", [151.0], 150, "at most 150 MiB", "MiB"), False, ""),
        (bounded("failed", [0], 0, "0", ""), True, ""),
    ],
)
def test_a_bar_is_held_by_the_median(row: Row, passed: bool | None, ratio: str) -> None:
    assert row.passed is passed
    assert cells(row)[2] == ratio
    assert cells(row)[4] == {True: "passed", False: "FAILED", None: ""}[passed]


def test_amounts_read_well() -> None:
    shown = [amount(value, unit) for value, unit in [(0.0123, "s"), (0.5, "s"), (12, "s"), (84.14, "MiB"), (3, "")]]
    assert shown == ["12.3 ms", "500 ms", "12.00 s", "84.1 MiB", "3"]


def test_actions_are_timed_in_turn_and_what_says_its_time_is_believed() -> None:
    order: list[str] = []

    def said(name: str, seconds: float) -> float:
        order.append(name)
        return seconds

    found = in_turn({"a": lambda: said("a", 1.0), "b": lambda: said("b", 2.0)}, 2)
    assert found == {"a": [1.0, 1.0], "b": [2.0, 2.0]}
    assert order == ["a", "b"] * 3
    assert len(in_turn({"a": lambda: 1.0}, 9, budget=-1.0)["a"]) == 2
    assert 0 <= timed(lambda: None) < 1


def test_the_page_takes_a_run_between_its_marks_and_keeps_the_rest(tmp_path: Path) -> None:
    copy = tmp_path / "performance.md"
    text = page.PAGE.read_text("utf-8")
    copy.write_text(text, "utf-8")
    page.write({"growth": [plain("one app", [0.5], note="three watches")]}, "A machine.", copy)
    rows = [plain("two apps", [0.5]), bounded("two apps, memory", [200.0], 150, "at most 150 MiB", "MiB")]
    page.write({"growth": rows}, "Another machine.", copy)
    written = copy.read_text("utf-8")
    assert "Another machine.\n\n### Bars\n\n| bar |" in written
    assert "| two apps, memory | at most 150 MiB | 200 MiB | FAILED | Python, its libraries" in written
    assert "\n\n### growth\n\n| what |" in written
    assert "| two apps | 500 ms |  |  |  |" in written
    assert "one app" not in written
    assert written.partition(page.BEGIN)[0] == text.partition(page.BEGIN)[0]
    assert written.partition(page.END)[2] == text.partition(page.END)[2]


def test_flame_graphs_have_no_places_of_this_machine() -> None:
    line = "<title>main (/home/somebody/lib/python3.11/site-packages/git/cmd.py:12) (3 samples, 1.0%)</title>"
    assert without_places(line) == "<title>main (cmd.py:12) (3 samples, 1.0%)</title>"
    assert without_places('<text id="title" x="1">/usr/bin/py-spy record</text>') == '<text id="title" x="1"></text>'
    box = '<g><title>look</title><rect x="0%" width="{}%" height="15" fg:w="2"/><text x="1%">look</text></g>'
    assert slim(box.format("0.1338") + box.format("2.5")) == box.format("2.5")
    assert without_places("<a href='x'>look (engine.py:7)</a> <svg/>") == "<a href='x'>look (engine.py:7)</a> <svg/>"


def test_a_part_that_takes_too_long_is_ended_and_told() -> None:
    rows, problem = running.run_part("long-run", 1.0, quick=True)
    assert rows == []
    assert problem == "long-run took longer than 1 s, and was ended"


@pytest.mark.endurance
def test_a_quick_run_prints_its_table_and_holds_no_bars() -> None:
    command = [sys.executable, "-m", "bench", "--quick", "--part", "long-run", "--part", "push-to-live"]
    done = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, timeout=RUN_SECONDS, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    for told in ("80 passes with 8 deploys: one deploy", "push to live, small app", "0 parts failed"):
        assert told in done.stdout
