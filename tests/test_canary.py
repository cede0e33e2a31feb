"""Proves that the search for the secret that many tests deploy would find it, wherever it came to light."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import canary
from breaking import Town
from command_line import PYTHONPATH, environment
from world import shown


def _log(root: Path) -> None:
    (root / "logs").mkdir()
    (root / "logs" / "blog.hooks.log").write_text(f"login with {canary.VALUE}\n")


def _journal(root: Path) -> None:
    journal = sqlite3.connect(root / "journal.sqlite3")
    journal.execute("PRAGMA journal_mode = WAL")
    journal.execute("CREATE TABLE events (message TEXT)")
    journal.execute("INSERT INTO events VALUES (?)", [canary.VALUE])
    journal.commit()
    # an open connection keeps the row in the file beside the journal
    KEPT.append(journal)


def _site(root: Path) -> None:
    (root / "nginx" / "sites").mkdir(parents=True)
    (root / "nginx" / "sites" / "blog.conf").write_text(f"# {canary.VALUE}\n")


KEPT: list[sqlite3.Connection] = []
PLACES: dict[str, Callable[[Path], None]] = {"log": _log, "journal": _journal, "site": _site}


@pytest.mark.parametrize("place", PLACES)
def test_a_planted_canary_is_found_in_files(tmp_path: Path, place: str) -> None:
    (tmp_path / "vassals").mkdir()
    (tmp_path / "vassals" / "blog.abc.env").write_text(f"export CANARY='{canary.VALUE}'\n")
    canary.search(tmp_path)
    PLACES[place](tmp_path)
    with pytest.raises(canary.Leaked, match="the canary is in"):
        canary.search(tmp_path)
    while KEPT:
        KEPT.pop().close()


def test_a_planted_canary_is_found_in_arguments_and_output() -> None:
    subprocess.run(["true", f"--password={canary.VALUE}"], check=True)
    with pytest.raises(canary.Leaked, match="was an argument of 'true'"):
        canary.check_arguments()
    canary.check_arguments()
    with pytest.raises(canary.Leaked, match="the output of plan"):
        canary.refuse(f"+export CANARY={canary.VALUE!r}", "the output of plan")
    program = f"import subprocess; subprocess.run(['true', {canary.VALUE[:12]!r} + 'x'])"
    ended = subprocess.run(
        [sys.executable, "-"], input=program, text=True, env=environment(), capture_output=True, check=False
    )
    assert PYTHONPATH in environment()["PYTHONPATH"]
    assert (ended.returncode, ended.stderr) == (99, "the canary was an argument of a program\n")


def test_the_apps_of_a_town_have_it_and_a_result_that_told_it_would_be_found(town: Town) -> None:
    held = [file.read_text() for file in town.world.root.glob("vassals/blog.*.env")]
    assert any(canary.MARK in text for text in held)
    result = town.world.plan()
    assert result.apps
    canary.search(town.world.root)
    secret = type(result)(result.revision, result.apps, (f"a problem with {canary.VALUE}",))
    with pytest.raises(canary.Leaked):
        shown(secret)
