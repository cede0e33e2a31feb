"""Status: what serves and since when, from the journal and the disk. Works without git, network and agent."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from reconciler.engine.certificate_status import certificate_of
from reconciler.engine.drift import drift_of
from reconciler.engine.drifting import held_sentence
from reconciler.host.journal import AppRecord, DriftRecord, Journal, PassRecord, SuspensionRecord
from reconciler.host.layout import Layout
from reconciler.host.locking import AGENT, Holder, holder_of
from reconciler.host.observing import Observer
from reconciler.host.open_sockets import listening_sockets
from reconciler.host.releases import public_release
from reconciler.model.condition import (
    Condition,
    ConditionReason,
    ConditionType,
    Standing,
    condition_of,
    conditions_of,
)
from reconciler.model.drift import is_held
from reconciler.model.repositories import REPOSITORIES, Trouble
from reconciler.model.repositories import read as read_troubles
from reconciler.model.stage import STORED, AppliedApp, StageName
from reconciler.model.times import iso_time
from reconciler.stages.vassal import vassal_of


@dataclass(frozen=True, slots=True)
class AppStatus:
    """What is known of one app; times are seconds since 1970 in UTC."""

    app: str
    release: str | None
    revision: str | None
    serving_since: float | None
    conditions: tuple[Condition, ...]
    last_pass: float | None
    last_error: str | None
    suspension: SuspensionRecord | None = None

    @property
    def ready(self) -> bool:
        """Whether a verified release serves."""
        return self.condition(ConditionType.READY).holds

    @property
    def drifted(self) -> bool:
        """Whether something differs from what was applied."""
        return self.condition(ConditionType.DRIFTED).holds

    def condition(self, wanted: ConditionType) -> Condition:
        """The condition of one type."""
        return condition_of(self.conditions, wanted)

    def as_json(self) -> dict[str, object]:
        """The object that ``status --json`` prints for an app."""
        return {
            "app": self.app,
            "ready": self.ready,
            "release": self.release,
            "revision": self.revision,
            "serving_since": iso_time(self.serving_since),
            "conditions": [condition.as_json() for condition in self.conditions],
            "drifted": self.drifted,
            "last_pass": iso_time(self.last_pass),
            "last_error": self.last_error,
            "suspension": self._suspension(),
        }

    def _suspension(self) -> dict[str, object] | None:
        if self.suspension is None:
            return None
        return {"reason": self.suspension.reason, "by": self.suspension.by, "since": iso_time(self.suspension.at)}


@dataclass(frozen=True, slots=True)
class HostStatus:
    """All apps of this host, by name, the pass that ended last, and the agent that runs, if one does.

    ``nginx`` and ``emperor`` say whether the servers run; ``troubles`` are the repositories that do not answer.
    """

    apps: tuple[AppStatus, ...]
    last_pass: PassRecord | None
    agent: Holder | None = None
    nginx: bool = True
    emperor: bool = True
    troubles: tuple[Trouble, ...] = ()

    def as_json(self) -> dict[str, object]:
        """The object that ``status --json`` prints."""
        last = self.last_pass
        return {
            "revision": last.revision if last is not None else None,
            "last_pass": iso_time(last.finished) if last is not None else None,
            "last_error": last.error if last is not None else None,
            "agent": self._agent(),
            "servers": {"nginx": self.nginx, "emperor": self.emperor},
            "repositories": [
                {
                    "repository": trouble.repository,
                    "error": trouble.error,
                    "failures": trouble.failures,
                    "since": iso_time(trouble.since),
                    "again": iso_time(trouble.again),
                }
                for trouble in self.troubles
            ],
            "apps": [app.as_json() for app in self.apps],
        }

    def _agent(self) -> dict[str, object] | None:
        if self.agent is None:
            return None
        return {"process": self.agent.process, "since": iso_time(self.agent.since)}


def read_status(layout: Layout, journal: Journal) -> HostStatus:
    """Look at every app that the journal knows."""
    applied, records, last = journal.applied(), journal.apps(), journal.last_pass()
    observer, listening, suspensions = Observer(layout), listening_sockets(), journal.suspensions()
    nginx, emperor = (_answers(path, listening) for path in (layout.nginx_control, layout.emperor_stats))
    drift = [record for record in journal.drift() if record.gone is None]
    apps = [
        _status(
            records.get(app, AppRecord(app)),
            applied.get(app, {}),
            observer,
            listening,
            nginx,
            last,
            suspensions.get(app),
            [record for record in drift if record.app == app],
            certificate_of(layout, journal, app, applied.get(app, {})),
        )
        for app in sorted({*records, *applied})
    ]
    holder = holder_of(layout)
    agent = holder if holder is not None and holder.what == AGENT else None
    troubles = read_troubles(journal.setting(REPOSITORIES))
    return HostStatus(tuple(apps), last, agent, nginx, emperor, troubles)


def _status(
    record: AppRecord,
    applied: AppliedApp,
    observer: Observer,
    listening: frozenset[str] | None,
    nginx: bool,
    last: PassRecord | None,
    suspension: SuspensionRecord | None,
    known: Sequence[DriftRecord],
    certificate: tuple[ConditionReason, str] | None,
) -> AppStatus:
    now = time.time()
    held = [drift.path for drift in known if drift.held is not None and is_held(drift.healed, drift.held, now)]
    seen = {drift.path for drift in drift_of(record.app, applied, observer)}
    # the content of the store is not looked at here: what the last scan found is known
    seen |= {drift.path for drift in known if drift.stage in STORED}
    # a pass that could read the config repository says how many apps had which outcome
    by_operator = [suspension.sentence] if suspension is not None else []
    reasons = ([record.suspended_reason] if record.suspended_reason else []) + by_operator
    unreadable = last.error if last is not None and last.error and not last.outcomes else None
    standing = Standing(
        release=record.release,
        revision=record.revision,
        linked=public_release(observer.layout, record.app),
        listening=_listens(record.app, applied, observer.layout, listening),
        nginx=nginx,
        last_error=record.last_error or record.quarantined_error,
        quarantined=record.quarantined_key is not None,
        suspended_reason="; ".join(reasons) or None,
        waiting_reason=record.waiting_reason,
        unreadable=unreadable,
        differences=len(seen),
        held=held_sentence(record.app, held) if held else None,
        certificate=certificate,
    )
    return AppStatus(
        record.app,
        record.release,
        record.revision,
        record.serving_since,
        conditions_of(standing),
        last.finished if last is not None else record.last_pass,
        standing.last_error,
        suspension,
    )


def _listens(app: str, applied: AppliedApp, layout: Layout, listening: frozenset[str] | None) -> bool:
    if StageName.VASSAL not in applied:
        return False
    return _answers(layout.socket(vassal_of(app, applied[StageName.VASSAL]), "web"), listening)


def _answers(socket: Path, listening: frozenset[str] | None) -> bool:
    """Whether a process listens on a socket; where the kernel does not tell, whether the socket is there."""
    return socket.is_socket() and (listening is None or str(socket) in listening)
