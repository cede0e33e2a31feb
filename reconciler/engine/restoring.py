"""Restoring a damaged output of the store: what nobody applied is set aside, what was changed is made anew."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from reconciler.host.contents import Contents
from reconciler.host.files import remove_tree
from reconciler.host.layout import Layout
from reconciler.host.store import output_is_whole
from reconciler.model.plan import Change
from reconciler.model.stage import Difference, DifferenceKind

SET_ASIDE_KEPT = 10
"""How many times something is set aside for one app before the oldest goes."""


@dataclass(frozen=True, slots=True)
class Damage:
    """What is left to do about a stored output: nothing, or to make it anew; ``damaged`` are changed files."""

    done: bool
    replace: bool = False
    damaged: tuple[Path, ...] = ()


def take_stock(layout: Layout, contents: Contents, app: str, change: Change) -> Damage:
    """Set aside what nobody applied in an output that is to be healed, and find out what is left to do.

    Several apps may share an output: the first of them heals it for all.
    """
    folder = layout.output(change.stage, change.digest)
    if not folder.is_dir():
        return Damage(done=False)
    if change.heals:
        set_aside(layout, app, [difference for difference in change.heals if difference.kind is DifferenceKind.EXTRA])
        left = [d for d in contents.look_again(change.stage, change.digest) if not d.byproduct]
        if not left and output_is_whole(layout, change.stage, change.digest):
            return Damage(done=True)
        return Damage(done=False, replace=True, damaged=tuple(Path(difference.path) for difference in left))
    whole = output_is_whole(layout, change.stage, change.digest)
    return Damage(done=False, replace=not (whole and contents.is_sound(change.stage, change.digest)))


def set_aside(layout: Layout, app: str, extras: Iterable[Difference]) -> None:
    """Move files that nobody applied out of a release; a person may still want them."""
    home = layout.set_aside(app)
    moved = home / _next_name(home)
    for difference in extras:
        path = Path(difference.path)
        target = moved / path.relative_to(layout.root)
        target.parent.mkdir(parents=True, exist_ok=True)
        if os.path.lexists(target):
            remove_tree(target)
        with suppress(FileNotFoundError):
            path.rename(target)
    if home.is_dir():
        for old in sorted(home.iterdir())[:-SET_ASIDE_KEPT]:
            remove_tree(old)


def _next_name(home: Path) -> str:
    """The time as a name, which sorts behind all that are there, also when the clock has been set back."""
    name = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    last = max((entry.name for entry in home.iterdir()), default="") if home.is_dir() else ""
    if last <= name:
        return name
    stem, _, number = last.partition("+")
    return f"{stem}+{int(number or 0) + 1:04}"
