"""Forget: what is left of an app that is gone. Nothing of an app that serves, or that git asks for."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from reconciler.engine.collecting import Collecting
from reconciler.host.files import remove_tree
from reconciler.host.journal import Journal
from reconciler.host.layout import Layout
from reconciler.host.releases import public_release, vassals_of
from reconciler.model.errors import UsageError
from reconciler.model.values import NAME_PATTERN

if TYPE_CHECKING:
    from reconciler.engine.desired import Desired
    from reconciler.engine.reading import Reader

SERVER_LOGS = ("nginx.error.log", "emperor.log")
"""Logs of the servers, whose names an app of the name nginx or emperor would have too."""


@dataclass(frozen=True, slots=True)
class Forgotten:
    """What went: ``attempts`` are rows of the history, ``outputs`` folders of the store.

    ``left`` is the folder of shared files, where it stays.
    """

    attempts: int
    logs: int
    outputs: int
    left: Path | None


@dataclass(frozen=True, slots=True)
class Forgetting:
    """Forgets apps of one host; the caller holds the state lock."""

    layout: Layout
    journal: Journal
    reader: Reader
    collecting: Collecting

    def forget(self, app: str, *, shared: bool) -> Forgotten:
        """Remove an app's rows, logs, folders and outputs; with ``shared`` its shared files too.

        Raises :class:`UsageError` when it serves, when a manifest asks for it, and when this host never knew it.
        """
        desired = self.check(app)
        layout = self.layout
        logs = logs_of(layout, app)
        certbot = layout.certbot
        certificates = (certbot / "live" / app, certbot / "archive" / app, certbot / "renewal" / f"{app}.conf")
        places = [*logs, layout.releases / app, layout.old_assets(app), *certificates]
        places += [layout.shared(app)] if shared else []
        for place in places:
            remove_tree(place)
        outputs = self.collecting.collect(desired).outputs
        # last: whoever is interrupted can forget again what is still known
        attempts = self.journal.forget(app)
        left = layout.shared(app)
        return Forgotten(attempts, len(logs), outputs, left if left.exists() else None)

    def check(self, app: str) -> Desired:
        """Refuse what must not be forgotten; returns what git asks of this host."""
        applied = self.journal.applied()
        if not re.fullmatch(NAME_PATTERN, app) or not self._is_known(app, applied):
            known = sorted({*self.journal.apps(), *applied})
            raise UsageError(
                f"this host knows no app {app!r}",
                hint=f"the apps are: {', '.join(known)}" if known else "there is nothing to forget",
            )
        if app in applied or public_release(self.layout, app) is not None or vassals_of(self.layout, app):
            raise UsageError(
                f"{app} still serves on this host",
                hint="remove its manifest, and let a pass take it off: `reconciler once`",
            )
        desired = self.reader.read(applied, self.journal.outputs())
        if app in desired.apps or app in desired.held:
            raise UsageError(
                f"a manifest still asks for {app} on this host", hint="remove the manifest, commit, and try again"
            )
        if desired.unreadable:
            raise UsageError(
                f"{desired.unreadable[0]} cannot be read, and may describe {app}",
                hint="correct the file, commit, and try again; `reconciler validate DIR` checks it",
            )
        return desired

    def _is_known(self, app: str, applied: Iterable[str]) -> bool:
        layout = self.layout
        rows = app in applied or app in self.journal.apps() or self.journal.releases(app, 1)
        places = (layout.shared(app), layout.releases / app, layout.old_assets(app))
        return bool(
            rows or self.journal.events(app, 1) or logs_of(layout, app) or any(place.exists() for place in places)
        )


def logs_of(layout: Layout, app: str) -> list[Path]:
    """The logs of an app, and what a rotation made of them."""
    names = re.compile(rf"{re.escape(app)}(\.(access|error|hooks))?\.log([.-].*)?")
    if not layout.logs.is_dir():
        return []
    own = [entry for entry in layout.logs.iterdir() if names.fullmatch(entry.name)]
    return sorted(entry for entry in own if not entry.name.startswith(SERVER_LOGS))
