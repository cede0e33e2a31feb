"""Proves that the journal keeps what was applied, survives being reopened, and refuses a file from the future."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from reconciler.host.journal import EventRecord, Journal, PassRecord, ReleaseRecord, ReleaseState
from reconciler.host.journal.migrations import MIGRATIONS
from reconciler.model.errors import JournalError
from reconciler.model.stage import DesiredStage, Inputs, StageName


def release(app: str, name: str, state: ReleaseState = ReleaseState.VERIFIED, at: float = 1.0) -> ReleaseRecord:
    return ReleaseRecord(app, name, "c" * 40, "d" * 40, {"source": "s" * 64}, state, at, 0.5)


def applied(stage: StageName, **inputs: str) -> DesiredStage:
    declared = Inputs(stage, inputs, {StageName.SOURCE: "1" * 64}, {"tool": "1"}, {"note": "n"})
    return DesiredStage(declared, declared.digest, {"blog.conf": "server {}\n"})


def test_what_was_applied_is_read_back_as_it_was(tmp_path: Path) -> None:
    stage = applied(StageName.NGINX, listen="80", empty="").as_applied()
    with Journal.open(tmp_path / "j") as journal:
        journal.record_verified(release("blog", "r1"), [stage], [EventRecord("blog", "verified", "it serves", 1.0)])
    with Journal.open(tmp_path / "j") as journal:
        assert journal.applied() == {"blog": {StageName.NGINX: stage}}
        assert journal.events("blog")[0].message == "it serves"
        assert journal.apps()["blog"].release == "r1"


def test_serving_since_moves_with_the_release_only(tmp_path: Path) -> None:
    with Journal.open(tmp_path / "j") as journal:
        journal.record_verified(release("blog", "r1", at=1.0), [])
        journal.record_verified(release("blog", "r1", at=2.0), [])
        assert journal.apps()["blog"].serving_since == 1.0
        journal.record_verified(release("blog", "r2", at=3.0), [])
        assert journal.apps()["blog"].serving_since == 3.0


def test_a_failure_quarantines_until_it_is_released(tmp_path: Path) -> None:
    with Journal.open(tmp_path / "j") as journal:
        journal.record_failed(release("blog", "r1", ReleaseState.FAILED), "key")
        assert journal.apps()["blog"].quarantined_key == "key"
        assert journal.release_quarantine("blog")
        assert not journal.release_quarantine("blog")
        assert journal.apps()["blog"].quarantined_key is None


def test_the_journal_tells_of_which_apps_something_was_written_and_a_pass_is_no_news(tmp_path: Path) -> None:
    with Journal.open(tmp_path / "j") as journal:
        assert journal.news() is None
        journal.record_pass(PassRecord(1.0, 2.0, "poll", "c" * 40, {"unchanged": 1}))
        journal.record_setting("settled", "yes")
        assert journal.news() == frozenset()
        journal.record_error("blog", "it is broken")
        journal.record_verified(release("shop", "r1"), [applied(StageName.NGINX).as_applied()])
        assert journal.news() == {"blog", "shop"}
        with Journal.open(tmp_path / "j") as other:
            other.record_error("blog", None)
        assert journal.news() is None
        assert journal.news() == frozenset()


def test_a_failed_transaction_leaves_nothing(tmp_path: Path) -> None:
    with Journal.open(tmp_path / "j") as journal:
        broken = EventRecord("blog", "verified", None, 1.0)  # type: ignore[arg-type]
        with pytest.raises(JournalError, match="cannot be written"):
            journal.record_verified(release("blog", "r1"), [applied(StageName.NGINX).as_applied()], [broken])
        assert journal.applied() == {}
        assert journal.apps() == {}


def test_a_journal_of_a_newer_reconciler_is_refused(tmp_path: Path) -> None:
    Journal.open(tmp_path / "j").close()
    connection = sqlite3.connect(tmp_path / "j")
    connection.execute(f"PRAGMA user_version = {len(MIGRATIONS) + 1}")
    connection.close()
    with pytest.raises(JournalError, match="newer reconciler|schema version"):
        Journal.open(tmp_path / "j")
    with pytest.raises(JournalError, match="newer reconciler|schema version"):
        Journal.read(tmp_path / "j")


@pytest.mark.parametrize("version", range(1, len(MIGRATIONS) + 1))
def test_the_journal_of_every_earlier_version_is_read_without_touching_it_and_kept_by_the_next_writer(
    tmp_path: Path, version: int
) -> None:
    path = tmp_path / "j"
    connection = sqlite3.connect(path, isolation_level=None)
    for script in MIGRATIONS[:version]:
        connection.executescript(script)
    connection.execute(f"PRAGMA user_version = {version}")
    connection.execute("INSERT INTO apps (app, release, revision) VALUES ('blog', 'r1', 'c1')")
    connection.close()
    before = path.read_bytes()
    with Journal.read(path) as journal:
        assert journal.apps()["blog"].release == "r1"
        assert journal.suspensions() == {}
    assert path.read_bytes() == before
    with Journal.open(path) as journal:
        assert journal.apps()["blog"].revision == "c1"
        assert journal.drift() == []
    with Journal.read(path) as journal:
        assert journal.apps()["blog"].release == "r1"


def test_only_so_many_passes_are_kept(tmp_path: Path) -> None:
    with Journal.open(tmp_path / "j") as journal:
        assert journal.forget_passes(3) == 0
        for number in range(10):
            journal.record_pass(PassRecord(float(number), float(number), "poll", "c", {}))
        assert journal.forget_passes(3) == 7
        assert journal.forget_passes(3) == 0
        last = journal.last_pass()
        assert last is not None
        assert last.started == 9.0


def test_something_that_is_no_journal_is_an_error_with_a_next_action(tmp_path: Path) -> None:
    (tmp_path / "j").write_text("this is no database, and it is long enough to be looked at as one" * 20)
    with pytest.raises(JournalError, match="is damaged: file is not a database") as caught:
        Journal.open(tmp_path / "j")
    assert caught.value.hint


def test_reading_a_journal_that_is_not_there_says_what_to_run(tmp_path: Path) -> None:
    with pytest.raises(JournalError, match="no journal") as caught:
        Journal.read(tmp_path / "j")
    assert "reconciler once" in (caught.value.hint or "")
    assert not (tmp_path / "j").exists()
