"""Proves that a commit costs what it touches, and that nothing is overlooked for that: drift, leftovers, folders."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace

import pytest

import examples
from reconciler.engine.collecting import Collecting
from reconciler.engine.desired import Desired
from reconciler.engine.engine import Engine
from reconciler.engine.reading import Reader
from reconciler.host.git import Mirrors
from reconciler.model.plan import Outcome
from world import World, manifest, of, wsgi_app


def test_what_drifts_elsewhere_is_found_by_its_event_and_by_every_look_at_everything(world: World) -> None:
    for name in ("blog", "shop"):
        world.add_app(name, "first", drift="report")
    with world.engine() as engine:
        touched, layout = engine.surveying.touched, engine.host.layout
        # as a watcher says it that watches everything; the events are this test's
        touched.tells_all = True
        assert not engine.reconcile("start").failed
        engine.reconcile("poll")
        site = layout.site("shop")
        site.write_text(site.read_text() + "# by hand\n")
        world.commit({"apps/blog/wsgi.py": wsgi_app("second")})
        result = engine.reconcile("poll")
        assert [(app.app, app.outcome) for app in result.apps] == [
            ("blog", Outcome.CHANGED),
            ("shop", Outcome.UNCHANGED),
        ]
        assert result.drift == (), "a look for a commit looked at an app that it leaves alone"
        assert of(result, "shop").revision == result.revision
        touched.add(site)
        assert [news.difference.path for news in engine.reconcile("file:drift").drift] == [str(site)]

        link = layout.public_link("blog")
        leads = link.readlink()
        link.unlink()
        assert engine.reconcile("poll").drift == ()
        assert str(link) in {news.difference.path for news in engine.reconcile("drift").drift}
        assert link.readlink() == leads, "what is missing is put back"

        vassal = next(layout.vassals.glob("blog.*.ini"))
        vassal.write_text(vassal.read_text() + "# by hand\n")
        touched.tells_all = False
        assert str(vassal) in {news.difference.path for news in engine.reconcile("poll").drift}


def test_a_path_of_nobody_in_particular_is_a_reason_to_look_at_everything(world: World) -> None:
    world.add_app("blog", "first", drift="report")
    with world.engine() as engine:
        engine.surveying.touched.tells_all = True
        engine.reconcile("start")
        engine.reconcile("poll")
        site = engine.host.layout.site("blog")
        site.write_text(site.read_text() + "# by hand\n")
        engine.surveying.touched.add(engine.host.layout.store / "source")
        assert engine.reconcile("file:drift").drift == ()
        engine.surveying.touched.add(engine.host.layout.public)
        assert len(engine.reconcile("file:drift").drift) == 1


def test_an_operator_and_a_second_process_are_heard_by_the_next_poll(world: World) -> None:
    world.add_app("blog", "first")
    with world.engine() as engine:
        engine.surveying.touched.tells_all = True
        engine.reconcile("start")
        assert engine.reconcile("poll").apps[0].outcome is Outcome.UNCHANGED
        engine.journal.record_error("blog", "an error that is over")
        engine.reconcile("poll")
        assert engine.journal.apps()["blog"].last_error is None


def left_on_disk(world: World) -> set[str]:
    """Outputs, indexes, folders of links, old assets and what the journal knows of outputs."""
    folders = [world.root / "store" / stage for stage in ("source", "build", "static", "index")]
    folders += [*(world.root / "releases").iterdir(), world.root / "releases", world.root / "assets"]
    return {str(entry) for folder in folders if folder.is_dir() for entry in folder.iterdir()}


def test_collecting_after_work_leaves_what_a_look_at_everything_leaves(world: World) -> None:
    world.add_app("blog", "0", retain=2)
    world.add_app("shop", "0", retain=1)
    with world.engine() as engine:
        engine.surveying.touched.tells_all = True
        assert not engine.reconcile("start").failed

        def removed_by(files: dict[str, str | None]) -> int:
            before = left_on_disk(world)
            world.commit(files)
            engine.reconcile("poll")
            after, rows = left_on_disk(world), engine.journal.outputs()
            assert everything(engine) == 0, "something was left that nobody needs"
            assert left_on_disk(world) == after
            assert engine.journal.outputs() == rows
            return len([entry for entry in before - after if "/store/source/" in entry])

        # a look at everything begins the count
        engine.reconcile("collect")
        assert removed_by({"apps/blog/wsgi.py": wsgi_app("1")}) == 0
        assert removed_by({"apps/blog/wsgi.py": wsgi_app("2")}) == 0
        assert removed_by({"apps/blog/wsgi.py": wsgi_app("3")}) == 1
        assert removed_by({"apps/shop/wsgi.py": wsgi_app("1")}) == 0
        # one that never serves is kept for a retry, until git asks for something else
        assert removed_by({"apps/shop/wsgi.py": "broken("}) == 0
        assert removed_by({"apps/shop/wsgi.py": wsgi_app("2")}) == 2
        assert (
            removed_by({"manifests/blog.yaml": manifest("blog", retain=1), "apps/blog/wsgi.py": wsgi_app("4")}) == 2
        )
        assert removed_by({"apps/shop/wsgi.py": None, "manifests/shop.yaml": None}) == 2


def everything(engine: Engine) -> int:
    """How many outputs a collection by somebody who remembers nothing removes."""
    collecting = Collecting(engine.host.layout, engine.journal, engine.reader.configuration.store)
    desired = engine.reader.read(engine.journal.applied(), engine.journal.outputs())
    return collecting.collect(desired).outputs


def shown(desired: Desired) -> dict[str, object]:
    apps = {name: (app.commit, app.facts.source.tree, app.digests) for name, app in desired.apps.items()}
    return {
        "apps": apps,
        "held": {name: str(error) for name, error in desired.held.items()},
        "rest": desired.problems,
    }


def described(name: str, directory: str = "", **spec: object) -> tuple[str, str, dict[str, object]]:
    """A manifest, to be written once it is known where the apps live."""
    return name, directory or f"apps/{name}", spec


STEPS: dict[str, dict[str, object]] = {
    "one app": {"apps/a/wsgi.py": "a2"},
    "two apps": {"apps/a/wsgi.py": "a3", "apps/b/wsgi.py": "b2"},
    "no app": {"README": "read me"},
    "a manifest": {"manifests/a.yaml": described("a", env={"COLOUR": "blue"})},
    "a new app": {"apps/d/wsgi.py": "d1", "manifests/d.yaml": described("d")},
    "a folder that is gone": {"apps/b/wsgi.py": None},
    "a folder that is a file now": {"apps/b": "no folder"},
    "a file that is gone": {"apps/b": None},
    "a folder that is back": {"apps/b/wsgi.py": "b1"},
    "a manifest that leads elsewhere": {"manifests/a.yaml": described("a", "apps/d/")},
    "the root": {"manifests/a.yaml": described("a", "./.")},
    "a change of the root": {"other": "file"},
    "a folder in a folder": {"apps/c/deep/wsgi.py": "c", "manifests/c.yaml": described("c", "apps/c/deep")},
    "a change above it": {"apps/c/wsgi.py": "c2"},
    "a mistake": {"manifests/b.yaml": "kind: App\n"},
    "its correction, and an app less": {"manifests/b.yaml": described("b"), "manifests/d.yaml": None},
    "what is no manifest": {"manifests/notes.txt": "nothing"},
    "a manifest in a folder": {"manifests/a.yaml": None, "manifests/sub/a.yaml": described("a")},
}


@pytest.mark.parametrize("apart", [False, True], ids=["with the manifests", "in a repository of their own"])
def test_what_moved_between_two_commits_says_as_much_as_a_look_at_the_newer_one(world: World, apart: bool) -> None:
    """Many apps that live in one repository."""
    monorepo = world.home / "m"
    examples.new_repository(monorepo)
    repository = f"file://{monorepo}" if apart else "."

    def commit(change: Mapping[str, object]) -> None:
        texts = {path: written(value) if isinstance(value, tuple) else value for path, value in change.items()}
        manifests = {path: text for path, text in texts.items() if path.startswith("manifests/")}
        code = {path: text for path, text in texts.items() if path not in manifests}
        for path in code:
            with suppress(OSError):
                # an empty folder stays behind where git has none any more
                ((monorepo if apart else world.config) / path).rmdir()
        if apart and code:
            examples.write_and_commit(monorepo, code, "Change")
        if not apart or manifests:
            world.commit(manifests if apart else texts)

    def written(description: tuple[str, str, dict[str, object]]) -> str:
        name, directory, spec = description
        return manifest(name, source={"repository": repository, "directory": directory}, **spec)

    code = {f"apps/{name}/wsgi.py": f"{name}1" for name in "abc"}
    commit({**code, **{f"manifests/{name}.yaml": described(name) for name in "abc"}})
    with world.engine() as engine:
        engine.reader.read({}, {})
        for name, change in STEPS.items():
            commit(change)
            known = engine.reader
            host = replace(known.host, mirrors=Mirrors(engine.host.layout.mirrors))
            fresh = Reader(known.configuration, host, engine.journal, known.config_address, known.labels)
            assert shown(known.read({}, {})) == shown(fresh.read({}, {})), name
