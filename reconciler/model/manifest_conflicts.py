"""Apps that cannot live beside each other: one name twice, or one server name and port twice on one host."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import chain

from reconciler.model.errors import Problem


@dataclass(frozen=True, slots=True)
class NameClaim:
    """A document that says it describes the app ``app``; ``line`` is that of its name."""

    app: str
    file: str
    line: int


@dataclass(frozen=True, slots=True)
class ServerClaim:
    """A server name and port that an app wants; an empty ``server_name`` is the default server of the port.

    ``tls`` says what is spoken there.
    """

    app: str
    file: str
    line: int
    field: str
    server_name: str
    port: int
    placement: Mapping[str, str]
    tls: bool = False


def name_conflicts(claims: Iterable[NameClaim]) -> Iterator[Problem]:
    """A problem for every document whose app another document describes too."""
    by_app: dict[str, list[NameClaim]] = {}
    for claim in claims:
        by_app.setdefault(claim.app, []).append(claim)
    for app, group in by_app.items():
        for number, claim in enumerate(group if len(group) > 1 else ()):
            other = group[0 if number else 1]
            message = f"the app {app} is also described in {other.file}:{other.line}"
            yield Problem(claim.file, claim.line, "metadata.name", message, app)


def server_conflicts(
    claims: Iterable[ServerClaim], *, port: int | None = None, tls_port: int | None = None
) -> Iterator[Problem]:
    """A problem for every claim that meets another one on a host that both may be placed on.

    ``port`` and ``tls_port`` take the place of every claim's own port, where one port serves all apps.
    """
    by_server: dict[tuple[str, int], list[ServerClaim]] = {}
    by_port: dict[int, list[ServerClaim]] = {}
    told: set[tuple[str, str]] = set()
    for claim in sorted(claims, key=lambda claim: claim.tls):
        at = (tls_port if claim.tls else port) or claim.port
        by_server.setdefault((claim.server_name.lower(), at), []).append(claim)
        by_port.setdefault(at, []).append(claim)
    for (_, at), group in by_server.items():
        if len(group) > 1:
            for problem in _conflicts_in(group, at):
                # two apps that share a name over HTTP share it over HTTPS too, which is one mistake
                if (problem.app or "", problem.field) not in told:
                    told.add((problem.app or "", problem.field))
                    yield problem
    for at, group in by_port.items():
        yield from _mixed(group, at, told)


def _mixed(group: list[ServerClaim], port: int, told: set[tuple[str, str]]) -> Iterator[Problem]:
    """One port speaks either HTTP or HTTPS, whatever the names are."""
    plain = [claim for claim in group if not claim.tls]
    for claim in group:
        other = next((other for other in plain if _meet(claim, other)), None) if claim.tls else None
        if other is not None and (claim.app, claim.field) not in told:
            told.add((claim.app, claim.field))
            message = f"port {port} speaks HTTP for the app {other.app} ({other.file}:{other.line}), so no HTTPS"
            yield Problem(claim.file, claim.line, claim.field, message, claim.app)


def _conflicts_in(group: list[ServerClaim], port: int) -> Iterator[Problem]:
    # by the label that most of them carry, because a thousand apps of a thousand hosts make a million pairs
    labels = Counter(label for claim in group for label in claim.placement)
    label = labels.most_common(1)[0][0] if labels else ""
    by_value: dict[str | None, list[ServerClaim]] = {}
    for claim in group:
        by_value.setdefault(claim.placement.get(label), []).append(claim)
    for claim in group:
        value = claim.placement.get(label)
        near = group if value is None else chain(by_value[value], by_value.get(None, ()))
        other = next((other for other in near if _meet(claim, other)), None)
        if other is not None:
            yield Problem(claim.file, claim.line, claim.field, _sentence(claim, other, port), claim.app)


def _meet(one: ServerClaim, other: ServerClaim) -> bool:
    if one.app == other.app:
        return False
    return can_meet(one.placement, other.placement)


def can_meet(mine: Mapping[str, str], theirs: Mapping[str, str]) -> bool:
    """Whether a host can carry the labels of both placements: it has one value for a label."""
    return all(mine[label] == theirs[label] for label in mine.keys() & theirs.keys())


def _sentence(claim: ServerClaim, other: ServerClaim, port: int) -> str:
    place = f"{other.app} ({other.file}:{other.line})"
    if claim.server_name:
        return f"the app {place} claims the server name {claim.server_name} on port {port} too"
    return f"without server names it is the default server of port {port}, and so is the app {place}"
