"""Recalling: what the journal says of every app, read once, and then only of those of which something was written."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TypeVar

from reconciler.engine.drifting import Drifting
from reconciler.host.journal import AppRecord, HookRecord, Journal, SuspensionRecord
from reconciler.model.stage import AppliedStage, StageName

_Value = TypeVar("_Value")


@dataclass(frozen=True, slots=True)
class Made:
    """The outputs that were ever made; asked for one at a time, because only what changed is asked for."""

    journal: Journal

    def get(self, key: str, default: str, /) -> str:
        """The digest under which the output of these inputs is stored."""
        return self.journal.output(key) or default


@dataclass(slots=True)
class Recalling:
    """What was applied, and what is known of each app; a value that was not written anew stays the same object."""

    journal: Journal
    drifting: Drifting
    applied: dict[str, dict[StageName, AppliedStage]] = field(default_factory=dict)
    records: dict[str, AppRecord] = field(default_factory=dict)
    irreversible: dict[str, HookRecord] = field(default_factory=dict)
    suspensions: dict[str, SuspensionRecord] = field(default_factory=dict)
    _whole: bool = False

    def load(self) -> None:
        """Read what was written since the last time; everything at first, and when somebody else wrote."""
        news = self.journal.news()
        whole, self._whole = self._whole, False
        if news is None or not whole:
            self._load_all()
        else:
            for app in news:
                self._load_one(app)
        # not reached when the journal cannot be read: then the next time reads all of it
        self._whole = True

    def _load_all(self) -> None:
        self.applied, self.records = self.journal.applied(), self.journal.apps()
        self.irreversible = self.journal.last_irreversible_hooks()
        self.suspensions = self.journal.suspensions()
        self.drifting.load()

    def _load_one(self, app: str) -> None:
        # never in place: others hold what was loaded before
        self.applied = _with(self.applied, app, self.journal.applied_of(app) or None)
        self.records = _with(self.records, app, self.journal.app(app))
        self.irreversible = _with(self.irreversible, app, self.journal.last_irreversible_hooks(app).get(app))
        self.suspensions = _with(self.suspensions, app, self.journal.suspensions().get(app))
        self.drifting.load(app)


def _with(known: dict[str, _Value], app: str, value: _Value | None) -> dict[str, _Value]:
    """What is known, with another value for one app; equal values stay as they are."""
    if known.get(app) == value:
        return known
    rest = {name: kept for name, kept in known.items() if name != app}
    return rest if value is None else {**rest, app: value}
