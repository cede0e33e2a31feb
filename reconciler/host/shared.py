"""Paths that an app keeps across releases: links from every release to one folder that is never collected."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

from reconciler.host.app_commands import SYSTEM_PATH
from reconciler.host.files import remove_tree
from reconciler.host.processes import Account, run
from reconciler.model.errors import StageFailed

COPY_SECONDS = 900.0


def place_shared_links(tree: Path, shared: Sequence[str], home: Path, account: Account | None = None) -> None:
    """Put a link to ``home/<path>`` at every shared path of ``tree``, which nobody else writes to.

    The first time, what the tree has at that path becomes the shared content; later on the tree's own is dropped,
    because the shared one holds the app's data. A path that exists nowhere becomes a folder, unless its last part
    has a dot in it, such as ``db.sqlite3``: then it is left for the app to make through the link.

    ``home`` is ``account``'s, who may have put links of its own there: everything in it is made with its rights.
    """
    for path in shared:
        link, target = tree / path, home / path
        _refuse_links_on_the_way(tree, path)
        make_folder(target.parent, "", account)
        exists = link.is_symlink() or link.exists()
        if not target.exists() and not target.is_symlink():
            if exists and not link.is_symlink():
                _seed(link, target, account)
            elif "." not in Path(path).name.lstrip("."):
                make_folder(target, "", account)
        if exists:
            remove_tree(link)
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(target)


def make_folder(parent: Path, name: str, account: Account | None) -> Path:
    """Make a folder, and those above it, with the rights of ``account``; returns it."""
    folder = parent / name
    if not folder.is_dir():
        if account is None:
            folder.mkdir(parents=True, exist_ok=True)
        else:
            _as(account, "mkdir", "-p", "--", str(folder))
    return folder


def drop_shared_links(tree: Path, shared: Sequence[str]) -> None:
    """Take the links out of a scratch copy, so that a build command cannot touch live data."""
    for path in shared:
        if (tree / path).is_symlink():
            (tree / path).unlink()


def _seed(link: Path, target: Path, account: Account | None) -> None:
    temporary = target.with_name(f".seed-{target.name}")
    if account is not None:
        _as(account, "rm", "-rf", "--", str(temporary))
        _as(account, "cp", "-R", "--no-dereference", "--preserve=mode,timestamps", "--", str(link), str(temporary))
        _as(account, "mv", "--no-target-directory", "--", str(temporary), str(target))
        return
    if temporary.exists():
        remove_tree(temporary)
    if link.is_dir():
        shutil.copytree(link, temporary, symlinks=True)
    else:
        shutil.copy2(link, temporary)
    temporary.rename(target)


def _as(account: Account, *command: str) -> None:
    env = {"PATH": SYSTEM_PATH, "LANG": "C.UTF-8"}
    run(
        command, timeout=COPY_SECONDS, cwd=Path("/"), env=env, account=account, what=f"{command[0]} as {account.name}"
    )


def _refuse_links_on_the_way(tree: Path, path: str) -> None:
    folder = tree
    for part in Path(path).parts[:-1]:
        folder /= part
        if folder.is_symlink():
            raise StageFailed(
                f"shared path {path} leads through the link {folder.relative_to(tree)}",
                hint="name the folder that the link leads to, or remove the link from the repository",
            )
