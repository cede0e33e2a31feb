"""Proves that hooks run once per release, limited and logged whole, and an irreversible one bars the way back."""

from __future__ import annotations

import signal

import pytest

from breaking import show, well_said
from command_line import reconciler
from reconciler.cli.views.plan import plan_lines
from reconciler.engine.results import AppResult, PassResult
from reconciler.host.journal import EventRecord, Journal
from reconciler.host.releases import public_release
from reconciler.model.plan import Outcome
from world import World, manifest, of, ran, wsgi_app

HOST = "blog.example.com"
SHARED = ["data"]
BROKEN = "import nothing_like_this\n"
NOT_THERE = {"timeout": "20s", "probes": [{"path": "/missing"}]}
"""A probe that the app of the tests answers with 404."""


def ours(world: World, name: str = "hooks") -> list[str]:
    """What hooks wrote into the app's shared folder, line by line."""
    file = world.root / "shared" / "blog" / "data" / name
    return file.read_text().splitlines() if file.exists() else []


def note(word: str, **more: object) -> dict[str, object]:
    """A hook that writes a word down."""
    return {"command": f"echo {word} >> data/hooks", **more}


def deploy(world: World, greeting: str, **spec: object) -> AppResult:
    """Commit the app with these hooks, and reconcile."""
    world.commit({"apps/blog/wsgi.py": greeting if "\n" in greeting else wsgi_app(greeting),
                  "manifests/blog.yaml": manifest("blog", shared=SHARED, **spec)})  # fmt: skip
    result = world.once()
    show(result)
    return of(result, "blog")


def events(world: World) -> list[EventRecord]:
    """The events of the app, newest first."""
    with Journal.read(world.root / "journal.sqlite3") as journal:
        return journal.events("blog")


def serving(world: World) -> str | None:
    """The release that the public link leads to."""
    with world.engine() as engine:
        return public_release(engine.host.layout, "blog")


def text_of(result: PassResult) -> str:
    """A plan as a person reads it."""
    return "\n".join("".join(str(getattr(part, "text", part)) for part in line) for line in plan_lines(result))


def test_hooks_run_in_the_candidates_environment_and_are_logged_whole(world: World) -> None:
    long = "python -c \"print('x' * 20000); import sys; print(sys.prefix, file=sys.stderr)\"; printf unended"
    after = 'echo "$COLOUR $RECONCILER_APP $RECONCILER_RELEASE $PWD"'
    hooks = {"beforeSwitch": [{"command": long, "timeout": "1m"}], "afterSwitch": [after]}
    blog = deploy(world, "hello", hooks=hooks, env={"COLOUR": "blue"})
    assert blog.error is None
    log = (world.root / "logs" / "blog.hooks.log").read_text()
    first, second = log.split("unended\n")
    assert f"release {blog.release}, beforeSwitch hook `python -c" in first.splitlines()[0]
    assert "x" * 20_000 + "\n" in first
    assert f"{world.root}/store/build/" in first
    assert f"blue blog {blog.release} {world.root}/store/source/" in second
    assert second.count(": status 0 after ") == 2
    (event,) = (event for event in events(world) if event.kind == "verified")
    assert event.detail["hooks_log"] == str(world.root / "logs" / "blog.hooks.log")
    runs = event.detail["hooks"]
    assert isinstance(runs, list)
    assert [(run["moment"], run["status"], run["irreversible"]) for run in runs] == [
        ("beforeSwitch", 0, False),
        ("afterSwitch", 0, False),
    ]
    shown = reconciler("-c", str(world.agent_file), "logs", "--hooks", "-n", "2", "blog")
    assert f"afterSwitch hook `{after}`: status 0 after" in shown.out


