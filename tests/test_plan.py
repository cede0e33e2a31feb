"""Proves what the planner decides, case by case: facts in, changes out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from reconciler.model.manifest import DriftPolicy
from reconciler.model.plan import StagePlanning, plan_app, plan_removal
from reconciler.model.stage import (
    Action,
    AppliedStage,
    DesiredStage,
    Difference,
    DifferenceKind,
    Inputs,
    Observation,
    Reason,
    StageName,
    release_of,
)

CASES = yaml.safe_load((Path(__file__).parent / "cases" / "plan.yaml").read_text())
KEYS = {"name", "stage", "desired", "applied", "exists", "differences", "drift", "forced", "expect"}
STATE_KEYS = {"inputs", "upstream", "tools", "notes"}


def inputs_of(stage: StageName, state: dict[str, Any]) -> Inputs:
    assert set(state) <= STATE_KEYS, f"unknown keys {set(state) - STATE_KEYS}"
    upstream = {StageName(name): digest for name, digest in state.get("upstream", {}).items()}
    return Inputs(stage, state["inputs"], upstream, state.get("tools", {}), state.get("notes", {}))


@pytest.mark.parametrize("case", CASES, ids=[case["name"] for case in CASES])
def test_plan(case: dict[str, Any]) -> None:
    assert set(case) <= KEYS, f"unknown keys {set(case) - KEYS}"
    stage = StageName(case["stage"])
    desired_inputs = inputs_of(stage, case["desired"])
    applied: AppliedStage | None = None
    if "applied" in case:
        before = inputs_of(stage, case["applied"])
        applied = DesiredStage(before, before.digest).as_applied()
    differences = tuple(
        Difference(entry["path"], DifferenceKind(entry["kind"]), "-a\n+b") for entry in case.get("differences", ())
    )
    planning = StagePlanning(
        DesiredStage(desired_inputs, desired_inputs.digest),
        applied,
        Observation(case.get("exists", False), differences),
    )
    plan = plan_app(
        "blog", [planning], drift=DriftPolicy(case.get("drift", "heal")), forced=case.get("forced", False)
    )
    (change,) = plan.changes
    expected = case["expect"]
    assert change.action is Action(expected["action"])
    assert [reason.value for reason in change.reasons] == expected.get("reasons", [])
    assert list(change.detail) == expected.get("detail", [])
    assert not change.needed or change.reasons, "every action names its reasons"


def test_a_drift_is_always_printable() -> None:
    inputs = Inputs(StageName.NGINX, {"listen": "80"})
    desired = DesiredStage(inputs, inputs.digest, {"blog.conf": "a\n"})
    observed = Observation(True, (Difference("blog.conf", DifferenceKind.MODIFIED, "--- a\n+++ b"),))
    (change,) = plan_app("blog", [StagePlanning(desired, desired.as_applied(), observed)]).changes
    assert change.reasons == (Reason.DRIFTED,)
    assert "--- a" in change.diff


def test_a_changed_text_is_shown_as_a_diff() -> None:
    old, new = Inputs(StageName.NGINX, {"size": "1m"}), Inputs(StageName.NGINX, {"size": "8m"})
    before = DesiredStage(old, old.digest, {"blog.conf": "server {\n  size 1m;\n}\n"}).as_applied()
    desired = DesiredStage(new, new.digest, {"blog.conf": "server {\n  size 8m;\n}\n"})
    (change,) = plan_app("blog", [StagePlanning(desired, before, Observation(True))]).changes
    assert "-  size 1m;" in change.diff
    assert "+  size 8m;" in change.diff


def test_names_that_change_with_every_release_are_no_change_to_review() -> None:
    def vassal(source: str, processes: str) -> DesiredStage:
        inputs = Inputs(StageName.VASSAL, {"processes": processes}, {StageName.SOURCE: source * 64})
        text = f"chdir = /store/{source * 32}\nprocesses = {processes}\nstats = {release_of(inputs.digest)}\n"
        return DesiredStage(inputs, inputs.digest, {"blog.ini": text})

    before = vassal("a", "2").as_applied()
    (moved,) = plan_app("blog", [StagePlanning(vassal("b", "2"), before, Observation(True))]).changes
    assert (moved.reasons, moved.diff) == ((Reason.UPSTREAM_CHANGED,), "")
    (grown,) = plan_app("blog", [StagePlanning(vassal("b", "4"), before, Observation(True))]).changes
    changed = [line for line in grown.diff.splitlines() if line[:1] in "+-" and line[:3] not in ("+++", "---")]
    assert changed == ["-processes = 2", "+processes = 4"]


def test_removing_takes_the_site_and_the_vassal() -> None:
    applied = {
        name: DesiredStage(Inputs(name, {"a": "b"}), "d" * 64, {"x": "text\n"}).as_applied() for name in StageName
    }
    plan = plan_removal("blog", applied)
    assert [(change.stage, change.action) for change in plan.changes] == [
        (StageName.NGINX, Action.DELETE),
        (StageName.VASSAL, Action.DELETE),
    ]
    assert all(change.reasons == (Reason.REMOVED,) for change in plan.changes)


def test_digests_do_not_depend_on_order_and_cover_the_tools() -> None:
    one = Inputs(StageName.BUILD, {"a": "1", "b": "2"}, tools={"uv": "1"})
    two = Inputs(StageName.BUILD, {"b": "2", "a": "1"}, tools={"uv": "2"})
    assert one.key == two.key
    assert one.digest != two.digest
    assert Inputs(StageName.STATIC, {"a": "1", "b": "2"}).key != one.key
    assert len(one.digest) == 64
    assert release_of(one.digest) == one.digest[:12]


def test_the_digest_format_is_the_one_on_disk() -> None:
    """A changed formula would redeploy every app at an upgrade: change it only with a new DIGEST_FORMAT."""
    inputs = Inputs(StageName.SOURCE, {"app": "blog", "source.tree": "a" * 40}, tools={"git": "2"})
    assert inputs.key == "bc629be83d39f1ab14864a6a797ee9586951a0651651310e85bebe615de78fcf"
