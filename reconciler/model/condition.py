"""Conditions: what ``status`` says about an app, as documented constants that scripts can rely on.

A condition has a type, a status (``True``, ``False`` or ``Unknown``), a reason in one word and a message in one
sentence.
Types and reasons are added, never renamed.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from reconciler.model.object_ids import short


class ConditionType(StrEnum):
    """What a condition is about."""

    READY = "Ready"
    RECONCILED = "Reconciled"
    DRIFTED = "Drifted"
    CERTIFIED = "Certified"


class ConditionStatus(StrEnum):
    """Whether a condition holds."""

    TRUE = "True"
    FALSE = "False"
    UNKNOWN = "Unknown"


class ConditionReason(StrEnum):
    """Why a condition has its status."""

    SERVING = "Serving"
    NEVER_DEPLOYED = "NeverDeployed"
    LINK_LEADS_ELSEWHERE = "LinkLeadsElsewhere"
    NOT_LISTENING = "NotListening"
    NGINX_DOWN = "NginxDown"

    AS_GIT_ASKS = "AsGitAsks"
    FAILED = "Failed"
    QUARANTINED = "Quarantined"
    SUSPENDED = "Suspended"
    WAITING = "Waiting"
    CONFIGURATION_UNREADABLE = "ConfigurationUnreadable"

    AS_APPLIED = "AsApplied"
    DIFFERENCES_FOUND = "DifferencesFound"
    HEAL_HELD = "HealHeld"

    CERTIFICATE_VALID = "CertificateValid"
    CERTIFICATE_AWAITED = "CertificateAwaited"
    CERTIFICATE_REFUSED = "CertificateRefused"
    CERTIFICATE_EXPIRES = "CertificateExpires"
    CERTIFICATE_EXPIRED = "CertificateExpired"
    NAMES_NOT_COVERED = "NamesNotCovered"


TYPE_DOCUMENTATION = {
    ConditionType.READY: "a verified release serves: the public link leads to it, its socket is open, and nginx runs",
    ConditionType.RECONCILED: "what serves is what git asked for at the last pass",
    ConditionType.DRIFTED: "something on this host differs from what was applied, although git did not change",
    ConditionType.CERTIFIED: "with TLS only: the certificate that is shown is valid for all names, and for a while",
}

REASON_DOCUMENTATION = {
    ConditionReason.SERVING: "the applied release serves",
    ConditionReason.NEVER_DEPLOYED: "no release of the app has been verified on this host",
    ConditionReason.LINK_LEADS_ELSEWHERE: "the public link is missing or leads to another release",
    ConditionReason.NOT_LISTENING: "no process listens on the release's socket",
    ConditionReason.NGINX_DOWN: "the release runs, but nginx does not, so that no visitor reaches it",
    ConditionReason.AS_GIT_ASKS: "the last pass left nothing to do",
    ConditionReason.FAILED: "the last attempt failed and is tried again with the next pass",
    ConditionReason.QUARANTINED: "the release failed and is tried again when git changes or a person says `retry`",
    ConditionReason.SUSPENDED: "a person suspended the app",
    ConditionReason.WAITING: "the app waits, such as for another one that it depends on; the message says what for",
    ConditionReason.CONFIGURATION_UNREADABLE: "the config repository could not be read at the last pass",
    ConditionReason.AS_APPLIED: "files, links and folders are as they were applied",
    ConditionReason.DIFFERENCES_FOUND: "`reconciler drift` prints the differences",
    ConditionReason.HEAL_HELD: "what was put right came back too often, and is left as it is for an hour",
    ConditionReason.CERTIFICATE_VALID: "the certificate is valid for all server names",
    ConditionReason.CERTIFICATE_AWAITED: "there is no certificate yet, and visitors are served over HTTP",
    ConditionReason.CERTIFICATE_REFUSED: "the certificate that is there now cannot be used; the one before serves on",
    ConditionReason.CERTIFICATE_EXPIRES: "the certificate expires soon, and nobody has renewed it",
    ConditionReason.CERTIFICATE_EXPIRED: "the certificate has expired",
    ConditionReason.NAMES_NOT_COVERED: "the certificate is not for all server names of the site",
}


@dataclass(frozen=True, slots=True)
class Condition:
    """One statement about an app."""

    type: ConditionType
    status: ConditionStatus
    reason: ConditionReason
    message: str

    @property
    def holds(self) -> bool:
        """Whether the status is ``True``."""
        return self.status is ConditionStatus.TRUE

    def as_json(self) -> dict[str, str]:
        """The object that ``status --json`` prints."""
        return {
            "type": self.type.value,
            "status": self.status.value,
            "reason": self.reason.value,
            "message": self.message,
        }


def condition_of(conditions: Iterable[Condition], wanted: ConditionType) -> Condition:
    """The condition of one type; every app has one of each, and of ``Certified`` where it has TLS."""
    return next(condition for condition in conditions if condition.type is wanted)


@dataclass(frozen=True, slots=True)
class Standing:
    """All that the conditions of one app are decided from.

    ``release`` and ``revision`` are what was applied last, ``linked`` is the release that the public link leads to,
    ``listening`` says whether a process has the applied release's socket open, ``nginx`` whether nginx runs.
    """

    release: str | None = None
    revision: str | None = None
    linked: str | None = None
    listening: bool = False
    nginx: bool = True
    last_error: str | None = None
    quarantined: bool = False
    suspended_reason: str | None = None
    waiting_reason: str | None = None
    unreadable: str | None = None
    differences: int = 0
    held: str | None = None
    certificate: tuple[ConditionReason, str] | None = None


def conditions_of(standing: Standing) -> tuple[Condition, ...]:
    """The conditions of one app, one of each type; ``certificate`` is left out where there is no TLS."""
    found = _ready(standing), _reconciled(standing), _drifted(standing)
    if standing.certificate is None:
        return found
    reason, message = standing.certificate
    holds = reason is ConditionReason.CERTIFICATE_VALID
    return *found, _condition(ConditionType.CERTIFIED, holds, reason, message)


def _ready(standing: Standing) -> Condition:
    release = standing.release
    if release is None:
        return _condition(
            ConditionType.READY, False, ConditionReason.NEVER_DEPLOYED, "no release has been verified on this host"
        )
    if standing.linked != release:
        elsewhere = f"leads to {standing.linked}" if standing.linked else "is missing"
        message = f"release {release} was applied, but the public link {elsewhere}"
        return _condition(ConditionType.READY, False, ConditionReason.LINK_LEADS_ELSEWHERE, message)
    if not standing.listening:
        message = f"no process listens on the socket of release {release}"
        return _condition(ConditionType.READY, False, ConditionReason.NOT_LISTENING, message)
    if not standing.nginx:
        message = f"release {release} runs, but nginx does not, so that no visitor reaches it"
        return _condition(ConditionType.READY, False, ConditionReason.NGINX_DOWN, message)
    message = f"release {release} of commit {short(standing.revision or '')} serves"
    return _condition(ConditionType.READY, True, ConditionReason.SERVING, message)


def _reconciled(standing: Standing) -> Condition:
    kind = ConditionType.RECONCILED
    for reason, why in (
        (ConditionReason.SUSPENDED, standing.suspended_reason),
        (ConditionReason.WAITING, standing.waiting_reason),
    ):
        if why is not None:
            return _condition(kind, False, reason, why)
    if standing.quarantined:
        message = standing.last_error or "the release failed before"
        return _condition(kind, False, ConditionReason.QUARANTINED, message)
    if standing.last_error is not None:
        return _condition(kind, False, ConditionReason.FAILED, standing.last_error)
    if standing.unreadable is not None:
        return Condition(kind, ConditionStatus.UNKNOWN, ConditionReason.CONFIGURATION_UNREADABLE, standing.unreadable)
    if standing.release is None:
        return _condition(kind, False, ConditionReason.NEVER_DEPLOYED, "no pass has deployed it yet")
    return _condition(kind, True, ConditionReason.AS_GIT_ASKS, "the last pass left nothing to do")


def _drifted(standing: Standing) -> Condition:
    kind = ConditionType.DRIFTED
    if standing.held is not None:
        return _condition(kind, True, ConditionReason.HEAL_HELD, standing.held)
    if standing.differences:
        count = "1 difference" if standing.differences == 1 else f"{standing.differences} differences"
        return _condition(kind, True, ConditionReason.DIFFERENCES_FOUND, f"{count} from the applied state")
    if standing.release is None:
        return Condition(kind, ConditionStatus.FALSE, ConditionReason.NEVER_DEPLOYED, "nothing was applied yet")
    return _condition(kind, False, ConditionReason.AS_APPLIED, "everything is as it was applied")


def _condition(kind: ConditionType, holds: bool, reason: ConditionReason, message: str) -> Condition:
    return Condition(kind, ConditionStatus.TRUE if holds else ConditionStatus.FALSE, reason, message)
