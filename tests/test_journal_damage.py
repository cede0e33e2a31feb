"""Proves that a damaged journal is set aside and begun anew with what can be read of it, and that nothing is deployed
for that, no hook runs twice and every site serves on.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from breaking import Town, blog, show, well_said
from command_line import reconciler
from reconciler.host.journal import EventRecord, Journal, PassRecord, SuspensionRecord
from reconciler.host.journal.failures import journal_error
from reconciler.host.journal.renewing import open_or_renew
from reconciler.model.errors import JournalDamaged, JournalError
from reconciler.model.plan import Outcome
from world import World, of

PASSES = 3_000


def fill(path: Path) -> None:
    """A journal with a suspension, and with many passes and events."""
    with Journal.open(path) as journal:
        journal.record_suspension(
            SuspensionRecord("blog", "why not", "ann", 1.0), EventRecord("blog", "suspended", "", 1.0)
        )
        connection = journal._connection
        connection.execute("PRAGMA synchronous = OFF")
        for number in range(PASSES):
            journal.record_pass(PassRecord(float(number), float(number), "poll", "c" * 40, {"unchanged": number}))


def truncate(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def overwrite_the_start(path: Path) -> None:
    path.write_bytes(b"\x00rubbish\xff" * 20 + path.read_bytes()[180:])


def overwrite_the_middle(path: Path) -> None:
    data = bytearray(path.read_bytes())
    middle = len(data) // 2 // 4096 * 4096
    data[middle : middle + 8192] = os.urandom(8192)
    path.write_bytes(data)


def make_text(path: Path) -> None:
    path.write_text("this is no database at all\n" * 100)


@pytest.mark.parametrize("damage", [truncate, overwrite_the_start, overwrite_the_middle, make_text])
def test_a_damaged_journal_is_set_aside_and_begun_anew(damage: Callable[[Path], None], tmp_path: Path) -> None:
    path = tmp_path / "journal.sqlite3"
    fill(path)
    damage(path)
    before = path.read_bytes()
    journal, renewed = open_or_renew(path, thorough=True)
    with journal:
        assert renewed is not None
        assert renewed.aside.read_bytes() == before
        assert renewed.aside.name.startswith("journal.sqlite3.damaged-")
        (event,) = [event for event in journal.events("") if event.kind == "journal_renewed"]
        assert event.message == renewed.message
        journal.check()
        if damage is overwrite_the_middle:
            assert renewed.torn == ("passes",)
            assert PASSES // 2 < renewed.rows < PASSES
            assert journal.suspensions()["blog"].by == "ann"
            last = journal.last_pass()
            assert last is not None
            assert last.started == PASSES - 1
    # the new one is sound, and stays
    journal, renewed = open_or_renew(path, thorough=True)
    journal.close()
    assert renewed is None


def test_a_value_that_nobody_wrote_is_damage_too(tmp_path: Path) -> None:
    path = tmp_path / "j"
    fill(path)
    with sqlite3.connect(path) as connection:
        connection.execute("INSERT INTO applied VALUES ('blog', 'sauce', 'd', 'k', '{')")
    connection.close()
    journal, renewed = open_or_renew(path, thorough=True)
    with journal:
        assert renewed is not None
        assert "applied" in renewed.torn
        assert journal.applied() == {}
        assert "blog" in journal.suspensions()


def test_what_a_person_has_to_see_to_is_left_where_it_is(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    for use in (Journal.open, Journal.read, open_or_renew):
        with pytest.raises(JournalError, match=r"the journal .*/folder is a folder") as caught:
            use(folder)
        well_said(caught.value)
    assert folder.is_dir()


def test_a_journal_of_another_account_is_said_with_its_owner(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "j"
    fill(path)
    monkeypatch.setattr(os, "access", lambda place, _mode: Path(place) != path)
    error = sqlite3.OperationalError("attempt to write a readonly database")
    error.sqlite_errorname = "SQLITE_READONLY"
    said = journal_error(error, path, "written")
    well_said(said)
    assert f"may not write {path}, which is " in str(said)
    assert "and has mode 0" in str(said)
    assert "chown" in (said.hint or "")


def test_one_who_only_reads_sets_nothing_aside(tmp_path: Path) -> None:
    path = tmp_path / "j"
    fill(path)
    make_text(path)
    with pytest.raises(JournalDamaged, match="is damaged") as caught:
        Journal.read(path)
    well_said(caught.value)
    assert [entry.name for entry in tmp_path.iterdir()] == ["j"]


def serving(world: World) -> set[str]:
    """The processes of the apps: none of them may be started anew for a journal's sake."""
    found = set()
    for process in Path("/proc").iterdir():
        if process.name.isdecimal():
            try:
                if f"{world.root}/vassals/".encode() in (process / "cmdline").read_bytes():
                    found.add(process.name)
            except OSError:
                continue
    return found


@pytest.mark.parametrize("damage", [make_text, truncate, lambda path: os.truncate(path, 0), Path.unlink])
def test_a_host_goes_on_behind_a_journal_that_is_lost(damage: Callable[[Path], None], town: Town) -> None:
    """No hook runs again, no process starts again, and the next commit is deployed as ever."""
    world = town.world
    counted = world.home / f"hooks-{next(town.numbers)}"
    hook = {"beforeSwitch": [f"echo ran >> {counted}"]}
    world.commit({"manifests/blog.yaml": blog(hooks=hook, env={"COLOUR": str(counted)})})
    assert not world.once().failed
    pages, processes, journal = town.pages(), serving(world), world.root / "journal.sqlite3"
    damage(journal)
    ended = reconciler("-c", str(world.agent_file), "once")
    assert ended.status == 0, ended
    if damage in (make_text, truncate):
        assert "was damaged" in ended.err
        assert "and lies as journal.sqlite3.damaged-" in ended.err
    assert town.pages() == pages
    assert serving(world) == processes
    assert counted.read_text() == "ran\n"
    result = world.once()
    show(result)
    assert of(result, "blog").outcome is Outcome.UNCHANGED
    for file in world.root.glob("journal.sqlite3.damaged-*"):
        file.unlink()


def test_a_journal_without_the_file_of_its_last_writes_is_brought_up_to_date(town: Town) -> None:
    """The writes since the last checkpoint are gone, as after a copy of one file alone; the disk knows better."""
    world = town.world
    journal = world.root / "journal.sqlite3"
    before = journal.read_bytes()
    page = town.pages()[0]
    world.commit({"apps/other/wsgi.py": "broken = (\n"})
    world.once()
    town.settle()
    assert town.pages()[0] != page
    pages = town.pages()
    journal.write_bytes(before)
    for side in ("-wal", "-shm"):
        journal.with_name(journal.name + side).unlink(missing_ok=True)
    result = world.once()
    show(result)
    assert not result.failed
    assert town.pages() == pages
    assert {app.outcome for app in world.once().apps} == {Outcome.UNCHANGED}
