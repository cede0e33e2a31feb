"""Proves that an app waits for the verified present revision of those it depends on, and never for ever."""

from __future__ import annotations

from command_line import reconciler
from reconciler.cli.views.plan import plan_lines
from reconciler.engine.ordering import hold_back
from reconciler.engine.results import AppResult, PassResult
from reconciler.engine.status import read_status
from reconciler.host.journal import Journal
from reconciler.model.condition import ConditionReason, ConditionType
from reconciler.model.manifest_reading import read_manifests
from reconciler.model.plan import AppPlan, Change, Outcome
from reconciler.model.stage import Action, StageName
from world import World, manifest, of, wsgi_app

BROKEN = "import nothing_like_this\n"
PLAN = AppPlan("", (Change(StageName.VASSAL, Action.UPDATE),))
DEADLINE_SECONDS = 10.0


def planned(name: str, outcome: Outcome = Outcome.CHANGED) -> AppResult:
    """An app with work to do."""
    return AppResult(name, outcome, PLAN)


def outcomes(results: list[AppResult]) -> dict[str, Outcome]:
    """How each app ended."""
    return {result.app: result.outcome for result in results}


def problems(**manifests: str) -> list[str]:
    """What is wrong with these manifests, each in a file of its own."""
    files = {f"{name}.yaml": text.encode() for name, text in manifests.items()}
    return [str(problem) for problem in read_manifests(files).problems]


def test_a_dependent_is_applied_right_after_what_it_depends_on_in_the_same_pass(world: World) -> None:
    world.add_app("api", "api 1", dependsOn=["store"])
    world.add_app("store", "store 1")
    before = of(world.plan(), "api")
    assert (before.outcome, before.note) == (Outcome.CHANGED, "once store is verified")
    assert "once store is verified" in text_of(world.plan())
    assert not world.once().failed
    assert (world.text("api.example.com"), world.text("store.example.com")) == ("api 1", "store 1")
    with Journal.read(world.root / "journal.sqlite3") as journal:
        assert journal.releases("store")[0].at <= journal.releases("api")[0].at - journal.releases("api")[0].seconds
    unchanged = world.once()
    assert {result.outcome for result in unchanged.apps} == {Outcome.UNCHANGED}


def test_a_dependent_waits_while_its_dependency_fails_and_follows_with_the_correction(world: World) -> None:
    world.add_app("api", "api 1", dependsOn=["store"])
    world.add_app("store", "store 1")
    assert not world.once().failed
    world.commit({"apps/api/wsgi.py": wsgi_app("api 2"), "apps/store/wsgi.py": BROKEN})
    result = world.once()
    assert of(result, "store").outcome is Outcome.FAILED
    waiting = of(result, "api")
    assert waiting.outcome is Outcome.WAITING
    assert str(waiting.note).startswith("it depends on store, which failed (the release ")
    assert world.text("api.example.com") == "api 1"
    # in the next pass it is quarantined, and the plan, status and explain name it too
    assert str(of(world.plan(), "api").note).startswith("it depends on store, which is quarantined (")
    assert "api  waiting: it depends on store, which is quarantined" in text_of(world.plan())
    assert of(world.once(), "api").outcome is Outcome.WAITING
    assert waiting_reason(world, "api") is ConditionReason.WAITING
    assert "it depends on store" in reconciler("-c", str(world.agent_file), "explain", "api").out
    # an app that needs no change does not wait
    world.commit({"apps/api/wsgi.py": wsgi_app("api 1")})
    assert of(world.once(), "api").outcome is Outcome.UNCHANGED
    assert waiting_reason(world, "api") is ConditionReason.AS_GIT_ASKS
    world.commit({"apps/api/wsgi.py": wsgi_app("api 3"), "apps/store/wsgi.py": wsgi_app("store 3")})
    assert not world.once().failed
    assert (world.text("api.example.com"), world.text("store.example.com")) == ("api 3", "store 3")
    assert {result.outcome for result in world.once().apps} == {Outcome.UNCHANGED}


