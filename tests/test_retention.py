"""Proves what is kept for going back and what is collected: by number of releases, by the limit of the store."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

import examples
from reconciler.cli.views.lines import plain
from reconciler.cli.views.once import summary_lines
from reconciler.engine.results import PassResult
from reconciler.engine.retention import Footprint, Output, Retained, retained_releases, within_budget
from reconciler.host.journal import ReleaseRecord, ReleaseState
from reconciler.host.store import disk_usage
from reconciler.model.plan import Outcome
from reconciler.model.sizes import readable
from reconciler.model.stage import StageName
from reconciler.model.values import size_in_bytes
from world import World, manifest, of, ran, wsgi_app

V, F = ReleaseState.VERIFIED, ReleaseState.FAILED


def record(release: str, number: int, state: ReleaseState = V) -> ReleaseRecord:
    digests = {"source": f"{release} source", "build": "build", "nginx": "site", "vassal": release}
    return ReleaseRecord("blog", release, "commit", "config", digests, state, 1.0, 0.1, number=number)


@pytest.mark.parametrize(
    ("history", "serving", "retain", "expected"),
    [
        pytest.param([], None, 3, [], id="nothing yet"),
        pytest.param([("a", 1, V)], "a", 3, [], id="only what serves"),
        pytest.param([("c", 3, V), ("b", 2, V), ("a", 1, V)], "c", 1, [("b", 3)], id="one"),
        pytest.param([("c", 3, V), ("b", 2, V), ("a", 1, V)], "c", 2, [("b", 3), ("a", 2)], id="two"),
        pytest.param([("c", 3, V), ("b", 2, V)], "c", 0, [], id="none"),
        pytest.param([("a", 3, V), ("b", 2, V), ("a", 1, V)], "a", 1, [("b", 3)], id="went back: each release once"),
        pytest.param([("c", 4, V), ("x", 3, F), ("b", 2, V)], "c", 1, [("b", 4)], id="a failed one does not count"),
        pytest.param([("c", 5, V), ("c", 3, V), ("b", 2, V)], "c", 1, [("b", 3)], id="one that was verified again"),
        pytest.param([("b", 2, V), ("a", 1, V)], None, 1, [("b", 2)], id="nothing serves"),
    ],
)  # fmt: skip
def test_retained_releases(
    history: list[tuple[str, int, ReleaseState]],
    serving: str | None,
    retain: int,
    expected: list[tuple[str, float]],
) -> None:
    found = retained_releases([record(*row) for row in history], serving, retain)
    assert [(release.release, release.last_served) for release in found] == expected
    for release in found:
        source = (StageName.SOURCE, f"{release.release} source")
        assert release.outputs == {source, (StageName.BUILD, "build")}


def out(name: str) -> Output:
    return (StageName.BUILD, name)


def old(app: str, last_served: float, *outputs: str) -> Retained:
    return Retained(app, f"{app}{last_served:g}", "commit", last_served, frozenset(map(out, outputs)))


OWN = {"serving": Footprint(100), "a": Footprint(10), "b": Footprint(20), "c": Footprint(30)}
LINKED = {
    "serving": Footprint(10, (1, 2), (100, 100)),
    "a": Footprint(5, (1, 3), (100, 50)),
    "b": Footprint(5, (3,), (50,)),
}


@pytest.mark.parametrize(
    ("there", "retained", "limit", "dropped", "gone", "before", "after"),
    [
        pytest.param(OWN, [old("x", 2, "a")], 160, [], "", 160, 160, id="it fits exactly"),
        pytest.param(OWN, [old("x", 2, "a"), old("y", 1, "b")], 159, ["y1"], "b", 160, 140,
                     id="the oldest of all apps"),
        pytest.param(OWN, [old("x", 2, "a"), old("y", 1, "b"), old("x", 3, "c")], 0, ["y1", "x2", "x3"], "abc",
                     160, 100,
                     id="never what serves"),
        pytest.param(OWN, [old("x", 1, "serving"), old("x", 2, "c")], 150, ["x2"], "c", 160, 130,
                     id="one that frees nothing is left"),
        pytest.param(OWN, [old("x", 1, "a"), old("x", 2, "a", "b")], 150, ["x2"], "ab", 160, 130,
                     id="an output that a younger release needs goes with that"),
        pytest.param(OWN, [old("x", 1, "elsewhere"), old("x", 2, "a")], 150, ["x2"], "a", 160, 150,
                     id="what is collected already"),
        pytest.param(LINKED, [old("x", 1, "a"), old("x", 2, "b")], 269, ["x1"], "a", 270, 265,
                     id="a file with two names counts once, as long as one is there"),
        pytest.param(LINKED, [old("x", 1, "a"), old("x", 2, "b")], 264, ["x1", "x2"], "ab", 270, 210,
                     id="the last name frees the file"),
    ],
)  # fmt: skip
def test_the_limit(
    there: dict[str, Footprint],
    retained: list[Retained],
    limit: int,
    dropped: list[str],
    gone: str,
    before: int,
    after: int,
) -> None:
    budget = within_budget({out(name): size for name, size in there.items()}, {out("serving")}, retained, limit)
    assert [release.release for release in budget.dropped] == dropped
    assert budget.outputs == {out(name) for name in gone}
    assert (budget.before, budget.after) == (before, after)


@pytest.mark.parametrize(
    ("text", "size"), [("0", 0), ("512", 512), ("64k", 65536), ("1M", 2**20), ("20g", 20 * 2**30)]
)
def test_sizes_are_read(text: str, size: int) -> None:
    assert size_in_bytes(text) == size


@pytest.mark.parametrize(
    ("size", "text"), [(0, "0 bytes"), (2048, "2.0 KiB"), (5 * 2**20, "5.0 MiB"), (20 * 2**30, "20.0 GiB")]
)
def test_sizes_are_written(size: int, text: str) -> None:
    assert readable(size) == text


def test_disk_usage_tells_files_with_several_names(tmp_path: Path) -> None:
    output = tmp_path / "output"
    (output / "lib").mkdir(parents=True)
    (tmp_path / "cached").write_bytes(b"x" * 8192)
    os.link(tmp_path / "cached", output / "lib" / "one")
    os.link(tmp_path / "cached", output / "two")
    (output / "own").write_bytes(b"y" * 4096)
    (output / "link").symlink_to(tmp_path)
    own, inodes, sizes = disk_usage(output)
    assert list(inodes) == [(tmp_path / "cached").stat().st_ino]
    assert list(sizes) == [(tmp_path / "cached").stat().st_blocks * 512]
    assert own >= 4096


def test_what_the_limit_cost_is_a_note_of_once() -> None:
    result = PassResult("1a2b3c4d", (), notes=("blog: release r1 is no longer kept",))
    assert "note: blog: release r1 is no longer kept" in [plain(line) for line in summary_lines(result, {})]
    assert result.as_json()["notes"] == ["blog: release r1 is no longer kept"]
    assert not result.failed


def stored(world: World, stage: str = "source") -> set[str]:
    return {entry.name for entry in (world.root / "store" / stage).iterdir()}


def deploy(world: World, *greetings: str, app: str = "blog") -> list[str]:
    """Deploy one release per greeting; returns what each added to the store."""
    added = []
    for greeting in greetings:
        before = stored(world)
        world.commit({f"apps/{app}/wsgi.py": wsgi_app(greeting)})
        result = of(world.once(), app)
        assert result.outcome is Outcome.CHANGED, result.error
        added += sorted(stored(world) - before)
    return added


def test_old_releases_go_and_kept_ones_come_back_without_a_build(world: World) -> None:
    world.add_app("blog", "zero", retain=2)
    world.once()
    (zero,) = stored(world)
    one, two, three = deploy(world, "one", "two", "three")
    assert zero not in stored(world)
    assert stored(world) == {one, two, three}
    with world.engine() as engine:
        rows = {digest[:32] for digest in engine.journal.outputs().values()}
        assert rows == stored(world) | stored(world, "build") | stored(world, "static")
    assert len(list((world.root / "releases" / "blog").iterdir())) == 1

    world.commit({"apps/blog/wsgi.py": wsgi_app("one")})
    assert ran(of(world.once(), "blog")) == {"vassal"}
    assert world.text("blog.example.com") == "one"
    assert stored(world) == {one, two, three}


@pytest.mark.builds
def test_moving_the_revision_back_is_a_switch_and_nothing_else(world: World) -> None:
    app = world.home / "app"
    examples.new_repository(app)
    for version in ("1.0.0", "1.1.0"):
        examples.write_and_commit(app, {"wsgi.py": wsgi_app(version)}, version)
        examples.git(app, "tag", f"v{version}")
    for revision, version, stages in (
        ("v1.0.0", "1.0.0", {"source", "build", "static", "nginx", "vassal"}),
        ("^1.0", "1.1.0", {"source", "vassal"}),
        ("v1.0.0", "1.0.0", {"vassal"}),
    ):
        source = {"repository": f"file://{app}", "directory": ".", "revision": revision}
        world.commit({"manifests/blog.yaml": manifest("blog", source=source)})
        assert ran(of(world.once(), "blog")) == stages
        assert world.text("blog.example.com") == version


def test_failures_do_not_push_kept_releases_out(world: World) -> None:
    world.add_app("blog", "zero", retain=1)
    world.once()
    (zero,) = stored(world)
    (one,) = deploy(world, "one")
    for number in range(2):
        world.commit({"apps/blog/wsgi.py": f"raise RuntimeError({number})\n"})
        assert of(world.once(), "blog").outcome is Outcome.FAILED
    assert {zero, one} < stored(world)
    assert len(stored(world)) == 3, "besides the last failed one, which a retry finds again"
    assert of(world.once(), "blog").outcome is Outcome.QUARANTINED


def test_an_unreadable_manifest_keeps_everything_and_a_removed_app_keeps_nothing(world: World) -> None:
    # its manifests are written anew, and a secret that is gone makes another release
    world.canary = False
    world.add_app("blog", "zero", retain=2)
    world.add_app("shop", "shop", shared=["data"])
    world.once()
    deploy(world, "one", "two")
    before = stored(world)
    world.commit({"manifests/blog.yaml": "kind: App\nmetadata: {name: blog}\nspec: 5\n"})
    world.once()
    world.commit({"apps/shop/wsgi.py": wsgi_app("other")})
    world.once()
    assert before <= stored(world)

    (world.root / "shared" / "shop" / "data" / "photo").write_text("photo")
    world.commit({"manifests/blog.yaml": manifest("blog", retain=1), "manifests/shop.yaml": None})
    world.once()
    # what served until now is removed with its app; blog has had no work, and is looked at all the same
    assert len(stored(world)) == 2
    assert (world.root / "shared" / "shop" / "data" / "photo").read_text() == "photo"
    assert not (world.root / "releases" / "shop").exists()


def test_the_limit_of_the_store_collects_the_oldest_release_and_says_so(world: World) -> None:
    ballast = "x" * 1024 * 1024
    world.add_app("blog", "zero", files={"ballast": "0" + ballast}, retain=5)
    world.once()
    (zero,) = stored(world)
    world.commit({"apps/blog/ballast": "1" + ballast})
    world.once()
    world.commit({"apps/blog/ballast": "2" + ballast})
    world.once()
    assert len(stored(world)) == 3
    own, _, linked = disk_usage(world.root / "store")
    limit = f"{(own + sum(linked)) // 1024 - 512}k"

    # a limit that was lowered counts with the next pass, whether it has other work or not
    world.configure(store=f"{{limit: {limit}}}")
    result = world.once()
    assert result.problems == ()
    (note,) = result.notes
    assert note.startswith("blog: release ")
    assert f"and store.limit is {limit}" in note
    assert zero not in stored(world)
    assert len(stored(world)) == 2
    with world.engine() as engine:
        (event,) = [event for event in engine.journal.events("blog") if event.kind == "collected"]
        assert event.message == note
        assert event.detail["after"] < event.detail["before"]  # type: ignore[operator]
        assert {digest[:32] for digest in engine.journal.outputs().values()} >= stored(world)
        assert zero not in {digest[:32] for digest in engine.journal.outputs().values()}
    # said once, and what was collected can be made again
    assert world.once().notes == ()
    world.commit({"apps/blog/ballast": "0" + ballast})
    assert ran(of(world.once(), "blog")) == {"source", "vassal"}


def test_what_serves_stays_whatever_the_limit_and_the_pass_says_so(world: World) -> None:
    world.add_app("blog", "zero", retain=5)
    world.configure(store="{limit: 1k}")
    world.once()
    deploy(world, "one")
    assert len(stored(world)) == 1
    assert world.text("blog.example.com") == "one"
    for _ in range(2):
        result = world.once()
        (problem,) = result.problems
        assert "more than store.limit 1k in agent.yaml allows; raise it" in problem
        assert result.failed
    world.configure(store="{limit: 10g}")
    assert world.once().problems == ()
    assert not world.once().failed
