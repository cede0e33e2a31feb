"""Proves the main job on real parts: a commit becomes a verified site, and only changed stages run."""

from __future__ import annotations

from pathlib import Path

import pytest

import examples
from reconciler.model.plan import Outcome
from reconciler.model.stage import Action, Reason
from world import World, manifest, of, ran, wsgi_app

CSS = "body {\n  color: #ff0000;\n}\n"
STATIC = [{"source": "static", "url": "/static/"}]


def snapshot(root: Path) -> dict[str, tuple[int, int]]:
    """Every file of the state folder with its size and time of change; the journal and logs apart."""
    found = {}
    for path in root.rglob("*"):
        relative = path.relative_to(root)
        if path.is_symlink() or not path.is_file() or path.name.startswith("journal.sqlite3"):
            continue
        if relative.parts[0] in ("logs", "lock", "run"):
            continue
        status = path.stat()
        found[str(relative)] = (status.st_size, status.st_mtime_ns)
    return found


@pytest.mark.builds
def test_a_commit_becomes_a_site_and_each_change_runs_its_own_stages(world: World) -> None:
    # its manifests are written anew, and a secret that is gone moves the vassal
    world.canary = False
    world.add_app("blog", "first", files={"static/site.css": CSS}, static=STATIC)
    result = world.once()
    blog = of(result, "blog")
    assert blog.error is None, f"{blog.error}\n{getattr(blog.error, 'tail', '')}"
    assert blog.outcome is Outcome.CHANGED
    assert ran(blog) == {"source", "build", "static", "nginx", "vassal"}
    assert {reason for change in blog.plan.changes for reason in change.reasons} == {Reason.NEVER_APPLIED}
    assert world.text("blog.example.com") == "first"
    assert "color:red" in world.text("blog.example.com", "/static/site.css")

    # the app's code
    world.commit({"apps/blog/wsgi.py": wsgi_app("second")})
    assert ran(of(world.once(), "blog")) == {"source", "vassal"}
    assert world.text("blog.example.com") == "second"

    # only the site
    changed = manifest("blog", static=STATIC, nginx={"clientMaxBodySize": "8m"})
    world.commit({"manifests/blog.yaml": changed})
    site_only = of(world.once(), "blog")
    assert ran(site_only) == {"nginx"}
    assert site_only.plan.changes[3].detail == ("nginx.clientMaxBodySize: 1m -> 8m",)
    assert "+    client_max_body_size 8m;" in site_only.plan.changes[3].diff

    # only a stylesheet
    world.commit({"apps/blog/static/site.css": CSS.replace("#ff0000", "#00f")})
    assert ran(of(world.once(), "blog")) == {"source", "static", "vassal"}
    assert "#00f" in world.text("blog.example.com", "/static/site.css")

    # a file outside every app
    world.commit({"NOTES.txt": "nothing to see"})
    outside = of(world.once(), "blog")
    assert (outside.outcome, ran(outside)) == (Outcome.UNCHANGED, set())

    # back again: no build, no static stage
    examples.revert(world.config, "HEAD~1")
    reverted = of(world.once(), "blog")
    assert reverted.outcome is Outcome.CHANGED
    assert ran(reverted) == {"vassal"}
    assert "color:red" in world.text("blog.example.com", "/static/site.css")

    # and nothing at all
    before = snapshot(world.root)
    again = of(world.once(), "blog")
    assert again.outcome is Outcome.UNCHANGED
    assert all(change.action is Action.NONE for change in again.plan.changes)
    assert snapshot(world.root) == before


def test_two_apps_with_equal_requirements_share_one_environment(world: World) -> None:
    world.add_app("one", "1")
    world.add_app("two", "2")
    result = world.once()
    assert not result.failed, [str(app.error) for app in result.apps]
    assert len(list((world.root / "store" / "build").iterdir())) == 1
    assert len(list((world.root / "store" / "source").iterdir())) == 2
    assert (world.text("one.example.com"), world.text("two.example.com")) == ("1", "2")


def test_a_commit_to_one_app_of_a_repository_moves_one_app(world: World) -> None:
    world.add_app("one", "1")
    world.add_app("two", "2")
    world.once()
    world.commit({"apps/one/wsgi.py": wsgi_app("one again")})
    result = world.once()
    assert (of(result, "one").outcome, of(result, "two").outcome) == (Outcome.CHANGED, Outcome.UNCHANGED)


def test_serving_goes_on_without_the_agent_and_the_next_one_adopts_it(world: World) -> None:
    world.add_app("blog", "still here")
    world.once()
    pids = {path.name: path.read_text() for path in (world.root / "run").glob("*.pid")}
    assert pids
    # the engine that started them is gone; what it started answers, and the next one starts nothing
    assert world.text("blog.example.com") == "still here"
    assert of(world.once(), "blog").outcome is Outcome.UNCHANGED
    assert {path.name: path.read_text() for path in (world.root / "run").glob("*.pid")} == pids


def test_the_environment_is_an_input_and_reaches_the_app_word_by_word(world: World) -> None:
    odd = 'it\'s $HOME %d @(/etc/passwd) $(id) "quoted"\nsecond line é'
    world.add_app("blog", "colour:", env={"COLOUR": "red"})
    world.once()
    world.commit({"manifests/blog.yaml": manifest("blog", env={"COLOUR": odd})})
    changed = of(world.once(), "blog")
    assert changed.error is None, changed.error
    assert ran(changed) == {"vassal"}
    assert world.text("blog.example.com") == f"colour: {odd}"


