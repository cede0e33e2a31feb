"""Proves that what a killed agent left behind, or a loss of power brought back, goes with the next pass."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from reconciler.host import daemons
from reconciler.model.plan import Outcome
from world import World, manifest, of

RELEASE = "0123456789ab"


def journal(world: World, statement: str) -> list[tuple[object, ...]]:
    connection = sqlite3.connect(world.root / "journal.sqlite3")
    with connection:
        rows = connection.execute(statement).fetchall()
    connection.close()
    return rows


def leave_behind(world: World) -> list[Path]:
    """What nobody needs: an output, a release, old assets, the environment of a vassal that never started."""
    root = world.root
    folders = [root / "store" / "static" / ("f" * 32), root / "releases" / "blog" / RELEASE, root / "assets" / "gone"]
    for folder in folders:
        folder.mkdir(parents=True)
    environment = root / "vassals" / f"blog.{RELEASE}.env"
    environment.write_text("SECRET='canary'\n")
    return [*folders, environment]


def test_a_pass_ends_what_the_one_before_it_was_killed_in(world: World) -> None:
    world.add_app("blog")
    assert not world.once().failed
    outputs = journal(world, "SELECT stage, digest FROM outputs ORDER BY digest")
    left = leave_behind(world)
    assert not world.once().failed
    assert all(path.exists() for path in left[:-1]), "a pass that knows of nothing to do collects nothing"
    # as a pass leaves it that is killed after its switch, or before it wrote down what it had made
    journal(world, "UPDATE settings SET value = '' WHERE name = 'settled'")
    journal(world, "DELETE FROM outputs")
    world.commit({"manifests/blog.yaml": manifest("blog", nginx={"clientMaxBodySize": "2m"})})
    assert of(world.once(), "blog").outcome is Outcome.CHANGED
    assert not [path for path in left if path.exists()]
    assert journal(world, "SELECT stage, digest FROM outputs ORDER BY digest") == outputs


def test_copies_of_secrets_go_with_the_next_pass(world: World) -> None:
    """An agent that is killed while it starts a vassal anew leaves one, and one that is killed in a removal too."""
    world.canary = True
    for name in ("blog", "other"):
        world.add_app(name)
    assert not world.once().failed
    (environment,) = (world.root / "vassals").glob("blog.*.env")
    kept = environment.with_name(f"{environment.name}.kept")
    kept.write_bytes(environment.read_bytes())
    journal(world, "UPDATE settings SET value = '' WHERE name = 'settled'")
    assert of(world.once(), "blog").outcome is Outcome.UNCHANGED
    assert environment.exists()
    assert not kept.exists()
    environment.with_suffix(".ini").unlink()
    world.commit({"manifests/blog.yaml": None})
    assert of(world.once(), "blog").outcome is Outcome.CHANGED
    assert not list((world.root / "vassals").glob("blog.*"))


def test_the_first_pass_after_a_reboot_clears_away_and_takes_a_new_site(
    world: World, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    world.add_app("blog")
    assert not world.once().failed
    left = leave_behind(world)
    world.end()
    boot = tmp_path / "boot_id"
    boot.write_text("another-boot\n")
    monkeypatch.setattr(daemons, "BOOT_ID", boot)
    # no stage of it starts the app, and nothing runs yet
    world.commit({"manifests/blog.yaml": manifest("blog", nginx={"clientMaxBodySize": "2m"})})
    result = world.once()
    assert of(result, "blog").outcome is Outcome.CHANGED, str(of(result, "blog").error)
    assert world.text("blog.example.com") == "hello"
    assert not [path for path in left if path.exists()]
