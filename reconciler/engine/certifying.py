"""Certifying: what becomes of certificates while git asks for nothing new.

A pass looks at the files of every app with TLS, which costs three stats each. A renewed pair is checked, kept and
loaded by nginx; one that is wrong is told, and the kept one serves on. Where a manifest says ``acme``, certbot is run
for what is missing or near its end, and again ever later while that fails.
"""

from __future__ import annotations

import json
import time
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from reconciler.engine.recording import as_reconciler_error
from reconciler.host import reporting
from reconciler.host.certificates import ACME, SERVED, KeptPair, PairFiles, files_of, kept_pair, provide_pair
from reconciler.host.journal import EventRecord, Journal
from reconciler.host.services import Host
from reconciler.model.configuration import Acme
from reconciler.model.errors import JournalError, ReconcilerError
from reconciler.model.stage import AppliedApps, StageName
from reconciler.model.times import iso_time

FIRST_RETRY_SECONDS = 300.0
"""How long after the first failure certbot is run again;"""
LONGEST_RETRY_SECONDS = 12 * 3600.0
"""twice as long after every further one, up to this: authorities count failures by the hour."""
REFUSED_AGAIN_SECONDS = 300.0
"""How often a pair that was refused is tried again although its files are the same: nginx may have had the fault."""
RENEWED_LIFE_SHARE = 1 / 3
"""A certificate is renewed when so much of its life is left, as certbot does: 30 days of 90."""
WARNED_DAYS, WARNED_LIFE_SHARE = 30.0, 1 / 4
"""A certificate that is this near to its end, by whichever is later, should have been renewed;"""
URGENT_DAYS, URGENT_LIFE_SHARE = 7.0, 1 / 10
"""and this near, it is an error."""
DAY_SECONDS = 86_400.0
SETTING = "certificate:"

_Signature = tuple[tuple[int, int, int] | None, ...]


@dataclass(frozen=True, slots=True)
class CertificateState:
    """What the journal knows of an app's certificate: what is wrong, and when certbot is run again."""

    problem: str = ""
    failures: int = 0
    not_before: float = 0.0
    names: tuple[str, ...] = ()
    warned_of: float = 0.0

    def written(self) -> str:
        """As a setting of the journal."""
        return json.dumps([self.problem, self.failures, self.not_before, self.names, self.warned_of])


def state_of(journal: Journal, app: str) -> CertificateState:
    """What is known of an app's certificate."""
    text = journal.setting(f"{SETTING}{app}")
    if not text:
        return CertificateState()
    problem, failures, not_before, names, warned_of = json.loads(text)
    return CertificateState(problem, failures, not_before, tuple(names), warned_of)


def left_before(pair: KeptPair, days: float, share: float) -> float:
    """The time from which on so many days, or that share of a shorter life, are left."""
    return pair.valid_until - min(days * DAY_SECONDS, (pair.valid_until - pair.valid_from) * share)


def renewal_of(pair: KeptPair) -> float:
    """The time from which on a certificate should be renewed."""
    return pair.valid_until - (pair.valid_until - pair.valid_from) * RENEWED_LIFE_SHARE


@dataclass(frozen=True, slots=True)
class _Looked:
    """What was found when the files of an app were read last."""

    signature: _Signature
    kept: KeptPair | None
    problem: str
    at: float


