"""Apps that wait for apps: names that no manifest has, apps of other hosts, apps that wait for each other. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass

from reconciler.model.errors import Problem
from reconciler.model.manifest_conflicts import can_meet

CYCLE_SHOWN = 6
"""How many apps of a cycle a sentence names."""


@dataclass(frozen=True, slots=True)
class DependencyClaim:
    """The app ``app`` waits for the app ``on``; ``line`` and ``field`` are those of the entry in ``dependsOn``."""

    app: str
    file: str
    line: int
    field: str
    on: str


def dependency_conflicts(
    claims: Collection[DependencyClaim],
    names: Collection[str],
    placements: Mapping[str, Mapping[str, str]],
    *,
    labels: Mapping[str, str] | None = None,
) -> Iterator[Problem]:
    """A problem for every entry that could never come true.

    ``names`` are all apps that a manifest is about, mistaken ones included; ``placements`` has the labels that each
    app without a mistake asks for, and ``labels`` those of this host (``None``: no particular host).
    """
    circles = _circles(claims)
    for claim in claims:
        message = _never(claim, names, placements, labels)
        if message is None and (claim.app, claim.on) in circles:
            circle = circles[claim.app, claim.on]
            shown = " -> ".join([*circle[:CYCLE_SHOWN], *(["..."] if len(circle) > CYCLE_SHOWN else []), circle[0]])
            message = f"these apps would wait for each other for ever: {shown}"
        if message is not None:
            yield Problem(claim.file, claim.line, claim.field, message, claim.app)


def _never(
    claim: DependencyClaim,
    names: Collection[str],
    placements: Mapping[str, Mapping[str, str]],
    labels: Mapping[str, str] | None,
) -> str | None:
    if claim.on not in names:
        return f"there is no app {claim.on!r}: no manifest has this name"
    mine, theirs = placements.get(claim.app, {}), placements.get(claim.on, {})
    if not can_meet(mine, theirs):
        return f"the app {claim.on!r} is never placed on a host that runs {claim.app!r}: {_asked(theirs)}"
    if labels is not None and _placed(mine, labels) and not _placed(theirs, labels):
        return f"the app {claim.on!r} is not placed on this host: {_asked(theirs)}"
    return None


def _placed(placement: Mapping[str, str], labels: Mapping[str, str]) -> bool:
    return all(labels.get(key) == value for key, value in placement.items())


def _asked(placement: Mapping[str, str]) -> str:
    return "its placement is " + ", ".join(f"{key}: {value}" for key, value in sorted(placement.items()))


def _circles(claims: Iterable[DependencyClaim]) -> dict[tuple[str, str], list[str]]:
    """For every step from an app to one that it waits for and that lies on a circle: the circle, from that app on."""
    waits: dict[str, list[str]] = {}
    for claim in claims:
        waits.setdefault(claim.app, []).append(claim.on)
    waits = _tangled(waits)
    found = {}
    for app, others in waits.items():
        for on in others:
            way = _way(waits, on, app)
            if way is not None:
                found[app, on] = [app, *way[:-1]]
    return found


def _way(waits: Mapping[str, list[str]], start: str, end: str) -> list[str] | None:
    """The shortest way from app to app, both ends included."""
    before: dict[str, str | None] = {start: None}
    reached = [start]
    for app in reached:
        if app == end:
            way = [app]
            while (previous := before[way[-1]]) is not None:
                way.append(previous)
            return way[::-1]
        for on in waits.get(app, ()):
            if on not in before:
                before[on] = app
                reached.append(on)
    return None


def _tangled(waits: Mapping[str, list[str]]) -> dict[str, list[str]]:
    """What is left when apps that wait for nobody, or that nobody waits for, are taken away, again and again.

    Nothing is left where there is no circle, which is nearly always; otherwise the circles and the ways between them.
    """
    left = {app: list(others) for app, others in waits.items()}
    while True:
        waited_for = {on for others in left.values() for on in others}
        kept = {app: [on for on in others if on in left] for app, others in left.items() if app in waited_for}
        kept = {app: others for app, others in kept.items() if others}
        if kept == left:
            return left
        left = kept
