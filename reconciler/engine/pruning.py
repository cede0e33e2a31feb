"""Prune: apps whose manifest is gone are taken off this host, never too many at once."""

from __future__ import annotations

import os
from collections.abc import Container, Iterable, Sequence
from contextlib import suppress
from pathlib import Path

from reconciler.engine.switching import retire_all_but
from reconciler.host.layout import Layout
from reconciler.host.services import Host
from reconciler.model.configuration import Prune

HEADER_BYTES = 256
"""How much of a vassal's file is read to see who wrote it."""


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


def strays(layout: Layout, known: Container[str]) -> list[str]:
    """Apps that nobody knows, and that an agent which was killed in their first deployment left running.

    Only what the reconciler wrote itself counts; what a person put there is drift, and is reported.
    """
    with os.scandir(layout.public) as links:
        found = {entry.name for entry in links if entry.is_symlink() and entry.name not in known}
    with os.scandir(layout.vassals) as entries:
        for entry in entries:
            app = entry.name.partition(".")[0]
            if entry.name.endswith(".ini") and app not in known and _is_ours(Path(entry.path), app):
                found.add(app)
    return sorted(name for name in found if not name.startswith("."))


def _is_ours(vassal: Path, app: str) -> bool:
    with suppress(OSError), vassal.open("rb") as file:
        return f" of the app {app}, written by reconciler\n".encode() in file.read(HEADER_BYTES)
    return False


def remove_app(host: Host, app: str, drain_seconds: float) -> None:
    """Take an app off this host: the site first, so that nobody is led to an app that is ending.

    Shared files, logs and the outputs in the store stay.
    """
    host.nginx.install({f"{app}.conf": None})
    host.layout.public_link(app).unlink(missing_ok=True)
    retire_all_but(host, app, serving="", seconds=drain_seconds)