@dataclass(slots=True)
class Certifying:
    """Looks after the certificates of one host; safe between the thread that looks and the one that runs certbot."""

    host: Host
    journal: Journal
    acme: Acme
    _looked: dict[str, _Looked] = field(default_factory=dict)
    _held: dict[str, tuple[tuple[str, ...], float]] = field(default_factory=dict)

    def look(self, applied: AppliedApps, busy: Collection[str] = ()) -> tuple[str, ...]:
        """Take up renewed certificates; returns what is wrong with any. Apps that are ``busy`` are being changed."""
        problems: list[str] = []
        for app, declared in _with_tls(applied):
            if app in busy:
                continue
            files = files_of(self.host.layout, app, declared)
            if files is None or not declared.get(SERVED):
                problems += [state_of(self.journal, app).problem]
                continue
            known = self._look_at(app, files, acme=bool(declared.get(ACME)))
            awaited = state_of(self.journal, app).problem if declared.get(ACME) else ""
            problems += [known.problem or awaited, *self._ends(app, known.kept)]
        self._sweep(applied, busy)
        return tuple(dict.fromkeys(problem for problem in problems if problem))

    def arrived(self, applied: AppliedApps) -> bool:
        """Whether a certificate is there that an app waits for to be served with."""
        return any(
            not declared.get(SERVED) and (files := files_of(self.host.layout, app, declared)) and files.exist()
            for app, declared in _with_tls(applied)
        )

    def due(self, applied: AppliedApps) -> tuple[str, ...]:
        """The apps for which certbot is to be run now."""
        now = time.time()
        return tuple(
            app
            for app, declared in _with_tls(applied)
            if declared.get(ACME) and self._is_due(app, names_of(declared), now)
        )

    def obtain(self, app: str, applied: AppliedApps) -> bool:
        """Run certbot for one app; returns whether there is another certificate now. Raises nothing."""
        try:
            return self._obtain(app, applied)
        except JournalError:
            # told by the next pass, which cannot write to it either; when to try again is known without it
            return False

    def _obtain(self, app: str, applied: AppliedApps) -> bool:
        from reconciler.host.certbot import obtain_certificate, refuse_hidden_challenges  # noqa: PLC0415

        declared = applied[app][StageName.NGINX].declared
        names, layout = names_of(declared), self.host.layout
        live = layout.certbot / "live" / app / "fullchain.pem"
        before = _content(live)
        port = int(declared["nginx.listen"].rpartition(":")[2])
        try:
            refuse_hidden_challenges(layout, self.host.address, port, names)
            obtain_certificate(layout, app, names, self.acme)
        except (ReconcilerError, OSError) as error:
            self._failed(app, names, as_reconciler_error(error))
            return False
        if _content(live) == before:
            message = "certbot ended well, and there is no other certificate"
            self._failed(app, names, as_reconciler_error(OSError(message)), told=False)
            return False
        self._held.pop(app, None)
        self._remember(app, CertificateState())
        message = f"certbot got a certificate for {', '.join(names)}"
        self.journal.record_event(EventRecord(app, "certificate_obtained", message, time.time()))
        reporting.info("certificate_obtained", app=app, note=", ".join(names))
        return True

    def sources(self, applied: AppliedApps) -> Iterator[Path]:
        """The folders of certificates that others renew."""
        for app, declared in _with_tls(applied):
            files = files_of(self.host.layout, app, declared)
            if files is not None:
                yield from {files.certificate.parent, files.key.parent}

    # one app

    def _look_at(self, app: str, files: PairFiles, *, acme: bool) -> _Looked:
        known, pair, now = self._looked.get(app), self.host.layout.pair(app), time.monotonic()
        places = (files.certificate, files.key, pair)
        fresh = known is not None and (not known.problem or now - known.at < REFUSED_AGAIN_SECONDS)
        if known is not None and fresh and known.signature == tuple(map(_signature, places)):
            return known
        before = state_of(self.journal, app)
        problem = ""
        try:
            if provide_pair(self.host.nginx, app, files):
                message = f"nginx serves with what {files.certificate} has now"
                self.journal.record_event(EventRecord(app, "certificate_renewed", message, time.time()))
                reporting.info("certificate_renewed", app=app, path=str(files.certificate))
        except (ReconcilerError, OSError) as error:
            problem = as_reconciler_error(error).with_hint
            if problem != before.problem:
                self.journal.record_event(EventRecord(app, "certificate_refused", problem, time.time()))
                self._remember(app, replace(before, problem=problem))
        if not problem and before.problem and not (acme and before.failures):
            self._remember(app, CertificateState(warned_of=before.warned_of))
        known = self._looked[app] = _Looked(
            tuple(map(_signature, places)), kept_pair(self.host.layout, app), problem, now
        )
        return known

    def _ends(self, app: str, kept: KeptPair | None) -> list[str]:
        """The sentence about a certificate that ends soon; told once before that is urgent."""
        now = time.time()
        if kept is None or now < left_before(kept, WARNED_DAYS, WARNED_LIFE_SHARE):
            return []
        day = (iso_time(kept.valid_until) or "")[:10]
        message = f"the certificate of {app} expires on {day}"
        if now > kept.valid_until:
            message = f"the certificate of {app} has expired on {day}"
        state = state_of(self.journal, app)
        if state.warned_of != kept.valid_until:
            self._remember(
                app, CertificateState(state.problem, state.failures, state.not_before, state.names, kept.valid_until)
            )
            self.journal.record_event(EventRecord(app, "certificate_expires", message, time.time()))
            reporting.error("certificate_expires", app=app, error=message, hint="renew it; it is taken up by itself")
        return [message] if now >= left_before(kept, URGENT_DAYS, URGENT_LIFE_SHARE) else []

    def _is_due(self, app: str, names: tuple[str, ...], now: float) -> bool:
        looked = self._looked.get(app)
        kept = looked.kept if looked is not None else kept_pair(self.host.layout, app)
        if kept is not None and all(map(kept.covers, names)) and now < renewal_of(kept):
            return False
        state = state_of(self.journal, app)
        held, not_before = self._held.get(app, (state.names, state.not_before))
        return held != names or now >= not_before

    def _failed(self, app: str, names: tuple[str, ...], error: ReconcilerError, *, told: bool = True) -> None:
        before = state_of(self.journal, app)
        failures = before.failures + 1 if before.names == names else 1
        seconds = min(FIRST_RETRY_SECONDS * 2.0 ** (failures - 1), LONGEST_RETRY_SECONDS)
        wanted: float = getattr(error, "not_before", None) or 0.0
        not_before = max(time.time() + seconds, wanted)
        problem = error.with_hint if told else ""
        try:
            self._remember(app, CertificateState(problem, failures, not_before, names, before.warned_of))
        except JournalError:
            # an authority that is asked after every look refuses to be asked at all
            self._held[app] = (names, not_before)
            raise
        if told:
            again = iso_time(not_before)
            detail = {"failures": failures, "again": again}
            self.journal.record_event(EventRecord(app, "certificate_failed", error.with_hint, time.time(), detail))
            reporting.error("certificate_failed", app=app, error=str(error), hint=error.hint or "", again=again)

    def _remember(self, app: str, state: CertificateState) -> None:
        self.journal.record_setting(f"{SETTING}{app}", "" if state == CertificateState() else state.written())

    def _sweep(self, applied: AppliedApps, busy: Collection[str]) -> None:
        """Remove kept pairs, keys among them, of apps that have no TLS any more."""
        try:
            names = [place.name for place in self.host.layout.pairs.iterdir()]
        except OSError:
            return
        kept = {f"{app}.pem" for app, declared in _with_tls(applied) if declared.get(SERVED)}
        for name in names:
            app = name.removesuffix(".pem")
            if name.endswith(".pem") and name not in kept and app not in busy:
                site = self.host.layout.site(app)
                # a site file that still names it would keep nginx from starting
                if not site.exists() or name not in site.read_text("utf-8", "replace"):
                    self.host.layout.pair(app).unlink(missing_ok=True)


def names_of(declared: Mapping[str, str]) -> tuple[str, ...]:
    """The server names of a site, by what its stage declares."""
    return tuple(name.lower() for name in declared.get("nginx.serverNames", "").split())


def _with_tls(applied: AppliedApps) -> Iterator[tuple[str, Mapping[str, str]]]:
    """The apps whose site speaks HTTPS or waits for it, each with what its nginx stage declares."""
    for app, stages in applied.items():
        nginx = stages.get(StageName.NGINX)
        if nginx is not None and "nginx.tls.listen" in nginx.declared:
            yield app, nginx.declared


def _signature(path: Path) -> tuple[int, int, int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_ino, status.st_size, status.st_mtime_ns


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""
