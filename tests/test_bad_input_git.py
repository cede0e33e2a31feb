"""Proves that repositories that are gone, empty, rewritten or damaged hold their own apps and never remove one."""

from __future__ import annotations

import os
from pathlib import Path

import examples
from breaking import Town, blog, show, well_said
from reconciler.engine.results import PassResult
from reconciler.model.errors import HistoryRewritten
from reconciler.model.plan import Outcome
from test_agent import wait_for
from world import World, manifest, of, wsgi_app


def own_repository(town: Town, **source: object) -> Path:
    """Move the blog into a repository of its own, and deploy it from there."""
    folder = town.world.home / f"own-{next(town.numbers)}"
    examples.new_repository(folder)
    examples.write_and_commit(folder, {"wsgi.py": wsgi_app("own"), "static/site.css": "a{}"}, "Begin")
    town.world.commit({"manifests/blog.yaml": blog(source={"repository": str(folder), "directory": ".", **source})})
    result = town.world.once()
    show(result)
    assert not result.failed
    assert town.pages()[0] == "own"
    return folder


def mirror_packs(world: World) -> list[Path]:
    return sorted((world.root / "mirrors").glob("*.git/objects/pack/*.pack"))


def truncate(path: Path) -> None:
    path.chmod(0o644)
    os.truncate(path, path.stat().st_size // 2)


def refused(world: World) -> PassResult:
    """One pass that must not get as far as the apps, and that says why."""
    result = world.once()
    show(result)
    assert result.error is not None
    assert result.apps == ()
    well_said(result.error)
    return result


def test_a_repository_that_is_gone_and_comes_back(town: Town) -> None:
    folder = own_repository(town)
    folder.rename(folder.with_suffix(".away"))
    failed = town.pass_with_broken_blog(says=rf"^{folder} cannot be read: ")
    assert "check the address" in (failed.error.hint or "")
    folder.with_suffix(".away").rename(folder)
    examples.write_and_commit(folder, {"wsgi.py": wsgi_app("back")}, "Back")
    result = town.world.once()
    assert of(result, "blog").outcome is Outcome.CHANGED
    assert town.pages()[0] == "back"


def test_a_branch_that_is_gone_and_comes_back(town: Town) -> None:
    folder = own_repository(town)
    examples.git(folder, "branch", "-m", "main", "trunk")
    failed = town.pass_with_broken_blog(says=rf"^{folder} has no branch, tag or commit 'main'$")
    assert "its branches are trunk" in (failed.error.hint or "")
    examples.git(folder, "branch", "-m", "trunk", "main")
    result = town.world.once()
    assert not result.failed
    assert of(result, "blog").outcome is Outcome.UNCHANGED


def test_an_empty_repository(town: Town) -> None:
    folder = examples.new_repository(town.world.home / "empty")
    bad = {"manifests/blog.yaml": blog(source={"repository": str(folder), "directory": "."})}
    failed = town.break_blog(bad, says="has no branch, tag or commit 'main'")
    assert "no branch yet" in (failed.error.hint or "")


def test_a_folder_that_is_no_repository(town: Town) -> None:
    folder = town.world.home / "plain"
    folder.mkdir()
    bad = {"manifests/blog.yaml": blog(source={"repository": str(folder), "directory": "."})}
    town.break_blog(bad, says=rf"^{folder} cannot be read: ")


def test_what_serves_is_started_again_whatever_is_wrong_with_git(world: World) -> None:
    world.add_app("blog", "here")
    assert not world.once().failed
    away = world.config.rename(world.home / "away")
    world.stop()
    result = world.once()
    assert result.error is not None
    wait_for("the app, which loads", lambda: world.text("blog.example.com") == "here")
    away.rename(world.config)
    assert not world.once().failed


def test_a_damaged_mirror_of_an_app_is_made_anew(town: Town) -> None:
    folder = own_repository(town)
    before = set(mirror_packs(town.world))
    examples.write_and_commit(folder, {"wsgi.py": wsgi_app("second")}, "Second")
    assert not town.world.once().failed
    for pack in set(mirror_packs(town.world)) - before:
        truncate(pack)
    examples.write_and_commit(folder, {"wsgi.py": wsgi_app("healed")}, "Third")
    results = [town.world.once(), town.world.once()]
    assert not results[-1].failed, [str(app.error) for app in results[-1].apps]
    assert town.pages() == ("healed", town.other)


def test_a_damaged_mirror_of_the_config_repository_is_made_anew(world: World) -> None:
    world.add_app("blog", "first")
    assert not world.once().failed
    for pack in mirror_packs(world):
        truncate(pack)
    world.commit({"apps/blog/wsgi.py": wsgi_app("healed")})
    results = [world.once(), world.once()]
    for result in results:
        show(result)
        assert of(result, "blog").outcome is not Outcome.FAILED if result.error is None else True
    assert not results[-1].failed
    assert world.text("blog.example.com") == "healed"


def test_a_config_repository_that_vanishes_removes_nothing(world: World) -> None:
    world.add_app("blog", "still here")
    assert not world.once().failed
    away = world.config.rename(world.home / "away")
    refused(world)
    assert world.text("blog.example.com") == "still here"
    examples.new_repository(world.config)
    assert "no branch and no tag any more, which is not believed" in str(refused(world).error)
    assert world.text("blog.example.com") == "still here"
    world.config.rename(world.home / "empty")
    away.rename(world.config)
    world.commit({"apps/blog/wsgi.py": wsgi_app("back")})
    assert not world.once().failed
    assert world.text("blog.example.com") == "back"


def test_a_branch_of_the_config_repository_that_is_gone_removes_nothing(world: World) -> None:
    world.add_app("blog", "still here")
    assert not world.once().failed
    examples.git(world.config, "branch", "-m", "main", "trunk")
    result = refused(world)
    assert "'main'" in str(result.error)
    assert "trunk" in (result.error.hint or "")
    assert world.text("blog.example.com") == "still here"


def test_a_force_push_is_refused_until_a_person_accepts_it(world: World) -> None:
    world.add_app("blog", "first")
    world.commit({"apps/blog/wsgi.py": wsgi_app("second")}, "Say second")
    assert not world.once().failed
    examples.git(world.config, "reset", "--quiet", "--hard", "HEAD~1")
    world.commit({"apps/blog/wsgi.py": wsgi_app("rewritten")})
    result = refused(world)
    assert isinstance(result.error, HistoryRewritten)
    assert "Say second" in str(result.error)
    assert "reconciler accept" in (result.error.hint or "")
    assert world.text("blog.example.com") == "second"
    text = world.agent_file.read_text()
    world.agent_file.write_text(text.replace("interval: 1s", "interval: 1s, fastForwardOnly: false"))
    assert not world.once().failed
    assert world.text("blog.example.com") == "rewritten"
    world.agent_file.write_text(text)
    assert not world.once().failed


def test_a_folder_of_manifests_that_never_was(world: World) -> None:
    world.commit({"README.md": "nothing here yet"})
    assert "repository.path" in (refused(world).error.hint or "")
    world.commit({"manifests/.keep": ""})
    assert not world.once().failed


def test_one_commit_breaks_one_app_of_a_repository_and_moves_the_other(town: Town) -> None:
    """Both live in one repository; only the folder of the one is gone."""
    world = town.world
    folder = examples.new_repository(world.home / "mono")
    examples.write_and_commit(folder, {"a/wsgi.py": wsgi_app("a"), "b/wsgi.py": wsgi_app("b")}, "Begin")
    source = {"repository": str(folder)}
    for name in ("a", "b"):
        world.commit({f"manifests/{name}.yaml": manifest(name, source={**source, "directory": name})})
    assert not world.once().failed
    examples.write_and_commit(folder, {"a/wsgi.py": None, "b/wsgi.py": wsgi_app("b again")}, "Remove a")
    result = world.once()
    show(result)
    assert "has no folder a at" in str(of(result, "a").error)
    assert (world.text("a.example.com"), world.text("b.example.com")) == ("a", "b again")
