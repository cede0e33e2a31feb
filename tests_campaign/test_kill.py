"""The agent is killed wherever it writes or starts something, and at random moments: visitors notice nothing, and the
next pass ends where an undisturbed one does.
"""

from __future__ import annotations

import itertools
import os
import random
import zlib
from collections import Counter
from collections.abc import Callable, Container

import pytest

from campaign import new_host
from killing import Campaign, claim
from points import site_of
from scenarios import COMING_AND_GOING, DRIFT, ONE_LINE, SCENARIOS, Scenario

MOMENTS = 102
"""Random moments in single passes, and as many in the agent that stays."""
MANY_MOMENTS = 2_000
ROUNDS = 4
"""In how many rounds a point that depends on how fast others are may come again."""
MISSED = 3
"""So many need not: whether stats of files have moved (``save host/contents.py``) depends on who links them, and a
reload (``_make_noticed host/uwsgi_readiness.py``) on whether a file was written twice within a second.
"""
PASS_SECONDS = 0.6
"""Moments are spread over the time that a pass with a deploy takes."""
SEED = 20_261_123


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.name.replace(" ", "-"))
def test_an_agent_that_is_killed_at_any_point_is_not_noticed(
    scenario: Scenario,
    long: bool,
    share: float,
    tmp_path_factory: pytest.TempPathFactory,
    record_property: pytest.RecordProperty,
) -> None:
    with new_host() as host:
        campaign = Campaign(host, scenario)
        campaign.begin()
        with campaign.watched():
            campaign.learn()
            if long:
                left = [list(dict.fromkeys(expected.points)) for expected in campaign.expected]
                missed = _kill_at(campaign, left, lambda _: True)
            else:
                base = tmp_path_factory.getbasetemp()
                # with several workers each has a folder of its own below the one of the run
                claimed = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "places"
                left = [_first_points(expected.points) for expected in campaign.expected]
                missed = _kill_at(
                    campaign, left, lambda point: _chosen(site_of(point), share) and claim(claimed, site_of(point))
                )
    tried = campaign.killed + len(missed)
    text = f"{scenario.name}: killed at {campaign.killed} points of {tried}, {campaign.visits} visits"
    record_property("campaign", text + "".join(f"\n  not met again: {point}" for point in missed))
    assert not campaign.wrong, "\n".join(campaign.wrong)
    assert len(missed) <= MISSED + tried / 10


def _first_points(points: list[str]) -> list[str]:
    """The first point at every place in the code, in order."""
    return list({site_of(point): point for point in reversed(points)}.values())[::-1]


def _chosen(site: str, share: float) -> bool:
    """Whether a place in the code is of the share that is tried: the same places in every run."""
    return zlib.crc32(site.encode()) % 1000 < 1000 * share


def _next_of(points: list[str], ours: Callable[[str], bool], tried: Container[str]) -> str | None:
    """Take the next point that is ours, or that was ``tried`` and has to come again."""
    while points:
        point = points.pop(0)
        if point in tried or ours(point):
            return point
    return None


def _kill_at(campaign: Campaign, left: list[list[str]], ours: Callable[[str], bool]) -> list[str]:
    """Go round until there was a death at every point that is ours; returns those that no round came to again."""
    missed: list[str] = []
    # of each step by itself: the same point in another step is tried once, by whoever claims it
    rounds: list[Counter[str]] = [Counter() for _ in left]
    while any(left):
        steps = zip(campaign.scenario.steps, campaign.expected, left, rounds, strict=True)
        for step, expected, points, tried in steps:
            point = _next_of(points, ours, tried)
            if point is None:
                # what damages the blog leaves nothing to go round for
                if any(left) and not campaign.scenario.damages:
                    campaign.carry_out(step)
                continue
            where = f"{campaign.scenario.name}: {step.name}: {point}"
            campaign.change(step)
            tried[point] += 1
            if not campaign.die(step, where, point=point):
                (missed if tried[point] == ROUNDS else points).append(point)
            campaign.recover(step, expected, where)
    return missed


def _moments(source: random.Random) -> list[float]:
    """After how many seconds an agent dies, and each that takes over from it."""
    return [source.uniform(0.0, PASS_SECONDS) for _ in range(source.choice((2, 3, 4)))]


@pytest.mark.parametrize("scenario", [ONE_LINE, COMING_AND_GOING, DRIFT], ids=lambda scenario: scenario.name)
def test_passes_that_are_killed_at_random_moments_are_not_noticed(
    scenario: Scenario, long: bool, share: float, record_property: pytest.RecordProperty
) -> None:
    source = random.Random(f"{SEED} {scenario.name}")
    wanted = int((MANY_MOMENTS if long else MOMENTS) * share) // 3
    with new_host() as host:
        campaign = Campaign(host, scenario)
        campaign.begin()
        with campaign.watched():
            campaign.learn()
            for step, expected in itertools.cycle(zip(scenario.steps, campaign.expected, strict=True)):
                if campaign.killed >= wanted:
                    break
                campaign.change(step)
                moments = _moments(source)
                where = f"{scenario.name}: {step.name}: killed after {moments}"
                for after in moments:
                    campaign.die(step, where, after=after)
                campaign.recover(step, expected, where)
    record_property("campaign", f"{scenario.name}: killed at {campaign.killed} moments, {campaign.visits} visits")
    assert not campaign.wrong, "\n".join(campaign.wrong)


def test_an_agent_that_stays_and_is_killed_at_random_moments_is_not_noticed(
    long: bool, share: float, record_property: pytest.RecordProperty
) -> None:
    source = random.Random(f"{SEED} agent")
    wanted = int((MANY_MOMENTS if long else MOMENTS) * share)
    with new_host() as host:
        campaign = Campaign(host, ONE_LINE)
        campaign.begin()
        with campaign.watched():
            campaign.learn()
            for step, expected in itertools.cycle(zip(ONE_LINE.steps, campaign.expected, strict=True)):
                if campaign.killed >= wanted:
                    break
                campaign.change(step)
                moments = _moments(source)
                campaign.live_and_die(expected, f"{step.name}: killed after {moments}", moments)
    record_property(
        "campaign", f"the agent that stays: killed at {campaign.killed} moments, {campaign.visits} visits"
    )
    assert not campaign.wrong, "\n".join(campaign.wrong)
