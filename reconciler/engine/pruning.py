"""Prune: apps whose manifest is gone are taken off this host, never too many at once."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from reconciler.engine.retiring import retire_all_but
from reconciler.host.releases import remove_environments
from reconciler.host.services import Host
from reconciler.model.configuration import Prune

REMOVAL_DRAIN_SECONDS = 10.0
"""How long an app that goes may finish its requests."""


def removable(known: Iterable[str], desired: Iterable[str], held: Iterable[str]) -> list[str]:
    """Apps that are on this host and that git does not ask for any more."""
    return sorted(set(known) - set(desired) - set(held))


def refusal(gone: list[str], known: int, prune: Prune, *, unreadable: Sequence[str]) -> str | None:
    """Why these apps may not be removed now, as a sentence; ``None`` when they may."""
    if not gone:
        return None
    if not prune.enabled:
        return "its manifest is gone, but prune.enabled is false in agent.yaml"
    if unreadable:
        return (
            f"its manifest is gone, but may be in {unreadable[0]}, which cannot be read: "
            "it stays until that file is corrected"
        )
    # one app may always go: a share of a single app would be everything
    if len(gone) > max(1, int(known * prune.limit)):
        return (
            f"{len(gone)} of {known} apps would be removed at once, more than prune.limit {prune.limit:g} allows; "
            "raise it in agent.yaml if that is meant"
        )
    return None


def remove_app(host: Host, app: str, drain_seconds: float) -> None:
    """Take an app off this host: the site first, so that nobody is led to an app that is ending.

    Shared files, logs and the outputs in the store stay.
    """
    host.nginx.install({f"{app}.conf": None})
    host.layout.pair(app).unlink(missing_ok=True)
    host.layout.public_link(app).unlink(missing_ok=True)
    retire_all_but(host, app, serving="", seconds=drain_seconds)
    # an agent that was killed in the same may have left these without what would lead to them
    remove_environments(host.layout, app)
    host.tenants.leave(app)