def test_a_failing_release_never_gets_traffic_and_is_not_tried_again(world: World) -> None:
    world.add_app("blog", "good")
    world.add_app("other", "other")
    world.once()
    world.commit({"apps/blog/wsgi.py": "import nothing_like_this\n", "apps/other/wsgi.py": wsgi_app("other again")})
    result = world.once()
    failed = of(result, "blog")
    assert failed.outcome is Outcome.FAILED
    assert "ModuleNotFoundError" in getattr(failed.error, "tail", "")
    assert of(result, "other").outcome is Outcome.CHANGED
    assert world.text("blog.example.com") == "good"
    assert world.text("other.example.com") == "other again"
    assert of(world.once(), "blog").outcome is Outcome.QUARANTINED
    # only the vassals of what serves are left
    assert len(list((world.root / "vassals").glob("*.ini"))) == 2
    world.commit({"apps/blog/wsgi.py": wsgi_app("mended")})
    assert of(world.once(), "blog").outcome is Outcome.CHANGED
    assert world.text("blog.example.com") == "mended"


def test_a_probe_that_fails_quotes_what_was_answered(world: World) -> None:
    world.add_app("blog", "good")
    world.once()
    probes = {"timeout": "5s", "probes": [{"path": "/missing", "status": 200}]}
    world.commit({"manifests/blog.yaml": manifest("blog", verify=probes), "apps/blog/wsgi.py": wsgi_app("new")})
    failed = of(world.once(), "blog")
    assert failed.outcome is Outcome.FAILED
    assert "404" in str(failed.error)
    assert "nothing here" in str(failed.error)
    assert world.text("blog.example.com") == "good"


def test_removing_a_manifest_removes_the_site_and_keeps_the_shared_files(world: World) -> None:
    world.add_app("blog", "going", shared=["data"])
    world.add_app("stays", "staying")
    world.once()
    kept = world.root / "shared" / "blog" / "data" / "kept.txt"
    kept.write_text("the app's data")
    world.commit({"manifests/blog.yaml": None})
    removed = of(world.once(), "blog")
    assert (removed.outcome, ran(removed)) == (Outcome.CHANGED, {"nginx", "vassal"})
    assert world.get("/", "blog.example.com").status_code == 404
    assert world.text("stays.example.com") == "staying"
    assert kept.read_text() == "the app's data"
    assert not list((world.root / "vassals").glob("blog*"))


def test_too_many_removals_at_once_are_refused(world: World) -> None:
    for name in ("a", "b", "c"):
        world.add_app(name, name)
    first = world.once()
    assert not first.failed, [str(app.error) for app in first.apps]
    world.commit({"manifests/a.yaml": None, "manifests/b.yaml": None})
    result = world.once()
    assert "prune.limit" in (of(result, "a").note or "")
    assert world.text("a.example.com") == "a"


def test_drift_of_a_site_file_is_healed_with_its_difference(world: World) -> None:
    world.add_app("blog", "here")
    world.once()
    site = world.root / "nginx" / "sites" / "blog.conf"
    original = site.read_text()
    site.write_text(original.replace("client_max_body_size 1m", "client_max_body_size 9m"))
    healed = of(world.once(), "blog")
    assert ran(healed) == {"nginx"}
    assert healed.plan.changes[3].reasons == (Reason.DRIFTED,)
    assert "9m" in healed.plan.changes[3].diff
    assert site.read_text() == original


def test_touch_reloads_the_one_vassal_with_the_new_environment(world: World) -> None:
    world.add_app("blog", "first", uwsgi={"strategy": "touch"}, env={"COLOUR": "red"})
    world.once()
    assert [path.name for path in (world.root / "vassals").glob("*.ini")] == ["blog.ini"]
    world.commit(
        {
            "apps/blog/wsgi.py": wsgi_app("second"),
            "manifests/blog.yaml": manifest("blog", uwsgi={"strategy": "touch"}, env={"COLOUR": "blue"}),
        }
    )
    assert of(world.once(), "blog").error is None
    assert world.text("blog.example.com") == "second blue"
    world.commit({"apps/blog/wsgi.py": "import nothing_like_this\n"})
    assert of(world.once(), "blog").outcome is Outcome.FAILED
    assert world.text("blog.example.com") == "second blue"


def test_shared_paths_and_hooks(world: World) -> None:
    world.add_app(
        "blog",
        "hooked",
        shared=["data", "db.sqlite3"],
        hooks={"beforeSwitch": ["echo before >> data/hooks.txt"], "afterSwitch": ["echo after >> data/hooks.txt"]},
    )
    assert of(world.once(), "blog").error is None
    hooks = world.root / "shared" / "blog" / "data" / "hooks.txt"
    assert hooks.read_text() == "before\nafter\n"
    world.commit({"apps/blog/wsgi.py": wsgi_app("again")})
    world.once()
    assert hooks.read_text() == "before\nafter\nbefore\nafter\n"
    world.commit({"manifests/blog.yaml": manifest("blog", shared=["data", "db.sqlite3"], suspend=True)})
    assert of(world.once(), "blog").outcome is Outcome.SUSPENDED
