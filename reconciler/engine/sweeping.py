"""Sweep: end what an agent that was killed left running. Nobody has to clean up."""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Container, Iterable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from reconciler.engine.kept_environment import forget_kept
from reconciler.engine.pruning import REMOVAL_DRAIN_SECONDS, refusal, remove_app
from reconciler.engine.recording import as_reconciler_error
from reconciler.engine.retiring import left_over, retire_all_but
from reconciler.host.layout import Layout
from reconciler.host.open_sockets import listening_sockets
from reconciler.host.releases import SOCKET_KINDS, public_release
from reconciler.host.services import Host
from reconciler.model.configuration import Prune
from reconciler.model.errors import ReconcilerError
from reconciler.model.stage import AppliedApps, StageName, release_of
from reconciler.stages.vassal import vassal_of

if TYPE_CHECKING:
    from reconciler.engine.desired import Desired

_ENVIRONMENT = re.compile(r"(?P<vassal>(?P<app>[a-z][a-z0-9-]*)(\.(?P<release>[0-9a-f]{12}))?)\.env(\.kept)?")
HEADER_BYTES = 256
"""How much of a vassal's file is read to see who wrote it."""


def sweep(
    host: Host,
    applied: AppliedApps,
    settled: Iterable[str],
    desired: Desired,
    prune: Prune,
    *,
    busy: Collection[str] = (),
    everywhere: bool = True,
) -> tuple[str, ...]:
    """End candidates and draining releases of apps that are ``settled``, and apps that nobody knows.

    Apps that are ``busy`` are being worked on, and are left alone. An app whose traffic is not with the applied
    release, such as behind an irreversible hook, is left as it is. Apps that nobody knows are under the prune limit
    like any other: after a lost journal, every app is one of them until it has been adopted. They, and the sockets of
    vassals that were killed, are looked for ``everywhere``, or not at all. Returns a sentence for what could not be
    done.
    """
    serving = {
        app: vassal_of(app, applied[app][StageName.VASSAL])
        for app in settled
        if app in applied and public_release(host.layout, app) == release_of(applied[app][StageName.VASSAL].digest)
    }
    try:
        for app in left_over(host.layout, serving):
            retire_all_but(host, app, serving[app], REMOVAL_DRAIN_SECONDS)
        if not everywhere:
            return ()
        remove_dead_sockets(host.layout, busy)
        remove_lone_environments(host.layout, applied, busy)
        known = {*desired.apps, *desired.held, *applied, *busy}
        unknown = strays(host.layout, known)
        why_not = refusal(unknown, len(known) + len(unknown), prune, unreadable=desired.unreadable)
        if why_not is not None:
            return (f"{', '.join(unknown)}: runs here without a record in the journal, and {why_not}",)
        for app in unknown:
            remove_app(host, app, REMOVAL_DRAIN_SECONDS)
    except (ReconcilerError, OSError) as error:
        return (str(as_reconciler_error(error, host.layout.root)),)
    return ()


def remove_dead_sockets(layout: Layout, busy: Collection[str] = ()) -> None:
    """Remove the sockets of vassals that were killed; one that ends by itself, or still drains, takes them along."""
    sockets = [
        (vassal, path)
        for vassal, kind, path in layout.sockets()
        if kind in SOCKET_KINDS and path != layout.emperor_stats and vassal.partition(".")[0] not in busy
    ]
    # looked at after the sockets: a vassal that starts has its file before it has them
    with os.scandir(layout.vassals) as entries:
        there = {entry.name.removesuffix(".ini") for entry in entries}
    left = [path for vassal, path in sockets if vassal not in there]
    if left and (listening := listening_sockets()) is not None:
        for path in left:
            if str(path) not in listening:
                path.unlink(missing_ok=True)


def remove_lone_environments(layout: Layout, applied: AppliedApps, busy: Collection[str] = ()) -> None:
    """Remove the environment of vassals without settings, of a candidate that never started or that has left, and
    copies of an environment that is in its place again.

    They may hold secrets. Where a person removed the settings of what was applied, that is drift: not seen to here.
    """
    with os.scandir(layout.vassals) as entries:
        names = {entry.name for entry in entries}
    serving = {
        vassal_of(app, stages[StageName.VASSAL]) for app, stages in applied.items() if StageName.VASSAL in stages
    }
    for name in names:
        match = _ENVIRONMENT.fullmatch(name)
        if match is None or match["app"] in busy:
            continue
        app, vassal = match["app"], match["vassal"]
        if vassal in serving:
            if name.endswith(".kept"):
                forget_kept(layout, app, vassal, applied[app][StageName.VASSAL])
        elif f"{vassal}.ini" not in names and (match["release"] or app in applied):
            (layout.vassals / name).unlink(missing_ok=True)


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
