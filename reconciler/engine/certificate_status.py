"""What `status` and `doctor` say of an app's certificate, from the journal and what nginx serves with."""

from __future__ import annotations

import time

from reconciler.engine.certifying import WARNED_DAYS, WARNED_LIFE_SHARE, left_before, names_of, state_of
from reconciler.host.certificates import PairFiles, files_of, kept_pair
from reconciler.host.journal import Journal
from reconciler.host.layout import Layout
from reconciler.model.condition import ConditionReason
from reconciler.model.stage import AppliedApp, StageName
from reconciler.model.times import iso_time


def certificate_of(
    layout: Layout, journal: Journal, app: str, applied: AppliedApp
) -> tuple[ConditionReason, str] | None:
    """How it stands with the certificate of an app, as a reason and a sentence; ``None`` without TLS."""
    nginx = applied.get(StageName.NGINX)
    if nginx is None or (files := files_of(layout, app, nginx.declared)) is None:
        return None
    return _standing(layout, app, files, names_of(nginx.declared), state_of(journal, app).problem)


def _standing(
    layout: Layout, app: str, files: PairFiles, names: tuple[str, ...], problem: str
) -> tuple[ConditionReason, str]:
    kept = kept_pair(layout, app)
    if kept is None:
        waits = "certbot gets the certificate; until then visitors are served over HTTP"
        return ConditionReason.CERTIFICATE_AWAITED, problem or waits
    now, day = time.time(), (iso_time(kept.valid_until) or "")[:10]
    if now >= kept.valid_until:
        return ConditionReason.CERTIFICATE_EXPIRED, problem or f"the certificate has expired on {day}"
    if problem:
        return ConditionReason.CERTIFICATE_REFUSED, problem
    if now >= left_before(kept, WARNED_DAYS, WARNED_LIFE_SHARE):
        message = f"the certificate expires on {day}; renew {files.certificate}, it is taken up by itself"
        return ConditionReason.CERTIFICATE_EXPIRES, message
    if missing := [name for name in names if not kept.covers(name)]:
        return ConditionReason.NAMES_NOT_COVERED, f"the certificate is not for {', '.join(missing)}"
    return ConditionReason.CERTIFICATE_VALID, f"the certificate is valid until {day}"
