"""Standing: apps that were as git asks for when they were looked at, and that nothing has touched since.

A look for a new commit, or for the file of one app, does not look at all other apps again. What was found of them
stands until a file event names them, something is written about them in the journal, an attempt works on them, git
asks for something else, or everything is looked at: by the clock (``drift``), at a start, and whenever a person asks.
Nothing stands where file events cannot be relied on.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from operator import is_

from reconciler.engine.results import AppResult
from reconciler.host.touched import Touched
from reconciler.model.plan import Outcome
from reconciler.model.trigger import Trigger, triggers_of

ABOUT_SOMETHING = frozenset({Trigger.POLL, Trigger.GIT_TOUCHED, Trigger.FILE_TOUCHED, Trigger.WORK})
"""Triggers of looks for which what was found before may stand; others ask for a look at everything."""

Basis = tuple[object, ...]
"""What a result was planned from: how often the app was worked on, and objects. The same ones lead to the same."""


@dataclass(slots=True)
class Standing:
    """Results of apps with nothing to do and nothing to tell, with what they were planned from."""

    touched: Touched
    _known: dict[str, tuple[Basis, AppResult]] = field(default_factory=dict)

    def begin(self, trigger: str) -> bool:
        """Whether results may stand in this look; otherwise all are forgotten."""
        stands = self.touched.tells_all and ABOUT_SOMETHING.issuperset(triggers_of(trigger))
        if not stands:
            self._known.clear()
        return stands

    def forget(self, apps: Iterable[str] | None) -> None:
        """Look at these apps again; ``None``: at all."""
        if apps is None:
            self._known.clear()
        else:
            for app in apps:
                self._known.pop(app, None)

    def result(self, app: str, commit: str, basis: Basis) -> AppResult | None:
        """What stands of an app, as of ``commit``; ``None`` when it has to be looked at."""
        known = self._known.get(app)
        if known is None or known[0][0] != basis[0] or not all(map(is_, known[0][1:], basis[1:])):
            return None
        result = known[1]
        if result.revision != commit:
            # a commit that leaves the app's folder alone moves its commit all the same
            result = replace(result, revision=commit)
            self._known[app] = basis, result
        return result

    def remember(self, planned: Mapping[str, tuple[Basis, AppResult]]) -> None:
        """Keep what was just planned, where it may stand."""
        for app, (basis, result) in planned.items():
            if _quiet(result):
                self._known[app] = basis, result
            else:
                self._known.pop(app, None)

    def keep_only(self, apps: Iterable[str]) -> None:
        """Let go of apps that git does not ask for any more."""
        for app in self._known.keys() - set(apps):
            del self._known[app]


def _quiet(result: AppResult) -> bool:
    plan = result.plan
    return (
        result.outcome is Outcome.UNCHANGED and result.note is None and not (plan.drift or plan.held or plan.needed)
    )
