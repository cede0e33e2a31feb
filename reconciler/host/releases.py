"""Releases on disk: a folder of links for each, the vassal's two files, and the public link that is renamed over."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from reconciler.host.files import TEMPORARY_PREFIX, flush_folder, make_folder, remove_tree, replace_link, write_whole
from reconciler.host.layout import Layout, names_in
from reconciler.host.processes import Account

INI_MODE = 0o644
OWN_INI_MODE = 0o640
"""Where apps have accounts: how a neighbour is run is nobody's business."""
ENVIRONMENT_MODE = 0o600
SOCKET_KINDS = ("web", "http", "stats")


def release_target(app: str, release: str) -> str:
    """What the public link of an app holds: relative, so that a state folder can be moved as a whole."""
    return f"../releases/{app}/{release}"


def lay_out_release(layout: Layout, app: str, release: str, *, web: Path, static: Path, folder: Path) -> None:
    """Make the folder of a release: links to its socket, its static files and its app folder."""
    home = layout.release(app, release)
    make_folder(home)
    for name, target in (("web", web), ("static", static), ("app", folder)):
        replace_link(home / name, link_text(layout, target))


def link_text(layout: Layout, target: Path) -> str:
    """What a link in the folder of a release holds to lead to ``target``.

    Relative, so that a state folder can be moved as a whole; what lies elsewhere does not move with it.
    """
    if not target.is_relative_to(layout.root):
        return str(target)
    # three folders up from releases/<app>/<release>; `os.path.relpath` costs ten times as much
    return f"../../../{str(target)[len(str(layout.root)) + 1 :]}"


def write_vassal(layout: Layout, vassal: str, ini: str, environment: str, account: Account | None = None) -> None:
    """Write the environment first: the Emperor starts a vassal when it sees the ``.ini``.

    Both files belong to ``account``: a vassal is run as the owner of its file.
    """
    owner = None if account is None else (account.uid, account.gid)
    write_whole(layout.vassals / f"{vassal}.env", environment, mode=ENVIRONMENT_MODE, owner=owner)
    write_whole(layout.vassals / f"{vassal}.ini", ini, mode=ini_mode(own=account is not None), owner=owner)


def ini_mode(*, own: bool) -> int:
    """The mode of a vassal's settings; ``own``: the app has an account of its own."""
    return OWN_INI_MODE if own else INI_MODE


def remove_vassal(layout: Layout, vassal: str) -> bool:
    """Take a vassal away from the Emperor, which ends it; returns whether there was one."""
    ini = layout.vassals / f"{vassal}.ini"
    existed = ini.exists()
    ini.unlink(missing_ok=True)
    for ending in ("env", "env.kept"):
        (layout.vassals / f"{vassal}.{ending}").unlink(missing_ok=True)
    return existed


def remove_environments(layout: Layout, app: str) -> None:
    """Remove the environments of all vassals of an app, and copies of them; they may hold secrets."""
    with os.scandir(layout.vassals) as entries:
        names = [entry.name for entry in entries]
    for name in names:
        if name.partition(".")[0] == app and name.endswith((".env", ".env.kept")):
            (layout.vassals / name).unlink(missing_ok=True)


def remove_sockets(layout: Layout, vassal: str) -> None:
    """Remove the sockets of a vassal that was killed; one that ends by itself takes them along."""
    for kind in SOCKET_KINDS:
        layout.socket(vassal, kind).unlink(missing_ok=True)


def remove_release(layout: Layout, app: str, release: str) -> None:
    """Remove a release's folder of links; the outputs in the store stay."""
    remove_tree(layout.release(app, release))


def public_release(layout: Layout, app: str) -> str | None:
    """The release that the public path leads to now; ``None`` before the first one."""
    try:
        return layout.public_link(app).readlink().name
    except OSError:
        return None


def switch(layout: Layout, app: str, release: str) -> None:
    """Move traffic: rename the public link over, in one step for code and static files."""
    replace_link(layout.public_link(app), release_target(app, release))


def keep_way_back(layout: Layout, app: str, release: str | None) -> None:
    """Make the link for :func:`switch_back` now: on a full disk, going back must not need any room."""
    if release is not None:
        replace_link(_way_back(layout, app), release_target(app, release))


def forget_way_back(layout: Layout, app: str) -> None:
    """There is no going back any more."""
    with suppress(OSError):
        # a later pass removes what is left over
        _way_back(layout, app).unlink()


def switch_back(layout: Layout, app: str, release: str) -> None:
    """Move traffic back to the release that had it, by the link that was kept for that."""
    kept = _way_back(layout, app)
    try:
        if str(kept.readlink()) == release_target(app, release):
            kept.replace(layout.public_link(app))
            flush_folder(layout.public)
            return
    except FileNotFoundError:
        pass
    switch(layout, app, release)


def _way_back(layout: Layout, app: str) -> Path:
    # a name that a later pass takes for left over
    return layout.public / f"{TEMPORARY_PREFIX}back-{app}"


def vassals_of(layout: Layout, app: str) -> list[str]:
    """The vassals of one app that have a file, whatever release they belong to."""
    vassals = (name.removesuffix(".ini") for name in names_in(layout.vassals) if name.endswith(".ini"))
    return sorted(vassal for vassal in vassals if vassal.partition(".")[0] == app)


def vassals_by_app(layout: Layout) -> dict[str, list[str]]:
    """The vassals of all apps that have one with a file; for many apps, one look at the folder instead of many."""
    found: dict[str, list[str]] = {}
    with os.scandir(layout.vassals) as entries:
        for entry in entries:
            name = entry.name.removesuffix(".ini")
            if name != entry.name:
                found.setdefault(name.partition(".")[0], []).append(name)
    return {app: sorted(names) for app, names in found.items()}
