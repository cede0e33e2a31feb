"""Proves that drift is found in every managed file, told once, healed, and held when it keeps coming back."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest

from reconciler.cli.wiring import Installation
from reconciler.engine.drift import Drift, find_drift
from reconciler.engine.drifting import Drifting, Response
from reconciler.engine.results import AppResult
from reconciler.host.contents import Contents
from reconciler.host.journal import EventRecord, Journal
from reconciler.host.layout import Layout
from reconciler.model.drift import FIRST_REMINDER_SECONDS, HEALS_SECONDS, HOLD_SECONDS, MOST_HEALS
from reconciler.model.manifest import DriftPolicy
from reconciler.model.plan import AppPlan, Change, Outcome
from reconciler.model.stage import Action, Difference, DifferenceKind, Reason, StageName
from world import World, of, ran, wsgi_app

STYLE = "body {\n  color: black;\n}\n"
STATIC = [{"source": "static", "url": "/static/"}]
HELPER = "WORD = 'helped'\n"


def output(world: World, stage: str) -> Path:
    """The one output of a stage."""
    (found,) = (path for path in (world.root / "store" / stage).iterdir() if not path.name.startswith("."))
    return found


def drift_of(world: World) -> tuple[Drift, ...]:
    """What `reconciler drift` finds."""
    installation = Installation.load(world.agent_file)
    with installation.journal() as journal:
        return find_drift(installation.layout, journal)


def events(world: World, kind: str, app: str = "blog") -> list[EventRecord]:
    """The events of one kind, oldest first."""
    with Installation.load(world.agent_file).journal() as journal:
        return [event for event in reversed(journal.events(app, 500)) if event.kind == kind]


def reasons(result: AppResult, stage: StageName) -> tuple[Reason, ...]:
    return result.plan.change(stage).reasons


def deploy(world: World, **spec: object) -> AppResult:
    result = of(world.once(), "blog") if (world.root / "journal.sqlite3").exists() and not spec else None
    if result is None:
        world.add_app("blog", "here", files={"static/site.css": STYLE, "helper.py": HELPER}, static=STATIC, **spec)
        result = of(world.once(), "blog")
    assert result.error is None
    return result


# healing what is in the store


def test_a_changed_byte_of_code_is_told_with_its_difference_and_put_right_and_reloaded(world: World) -> None:
    deploy(world)
    code = output(world, "source") / "wsgi.py"
    original = code.read_text()
    code.write_text(original.replace("'here'", "'gone'"))

    (found,) = drift_of(world)
    assert (found.app, found.stage, found.path) == ("blog", StageName.SOURCE, str(code))
    assert found.difference.kind is DifferenceKind.MODIFIED
    assert "-GREETING = 'here'\n+GREETING = 'gone'" in found.difference.diff
    assert found.difference.owner
    assert abs((found.difference.changed_at or 0) - code.stat().st_ctime) < 1

    planned = of(world.plan(), "blog").plan.change(StageName.SOURCE)
    # a plan shows what will be written
    assert "-GREETING = 'gone'\n+GREETING = 'here'" in planned.diff

    result = of(world.once(), "blog")
    assert (result.error, result.outcome) == (None, Outcome.CHANGED)
    assert ran(result) == {"source", "vassal"}
    assert reasons(result, StageName.SOURCE) == reasons(result, StageName.VASSAL) == (Reason.DRIFTED,)
    assert code.read_text() == original
    assert not drift_of(world)
    assert ran(of(world.once(), "blog")) == set()
    assert world.text("blog.example.com") == "here"
    (event,) = events(world, "drift")
    assert str(code) in event.message
    assert {"stage", "path", "kind", "owner", "changed_at", "diff", "response"} <= event.detail.keys()


def test_processes_that_loaded_changed_code_load_the_right_one(world: World) -> None:
    deploy(world)
    code = output(world, "source") / "wsgi.py"
    code.write_text(code.read_text().replace("'here'", "'gone'"))
    (vassal,) = (world.root / "vassals").glob("*.ini")
    with world.engine() as engine:
        engine.host.emperor.reload(vassal.stem)
        for _ in range(200):
            if world.text("blog.example.com") == "gone":
                break
        result = of(engine.reconcile("drift"), "blog")
    assert result.error is None
    assert world.text("blog.example.com") == "here"


def test_static_files_are_put_right_without_a_reload(world: World) -> None:
    deploy(world)
    style = output(world, "static") / "0" / "site.css"
    original = style.read_bytes()
    style.write_bytes(b"body{color:red}")
    result = of(world.once(), "blog")
    assert (result.error, ran(result)) == (None, {"static"})
    assert reasons(result, StageName.STATIC) == (Reason.DRIFTED,)
    assert style.read_bytes() == original


@pytest.mark.builds
def test_a_file_of_the_environment_is_made_anew_and_not_from_the_same_damaged_cache(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    # other tests go on with the one that they share
    unfinished = shutil.ignore_patterns(".tmp*", "*.lock")
    shutil.copytree(os.environ["UV_CACHE_DIR"], world.home / "uv", symlinks=True, ignore=unfinished)
    monkeypatch.setenv("UV_CACHE_DIR", str(world.home / "uv"))
    deploy(world)
    environment = output(world, "build") / "environment"
    victim = next(path for path in environment.rglob("*.dist-info/METADATA") if path.stat().st_nlink > 1)
    original = victim.read_bytes()
    # in place, as an editor does that keeps the file: hard links see it too
    with victim.open("r+b") as file:
        file.write(b"X")
    result = of(world.once(), "blog")
    assert (result.error, reasons(result, StageName.BUILD)) == (None, (Reason.DRIFTED,))
    assert victim.read_bytes() == original
    assert not drift_of(world)
    assert world.text("blog.example.com") == "here"


@pytest.mark.parametrize("policy", ["report", "ignore"])
def test_what_is_not_healed_stays(world: World, policy: str) -> None:
    deploy(world, drift=policy)
    code = output(world, "source") / "helper.py"
    code.write_text("WORD = 'no'\n")
    for _ in range(3):
        assert of(world.once(), "blog").outcome is Outcome.UNCHANGED
    assert code.read_text() == "WORD = 'no'\n"
    told = events(world, "drift")
    assert len(told) == (1 if policy == "report" else 0)
    # a person who asks is told in any case
    assert [found.path for found in drift_of(world)] == [str(code)]
    code.write_text(HELPER)
    world.once()
    assert len(events(world, "drift_gone")) == len(told)


# what counts


def test_every_kind_of_change_in_the_store_is_found(world: World) -> None:
    deploy(world, drift="report")
    source = output(world, "source")
    (source / "helper.py").chmod(0o600)
    (source / "static" / "site.css").unlink()
    (source / "static").chmod(0o700)
    (source / "intruder.py").write_text("pass\n")
    found = {(Path(row.path).name, row.difference.kind) for row in drift_of(world)}
    assert found == {
        ("helper.py", DifferenceKind.MODE),
        ("site.css", DifferenceKind.MISSING),
        ("static", DifferenceKind.MODE),
        ("intruder.py", DifferenceKind.EXTRA),
    }
    assert all(row.difference.diff.strip() for row in drift_of(world))
    assert events(world, "drift") == []
    result = world.once()
    assert len(result.drift) == 4
    assert {news.response for news in result.drift} == {Response.REPORT, Response.HEAL}


def test_extra_code_is_set_aside_while_data_and_bytecode_are_left(world: World) -> None:
    deploy(world)
    source = output(world, "source")
    (source / "intruder.py").write_text("pass\n")
    (source / "data.sqlite3").write_text("data of the app")
    (source / "__pycache__").mkdir()
    (source / "__pycache__" / "wsgi.cpython-311.pyc").write_bytes(b"bytecode")
    assert {Path(row.path).name for row in drift_of(world)} == {"intruder.py", "data.sqlite3"}
    result = of(world.once(), "blog")
    assert result.error is None
    assert not (source / "intruder.py").exists()
    assert [path.read_text() for path in (world.root / "set-aside").rglob("intruder.py")] == ["pass\n"]
    assert (source / "data.sqlite3").read_text() == "data of the app"
    assert (source / "__pycache__" / "wsgi.cpython-311.pyc").exists()
    told = {Path(str(event.detail["path"])).name: event for event in events(world, "drift")}
    assert told.keys() == {"intruder.py", "data.sqlite3"}
    assert "spec.shared" in told["data.sqlite3"].message
    assert ran(of(world.once(), "blog")) == set()
    # bytecode of no module of the app is no byproduct
    (source / "__pycache__" / "other.cpython-311.pyc").write_bytes(b"bytecode")
    assert any("__pycache__" in row.path for row in drift_of(world))


def test_links_and_extra_files_of_a_live_release_are_put_right(world: World) -> None:
    deploy(world)
    (release,) = (world.root / "releases" / "blog").iterdir()
    target = (release / "static").readlink()
    (release / "static").unlink()
    (release / "static").symlink_to("/nowhere")
    (release / "extra").write_text("x")
    kinds = {(Path(row.path).name, row.difference.kind) for row in drift_of(world)}
    assert kinds == {("static", DifferenceKind.LINK), ("extra", DifferenceKind.EXTRA)}
    assert of(world.once(), "blog").error is None
    assert (release / "static").readlink() == target
    assert not (release / "extra").exists()
    assert not drift_of(world)


def test_what_nobody_made_in_the_store_is_told(world: World) -> None:
    deploy(world)
    stray = world.root / "store" / "source" / "stray"
    stray.mkdir()
    (found,) = drift_of(world)
    assert (found.app, found.path, found.difference.kind) == ("", str(stray), DifferenceKind.EXTRA)


@pytest.mark.builds
def test_an_index_that_is_missing_is_made_and_redeploys_nothing(world: World) -> None:
    deploy(world)
    indexes = world.root / "store" / "index"
    assert len(list(indexes.iterdir())) == 3
    for path in indexes.iterdir():
        path.unlink()
    assert of(world.once(), "blog").outcome is Outcome.UNCHANGED
    assert len(list(indexes.iterdir())) == 3
    for path in indexes.iterdir():
        path.write_bytes(path.read_bytes()[:-7])
    assert of(world.once(), "blog").outcome is Outcome.UNCHANGED


def test_going_back_to_a_damaged_output_makes_it_anew(world: World) -> None:
    deploy(world)
    code = output(world, "source") / "wsgi.py"
    before = code.read_text()
    world.commit({"apps/blog/wsgi.py": wsgi_app("second")})
    world.once()
    code.write_text(before.replace("'here'", "'damaged'"))
    world.commit({"apps/blog/wsgi.py": before})
    assert of(world.once(), "blog").error is None
    assert world.text("blog.example.com") == "here"


def test_a_changed_owner_is_drift(world: World) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can give files away")
    deploy(world)
    site = world.root / "nginx/sites/blog.conf"
    os.chown(site, 12345, -1)
    os.chown(output(world, "source") / "helper.py", 12345, -1)
    found = drift_of(world)
    assert {row.difference.kind for row in found} == {DifferenceKind.MODE}
    assert all("12345" in row.difference.diff for row in found)
    assert of(world.once(), "blog").error is None
    assert site.stat().st_uid == 0
    assert not drift_of(world)


# holding


def test_a_heal_that_comes_back_is_held_and_said_until_a_person_retries(world: World) -> None:
    deploy(world)
    site = world.root / "nginx/sites/blog.conf"
    original = site.read_text()
    changed = original + "# mine\n"
    for _ in range(MOST_HEALS):
        site.write_text(changed)
        world.once()
        assert site.read_text() == original
    site.write_text(changed)
    result = of(world.once(), "blog")
    assert (result.outcome, site.read_text()) == (Outcome.UNCHANGED, changed)
    assert "reconciler retry blog" in (result.note or "")
    (held,) = events(world, "drift_held")
    assert str(site) in held.message
    assert of(world.plan(), "blog").note == result.note
    world.once()
    assert len(events(world, "drift_held")) == 1
    with Installation.load(world.agent_file).journal(write=True) as journal:
        assert journal.release_quarantine("blog")
    world.once()
    assert site.read_text() == original


def test_a_new_commit_ends_a_hold(world: World) -> None:
    deploy(world)
    link = world.root / "public" / "blog"
    site = world.root / "nginx/sites/blog.conf"
    original = site.read_text()
    for _ in range(MOST_HEALS + 1):
        site.write_text(original + "# mine\n")
        world.once()
    assert site.read_text() != original
    world.commit({"apps/blog/wsgi.py": wsgi_app("second")})
    world.once()
    assert site.read_text() == original
    assert link.exists()


# telling


@pytest.fixture
def drifting(tmp_path: Path) -> Iterator[tuple[Drifting, list[float]]]:
    now = [1_000_000.0]
    with Journal.open(tmp_path / "journal.sqlite3") as journal:
        yield Drifting(journal, clock=lambda: now[0]), now


SEEN = ((StageName.NGINX, Difference("/v/blog.conf", DifferenceKind.MODIFIED, "-a\n+b")),)


def test_drift_is_told_once_and_then_slowly_again(drifting: tuple[Drifting, list[float]]) -> None:
    tell, now = drifting
    told = []
    for _ in range(7 * 24 * 60):
        told += [now[0]] if tell.note("blog", SEEN, (), DriftPolicy.REPORT, "key") else []
        now[0] += 60
    pauses = [later - earlier for earlier, later in pairwise(told)]
    assert pauses[0] == FIRST_REMINDER_SECONDS
    assert pauses[:4] == [FIRST_REMINDER_SECONDS * 2**number for number in range(4)]
    assert pauses[-1] == 24 * 3600
    assert len(told) < 15
    # a new process knows what was told
    again = Drifting(tell.journal, clock=lambda: now[0])
    again.load()
    assert not again.note("blog", SEEN, (), DriftPolicy.REPORT, "key")


def test_a_hold_ends_after_an_hour_and_slow_heals_are_never_held(drifting: tuple[Drifting, list[float]]) -> None:
    tell, now = drifting
    plan = AppPlan("blog", (Change(StageName.NGINX, Action.UPDATE, (Reason.DRIFTED,), heals=(SEEN[0][1],)),))

    def comes_back(pause: float) -> bool:
        held = tell.holding("blog", lambda: "key")
        left = [seen for seen in SEEN if held(*seen)]
        tell.note("blog", SEEN, left, DriftPolicy.HEAL, "key")
        if not left:
            tell.healed("blog", plan, "key")
        now[0] += pause
        return bool(left)

    assert [comes_back(HEALS_SECONDS / 2) for _ in range(6)] == [False] * 6
    now[0] += HEALS_SECONDS
    assert [comes_back(60) for _ in range(5)] == [False] * MOST_HEALS + [True] * (5 - MOST_HEALS)
    now[0] += HOLD_SECONDS
    assert comes_back(60) is False
    assert tell.holding("blog", lambda: "another commit")(*SEEN[0]) is False


# the index


def test_only_folders_that_a_path_leads_to_are_looked_at(tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    root = layout.output("source", "d" * 64)
    for folder in ("a", "b"):
        (root / folder).mkdir(parents=True)
        (root / folder / "file").write_text(folder)
    contents = Contents(layout)
    contents.made(StageName.SOURCE, "d" * 64)
    served = {(StageName.SOURCE, root.name): ""}
    for folder in ("a", "b"):
        (root / folder / "file").write_text(folder * 2)
    contents.touched([root / "a" / "file"], served)
    found = contents.differences(StageName.SOURCE, "d" * 64)
    assert [difference.path for difference in found] == [str(root / "a" / "file")]
    contents.touched([root / "b" / "file", tmp_path / "elsewhere"], served)
    assert len(contents.differences(StageName.SOURCE, "d" * 64)) == 2
    (root / "a" / "file").write_text("a")
    contents.touched([root / "a" / "file"], served)
    assert len(contents.differences(StageName.SOURCE, "d" * 64)) == 1


def test_a_change_in_the_very_tick_of_the_index_is_found(tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    root = layout.output("source", "d" * 64)
    root.mkdir(parents=True)
    file = root / "file"
    for number in range(50):
        file.write_text(f"{number:04}")
        contents = Contents(layout)
        contents.made(StageName.SOURCE, "d" * 64)
        # the same length at once: only the clock's tick tells them apart
        file.write_text(f"{number + 5000:04}")
        contents.scan({(StageName.SOURCE, ("d" * 64)[:32]): ""})
        assert contents.differences(StageName.SOURCE, "d" * 64), f"run {number}"


def test_a_file_that_was_only_touched_is_read_once_and_is_no_drift(tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    root = layout.output("source", "d" * 64)
    root.mkdir(parents=True)
    (root / "file").write_text("text")
    contents = Contents(layout)
    contents.made(StageName.SOURCE, "d" * 64)
    os.utime(root / "file", (1, 1))
    contents.scan({(StageName.SOURCE, "d" * 32): ""})
    assert not contents.differences(StageName.SOURCE, "d" * 64)
