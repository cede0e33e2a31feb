"""Drift over time: told once and then slowly again, counted when it is healed, held when it keeps coming back."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum

from reconciler.host.journal import DriftRecord, EventRecord, Journal
from reconciler.model.drift import HEALS_SECONDS, MOST_HEALS, is_held, is_recent, reminder_due
from reconciler.model.manifest import DriftPolicy
from reconciler.model.plan import AppPlan
from reconciler.model.stage import Difference, DifferenceKind, StageName
from reconciler.model.times import iso_time

DRIFT_EVENTS = frozenset({"drift", "drift_held", "drift_gone"})
"""The kinds of events that are about drift."""
TOLD_AT_ONCE = 20
"""Of one app in one pass; the others are counted."""

KIND_WORDS = {
    DifferenceKind.MODIFIED: "was modified",
    DifferenceKind.MISSING: "is missing",
    DifferenceKind.EXTRA: "was put there by someone else",
    DifferenceKind.MODE: "has another mode or owner",
    DifferenceKind.LINK: "leads elsewhere",
}

Seen = tuple[StageName, Difference]
Path = tuple[str, str]
"""A stage and a path."""


class Response(StrEnum):
    """What is done about a drift."""

    HEAL = "heal"
    REPORT = "report"
    HELD = "held"


@dataclass(frozen=True, slots=True)
class DriftNews:
    """A drift that is worth telling now; ``reminder`` when it was told before, ``more`` counts those left out."""

    app: str
    stage: StageName
    difference: Difference
    response: Response
    reminder: bool = False
    more: int = 0

    @property
    def message(self) -> str:
        """One sentence."""
        difference = self.difference
        text = f"{difference.path} {KIND_WORDS[difference.kind]}"
        if difference.owner is not None:
            text += f", it belongs to {difference.owner}"
        if difference.changed_at is not None:
            text += f", changed at {iso_time(difference.changed_at)}"
        text += {
            Response.HEAL: "; it is put right",
            Response.REPORT: "; it is left as it is",
            Response.HELD: f"; it came back after {MOST_HEALS} heals in {HEALS_SECONDS / 60:g} minutes and is left "
            f"as it is for an hour, until a new commit or `reconciler retry {self.app}`",
        }[self.response]
        if difference.byproduct:
            text += "; where the app wrote it itself, list it in spec.shared"
        return text + (f"; and {self.more} more" if self.more else "")

    @property
    def detail(self) -> Mapping[str, object]:
        """What the event says besides the sentence."""
        difference = self.difference
        return {
            "stage": self.stage.value,
            "path": difference.path,
            "kind": difference.kind.value,
            "owner": difference.owner,
            "changed_at": iso_time(difference.changed_at),
            "diff": difference.diff,
            "response": self.response.value,
            "reminder": self.reminder,
        }


@dataclass(slots=True)
class Drifting:
    """Remembers drift in the journal, so that neither a restart nor a hundred scans tell it again."""

    journal: Journal
    clock: Callable[[], float] = time.time
    _known: dict[str, dict[Path, DriftRecord]] = field(default_factory=dict)

    def load(self, app: str | None = None) -> None:
        """Read what is known, of all apps or of one; to be called when the journal has changed."""
        known: dict[str, dict[Path, DriftRecord]] = {}
        for record in self.journal.drift(app):
            known.setdefault(record.app, {})[record.stage, record.path] = record
        others = {} if app is None else {name: there for name, there in self._known.items() if name != app}
        self._known = {**others, **known}

    @property
    def unsettled(self) -> bool:
        """Whether any drift is known that was not seen to be gone."""
        return any(record.gone is None for records in self._known.values() for record in records.values())

    @property
    def apps(self) -> tuple[str, ...]:
        """The apps of which some drift is known."""
        return tuple(self._known)

    def knows(self, app: str) -> bool:
        """Whether any drift is known of an app."""
        return bool(self._known.get(app))

    def holding(self, app: str, key_of: Callable[[], str]) -> Callable[[StageName, Difference], bool]:
        """What tells whether healing is held, while ``key_of`` gives what git asks of the app."""
        records = self._known.get(app)
        if not records:
            return hold_nothing
        now, key = self.clock(), key_of()

        def held(stage: StageName, difference: Difference) -> bool:
            record = records.get((stage.value, difference.path))
            return record is not None and record.key == key and is_held(record.healed, record.held, now)

        return held

    def note(
        self,
        app: str,
        seen: Sequence[Seen],
        held: Sequence[Seen],
        policy: DriftPolicy,
        key: str,
        *,
        rests: bool = False,
    ) -> tuple[DriftNews, ...]:
        """Take up all that differs for an app now, and return what is news; writes only what is.

        With ``rests`` nothing is healed whatever the policy, because the app is suspended or waits.
        """
        records = self._known.get(app, {})
        if policy is DriftPolicy.IGNORE:
            seen = ()
        if not seen and not records:
            return ()
        now = self.clock()
        left = {(stage.value, difference.path) for stage, difference in held}
        news: list[DriftNews] = []
        written: dict[Path, DriftRecord] = {}
        for stage, difference in seen:
            path = (stage.value, difference.path)
            if path in written:
                continue
            response = _response(path in left, policy, difference, rests=rests)
            before = records.get(path)
            record, told = _moved(before, app, stage, difference, response, key, now)
            written[path] = record
            if told:
                reminder = before is not None and before.gone is None and record.held == before.held
                news.append(DriftNews(app, stage, difference, response, reminder))
        if len(news) > TOLD_AT_ONCE:
            news = [*news[: TOLD_AT_ONCE - 1], replace(news[TOLD_AT_ONCE - 1], more=len(news) - TOLD_AT_ONCE)]
        self._write(app, records, written, news, now)
        return tuple(news)

    def healed(self, app: str, plan: AppPlan, key: str) -> tuple[DriftNews, ...]:
        """Count what was just put right and verified; returns what nobody was told of before.

        Drift that comes while an earlier one is being put right is seen by the planner alone.
        """
        now = self.clock()
        records = dict(self._known.get(app, {}))
        changed = []
        news = []
        for change in plan.changes:
            for difference in change.heals:
                path = (change.stage.value, difference.path)
                record = records.get(path) or _first(app, change.stage, difference, key, now)
                if path not in records or record.gone is not None:
                    news.append(DriftNews(app, change.stage, difference, Response.HEAL))
                earlier = record.healed if record.key == key else ()
                times = (*(at for at in earlier if is_recent(at, HEALS_SECONDS, now)), now)
                changed.append(replace(record, gone=now, healed=times, key=key, held=None))
        if changed:
            self.journal.record_drift(changed, events=[_event(one, now) for one in news[:TOLD_AT_ONCE]])
            records |= {(record.stage, record.path): record for record in changed}
            self._known[app] = records
        return tuple(news[:TOLD_AT_ONCE])

    def _write(
        self,
        app: str,
        records: Mapping[Path, DriftRecord],
        seen: Mapping[Path, DriftRecord],
        news: Iterable[DriftNews],
        now: float,
    ) -> None:
        gone = [
            replace(record, gone=now) for path, record in records.items() if path not in seen and record.gone is None
        ]
        old = [r for path, r in records.items() if path not in seen and r.gone is not None and _is_old(r, now)]
        changed = [record for path, record in seen.items() if record != records.get(path)]
        events = [_event(one, now) for one in news]
        events += [
            EventRecord(app, "drift_gone", f"{record.path} is as it was applied again", now, {"path": record.path})
            for record in gone
        ]
        if changed or gone or old:
            self.journal.record_drift([*changed, *gone], old, events)
            kept = {path: record for path, record in records.items() if record not in old}
            self._known[app] = {**kept, **{(r.stage, r.path): r for r in (*changed, *gone)}}


def held_note(plan: AppPlan) -> str | None:
    """What a person should know of a plan in which drift is held; ``None`` when none is."""
    if not plan.held:
        return None
    return held_sentence(plan.app, [difference.path for _, difference in plan.held])


def held_sentence(app: str, paths: Sequence[str]) -> str:
    """Why drift is left as it is, and how to end that."""
    more = f" and {len(paths) - 1} more" if len(paths) > 1 else ""
    return (
        f"the heal of {paths[0]}{more} is held: it came back after {MOST_HEALS} heals in {HEALS_SECONDS / 60:g} "
        f"minutes; find what writes it, then run `reconciler retry {app}`"
    )


def hold_nothing(_stage: StageName, _difference: Difference) -> bool:
    """Nothing is held."""
    return False


def _response(is_left: bool, policy: DriftPolicy, difference: Difference, *, rests: bool) -> Response:
    if is_left and policy is DriftPolicy.HEAL:
        return Response.HELD
    heals = policy is DriftPolicy.HEAL or (policy is DriftPolicy.REPORT and difference.kind is DifferenceKind.MISSING)
    return Response.HEAL if heals and not rests and not difference.byproduct else Response.REPORT


def _first(app: str, stage: StageName, difference: Difference, key: str, now: float) -> DriftRecord:
    return DriftRecord(app, stage.value, difference.path, difference.kind.value, now, now, key=key)


def _moved(
    before: DriftRecord | None, app: str, stage: StageName, difference: Difference, response: Response, key: str,
    now: float,
) -> tuple[DriftRecord, bool]:  # fmt: skip
    """What is known of a path after it was seen, and whether to tell it."""
    held = response is Response.HELD
    if before is None:
        return replace(_first(app, stage, difference, key, now), held=now if held else None), True
    if before.gone is not None:
        # it comes back: what is known of heals stays
        again = replace(before, kind=difference.kind.value, since=now, told=now, reminders=0, gone=None)
        return replace(again, held=(before.held or now) if held else None), True
    if held and before.held is None:
        return replace(before, held=now, told=now, reminders=0), True
    if not held and before.held is not None:
        before = replace(before, held=None)
    if reminder_due(before.told, before.reminders, now):
        return replace(before, told=now, reminders=before.reminders + 1), True
    return before, False


def _is_old(record: DriftRecord, now: float) -> bool:
    return not any(is_recent(at, HEALS_SECONDS, now) for at in (record.gone or 0.0, *record.healed))


def _event(news: DriftNews, now: float) -> EventRecord:
    if news.response is Response.HELD:
        return EventRecord(news.app, "drift_held", news.message, now, news.detail)
    return EventRecord(news.app, "drift", news.message, now, news.detail)