def test_a_suspended_or_mistaken_dependency_holds_its_dependents_back(world: World) -> None:
    world.add_app("store", "store 1", suspend=True)
    world.add_app("api", "api 1", dependsOn=["store"])
    result = world.once()
    assert of(result, "api").outcome is Outcome.WAITING
    assert of(result, "api").note == "it depends on store, which is suspended (spec.suspend is true)"
    world.commit({"manifests/store.yaml": manifest("store", retain="many")})
    assert str(of(world.once(), "api").note).startswith("it depends on store, which failed (manifests/store.yaml:")
    world.commit({"manifests/store.yaml": manifest("store")})
    assert not world.once().failed
    # suspended as git asks for it: its present revision is verified
    world.commit({"manifests/store.yaml": manifest("store", suspend=True), "apps/api/wsgi.py": wsgi_app("api 2")})
    assert of(world.once(), "api").outcome is Outcome.CHANGED
    assert world.text("api.example.com") == "api 2"


def test_an_app_of_another_host_can_not_be_waited_for(world: World) -> None:
    world.configure(host="{name: here, labels: {role: web}}")
    world.add_app("store", "store 1", placement={"tier": "data"})
    world.add_app("api", "api 1", dependsOn=["store"])
    error = of(world.once(), "api").error
    assert str(error).endswith(
        "spec.dependsOn[0]: the app 'store' is not placed on this host: its placement is tier: data"
    )


def test_every_dependency_that_could_never_come_true_is_told_at_once() -> None:
    assert problems(
        a=manifest("a", dependsOn=["b"]),
        b=manifest("b", dependsOn=["c", "free"]),
        c=manifest("c", dependsOn=["a"]),
        free=manifest("free"),
        itself=manifest("itself", dependsOn=["itself", "free", "free"]),
        nobody=manifest("nobody", dependsOn=["fre", "free", "broken"]),
        far=manifest("far", placement={"role": "data"}),
        near=manifest("near", placement={"role": "web"}, dependsOn=["far"]),
        behind=manifest("behind", dependsOn=["a"]),
        broken=manifest("broken", retain=0),
    ) == [
        "a.yaml:17: spec.dependsOn[0]: these apps would wait for each other for ever: a -> b -> c -> a",
        "b.yaml:17: spec.dependsOn[0]: these apps would wait for each other for ever: b -> c -> a -> b",
        "broken.yaml:16: spec.retain: expected at least 1, found 0",
        "c.yaml:17: spec.dependsOn[0]: these apps would wait for each other for ever: c -> a -> b -> c",
        "itself.yaml:17: spec.dependsOn[0]: 'itself' is this app itself, which cannot wait for itself",
        "itself.yaml:19: spec.dependsOn[2]: 'free' is given twice",
        "near.yaml:19: spec.dependsOn[0]: the app 'far' is never placed on a host that runs 'near': "
        "its placement is role: data",
        "nobody.yaml:17: spec.dependsOn[0]: there is no app 'fre': no manifest has this name",
    ]


def test_apps_that_wait_for_each_other_are_held_back() -> None:
    needs = {"one": ("two",), "two": ("one",)}
    held = hold_back([planned("one"), planned("two"), planned("three")], needs)
    assert outcomes(held) == {"one": Outcome.WAITING, "two": Outcome.WAITING, "three": Outcome.CHANGED}


def test_a_pass_about_one_app_leaves_it_waiting_for_work_that_it_does_not_do() -> None:
    held = hold_back([planned("one"), planned("two")], {"one": ("two",)}, alone="one")
    assert held[0].outcome is Outcome.WAITING
    assert held[0].note == "it depends on two, which waits itself (this pass is about one only)"


def waiting_reason(world: World, app: str) -> ConditionReason:
    """Why the condition Reconciled of an app has its status."""
    with world.engine() as engine:
        status = next(known for known in read_status(engine.host.layout, engine.journal).apps if known.app == app)
    return status.condition(ConditionType.RECONCILED).reason


def text_of(result: PassResult) -> str:
    """A plan as a person reads it."""
    return "\n".join("".join(str(getattr(part, "text", part)) for part in line) for line in plan_lines(result))
