"""Apps that a command can ask about, whether they still serve or only have a history."""

from __future__ import annotations

from difflib import get_close_matches

from reconciler.host.journal import Journal
from reconciler.model.errors import UsageError


def require_known(journal: Journal, app: str) -> None:
    """Raise :class:`UsageError` for an app that this host has never heard of."""
    known = journal.apps()
    if app in known or journal.releases(app, 1) or journal.events(app, 1):
        return
    near = get_close_matches(app, known, n=1)
    names = ", ".join(sorted(known)) or "none yet"
    raise UsageError(
        f"this host knows no app {app!r}",
        hint=f"did you mean {near[0]}?" if near else f"the apps are: {names}",
    )
