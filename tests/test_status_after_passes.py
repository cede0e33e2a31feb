"""Proves that `status` says of each app how it stands after the last pass, and forgets what is over."""

from __future__ import annotations

from reconciler.cli.wiring import Installation
from reconciler.engine.status import AppStatus, read_status
from reconciler.model.condition import ConditionReason, ConditionType
from reconciler.model.plan import Outcome
from tests.world import World, manifest, of, wsgi_app


def status_of(world: World, app: str) -> AppStatus | None:
    installation = Installation.load(world.agent_file)
    with installation.journal() as journal:
        status = read_status(installation.layout, journal)
    return next((found for found in status.apps if found.app == app), None)


def reason_of(world: World, app: str) -> ConditionReason:
    status = status_of(world, app)
    assert status is not None
    return status.condition(ConditionType.RECONCILED).reason


def test_a_quarantine_ends_when_git_asks_again_for_what_serves(world: World) -> None:
    world.add_app("blog", "good")
    world.once()
    world.commit({"apps/blog/wsgi.py": "import nothing_like_this\n"})
    world.once()
    assert reason_of(world, "blog") is ConditionReason.QUARANTINED
    world.commit({"apps/blog/wsgi.py": wsgi_app("good")}, "Revert")
    assert of(world.once(), "blog").outcome is Outcome.UNCHANGED
    assert reason_of(world, "blog") is ConditionReason.AS_GIT_ASKS
    status = status_of(world, "blog")
    assert status is not None
    assert status.last_error is None


def test_a_suspended_app_says_so_until_it_is_resumed(world: World) -> None:
    world.add_app("blog", "good")
    world.once()
    world.commit({"manifests/blog.yaml": manifest("blog", suspend=True)})
    assert of(world.once(), "blog").outcome is Outcome.SUSPENDED
    assert reason_of(world, "blog") is ConditionReason.SUSPENDED
    world.commit({"manifests/blog.yaml": manifest("blog")})
    world.once()
    assert reason_of(world, "blog") is ConditionReason.AS_GIT_ASKS


def test_an_app_that_never_served_is_forgotten_with_its_manifest(world: World) -> None:
    world.add_app("blog", "good")
    world.add_app("other", files={"wsgi.py": "import nothing_like_this\n"})
    world.once()
    assert reason_of(world, "other") is ConditionReason.QUARANTINED
    world.commit({"manifests/other.yaml": None})
    world.once()
    assert status_of(world, "other") is None
    assert reason_of(world, "blog") is ConditionReason.AS_GIT_ASKS