def test_a_hook_that_went_well_does_not_run_again_for_its_release(world: World) -> None:
    assert deploy(world, "first").error is None
    hooks = {
        "beforeSwitch": [note("one"), "echo two >> data/hooks; test -e data/ready"],
        "afterSwitch": [note("three")],
    }
    failed = deploy(world, "second", hooks=hooks)
    assert failed.outcome is Outcome.FAILED
    assert "the beforeSwitch hook `echo two" in str(failed.error)
    assert "reconciler logs blog --hooks" in str(failed.error.hint if failed.error else "")
    assert world.text(HOST) == "first"
    (world.root / "shared" / "blog" / "data" / "ready").touch()
    with world.engine() as engine:
        assert engine.journal.release_quarantine("blog")
    assert of(world.once(), "blog").outcome is Outcome.CHANGED
    assert ours(world) == ["one", "two", "two", "three"]
    # a release that was verified runs none when it comes back
    assert deploy(world, "first", hooks=hooks).outcome is Outcome.CHANGED
    assert deploy(world, "second", hooks=hooks).outcome is Outcome.CHANGED
    assert world.text(HOST) == "second"
    assert ours(world) == ["one", "two", "two", "three"]


def test_a_hook_has_a_time_limit_and_a_late_one_that_fails_is_switched_back(world: World) -> None:
    assert deploy(world, "first").error is None
    hung = deploy(world, "second", hooks={"beforeSwitch": [{"command": "echo begun; sleep 60", "timeout": "500ms"}]})
    assert str(hung.error) == "the beforeSwitch hook `echo begun; sleep 60` was ended after 0.5 s"
    assert (world.root / "logs" / "blog.hooks.log").read_text().count("begun\n") == 1
    assert world.text(HOST) == "first"
    late = deploy(world, "third", hooks={"afterSwitch": ["exit 8"]})
    assert str(late.error) == "the afterSwitch hook `exit 8` ended with status 8"
    assert world.text(HOST) == "first"
    assert len(list((world.root / "vassals").glob("*.ini"))) == 1


def test_a_failure_after_an_irreversible_hook_stays_until_a_commit_mends_it(world: World) -> None:
    good = deploy(world, "first")
    hooks = {"beforeSwitch": [note("migrated", irreversible=True)], "afterSwitch": ["exit 9"]}
    kept = deploy(world, "second", hooks=hooks)
    assert kept.outcome is Outcome.FAILED
    assert kept.error is not None
    well_said(kept.error)
    why = "because the hook `echo migrated >> data/hooks` is irreversible"
    assert f"was not switched back to {good.release}, {why}" in str(kept.error)
    assert "reconciler retry blog" in str(kept.error.hint)
    assert (world.text(HOST), serving(world)) == ("second", kept.release)
    # applied state has not moved, and nothing is tried again by itself
    with Journal.read(world.root / "journal.sqlite3") as journal:
        assert journal.apps()["blog"].release == good.release
    again = of(world.once(), "blog")
    assert again.outcome is Outcome.QUARANTINED
    assert world.text(HOST) == "second"
    # a later release that fails does not bring an older one back either: what has the traffic keeps it
    broken = deploy(world, BROKEN)
    assert broken.outcome is Outcome.FAILED
    assert world.text(HOST) == "second"
    # and what it runs from is not collected
    assert (world.root / "public" / "blog" / "app" / "wsgi.py").exists()
    mended = deploy(world, "third")
    assert mended.outcome is Outcome.CHANGED
    assert world.text(HOST) == "third"
    assert [path.name for path in (world.root / "vassals").glob("*.ini")] == [f"blog.{mended.release}.ini"]
    assert of(world.once(), "blog").outcome is Outcome.UNCHANGED
    assert ours(world) == ["migrated"]


@pytest.mark.parametrize("drift", ["heal", "ignore"])
def test_a_person_may_go_back_across_an_irreversible_hook_and_the_plan_says_so(world: World, drift: str) -> None:
    good = deploy(world, "first", drift=drift)
    hooks = {"beforeSwitch": [note("migrated", irreversible=True)], "afterSwitch": ["exit 9"]}
    assert deploy(world, "second", drift=drift, hooks=hooks).outcome is Outcome.FAILED
    world.commit(
        {"apps/blog/wsgi.py": wsgi_app("first"), "manifests/blog.yaml": manifest("blog", shared=SHARED, drift=drift)},
        "Revert",
    )
    planned = of(world.plan(), "blog")
    assert planned.outcome is Outcome.CHANGED
    assert "goes back to before the irreversible hook `echo migrated >> data/hooks`" in str(planned.note)
    assert str(planned.note) in text_of(world.plan())
    back = of(world.once(), "blog")
    assert (back.outcome, back.release) == (Outcome.CHANGED, good.release)
    assert ran(back) <= {"vassal"}
    assert (world.text(HOST), serving(world)) == ("first", good.release)
    assert of(world.once(), "blog").outcome is Outcome.UNCHANGED


def test_a_candidate_that_fails_after_an_irreversible_hook_leaves_the_old_release_and_says_so(world: World) -> None:
    assert deploy(world, "first").error is None
    hooks = {"beforeSwitch": [note("migrated", irreversible=True)]}
    failed = deploy(world, BROKEN, hooks=hooks)
    assert failed.error is not None
    assert str(failed.error).endswith("; the irreversible hook `echo migrated >> data/hooks` has already run")
    well_said(failed.error)
    assert world.text(HOST) == "first"
    # without the hook, because it has run: what went before it is still before it
    late = deploy(world, "second", hooks={"afterSwitch": ["exit 9"]})
    assert "not switched back" in str(late.error)
    assert f"of release {failed.release} is irreversible" in str(late.error)
    assert world.text(HOST) == "second"
    (world.root / "shared" / "blog" / "data" / "hooks").unlink()
    assert deploy(world, "third", hooks=hooks).error is None
    # what has been verified since is no release from before
    assert deploy(world, "fourth", hooks={"afterSwitch": ["exit 9"]}).outcome is Outcome.FAILED
    assert world.text(HOST) == "third"


def test_touch_leaves_the_new_release_in_place_after_an_irreversible_hook(world: World) -> None:
    touch = {"uwsgi": {"strategy": "touch"}}
    assert deploy(world, "first", **touch).error is None
    hooks = {"beforeSwitch": [note("migrated", irreversible=True)]}
    failed = deploy(world, "second", hooks=hooks, verify=NOT_THERE, **touch)
    assert "not switched back" in str(failed.error)
    assert world.text(HOST) == "second"
    assert deploy(world, "third", **touch).outcome is Outcome.CHANGED
    assert world.text(HOST) == "third"


@pytest.mark.parametrize("irreversible", [False, True])
def test_a_release_that_was_cut_short_and_then_fails_gives_way_unless_a_hook_bars_it(
    world: World, irreversible: bool
) -> None:
    assert deploy(world, "first").error is None
    killing = "test -e data/killed && exit 7; touch data/killed; kill -9 $PPID"
    hooks = {"afterSwitch": [{"command": killing, "irreversible": irreversible}]}
    world.commit({"apps/blog/wsgi.py": wsgi_app("second"),
                  "manifests/blog.yaml": manifest("blog", shared=SHARED, hooks=hooks)})  # fmt: skip
    assert reconciler("-c", str(world.agent_file), "once").status == -signal.SIGKILL
    assert world.text(HOST) == "second"
    log = (world.root / "logs" / "blog.hooks.log").read_text()
    assert log.count("afterSwitch hook") == 1
    failed = of(world.once(), "blog")
    assert str(failed.error).startswith("the afterSwitch hook `test -e data/killed")
    assert ("not switched back" in str(failed.error)) is irreversible
    assert world.text(HOST) == ("second" if irreversible else "first")
    assert deploy(world, "third").outcome is Outcome.CHANGED
    assert len(list((world.root / "vassals").glob("*.ini"))) == 1
