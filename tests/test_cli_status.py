"""Proves what the conditions of an app are decided from, and that a socket counts only while someone listens."""

from __future__ import annotations

import socket
import tempfile
from dataclasses import replace
from pathlib import Path

import pytest

from reconciler.host.open_sockets import listening_sockets
from reconciler.model.condition import (
    ConditionReason,
    ConditionStatus,
    ConditionType,
    Standing,
    condition_of,
    conditions_of,
)
from reconciler.model.times import iso_time

WELL = Standing(release="r2", revision="1a2b3c4d", linked="r2", listening=True)
READY, RECONCILED, DRIFTED = ConditionType.READY, ConditionType.RECONCILED, ConditionType.DRIFTED
TRUE, FALSE, UNKNOWN = ConditionStatus.TRUE, ConditionStatus.FALSE, ConditionStatus.UNKNOWN
Reason = ConditionReason


@pytest.mark.parametrize(
    ("standing", "wanted", "status", "reason"),
    [
        (WELL, READY, TRUE, Reason.SERVING),
        (WELL, RECONCILED, TRUE, Reason.AS_GIT_ASKS),
        (WELL, DRIFTED, FALSE, Reason.AS_APPLIED),
        (Standing(), READY, FALSE, Reason.NEVER_DEPLOYED),
        (Standing(), RECONCILED, FALSE, Reason.NEVER_DEPLOYED),
        (Standing(last_error="no"), RECONCILED, FALSE, Reason.FAILED),
        (replace(WELL, linked="r1"), READY, FALSE, Reason.LINK_LEADS_ELSEWHERE),
        (replace(WELL, linked=None), READY, FALSE, Reason.LINK_LEADS_ELSEWHERE),
        (replace(WELL, listening=False), READY, FALSE, Reason.NOT_LISTENING),
        (replace(WELL, nginx=False), READY, FALSE, Reason.NGINX_DOWN),
        (replace(WELL, last_error="no"), READY, TRUE, Reason.SERVING),
        (replace(WELL, last_error="no"), RECONCILED, FALSE, Reason.FAILED),
        (replace(WELL, last_error="no", quarantined=True), RECONCILED, FALSE, Reason.QUARANTINED),
        (replace(WELL, last_error="no", suspended_reason="holiday"), RECONCILED, FALSE, Reason.SUSPENDED),
        (replace(WELL, unreadable="gone"), RECONCILED, UNKNOWN, Reason.CONFIGURATION_UNREADABLE),
        (replace(WELL, differences=2), DRIFTED, TRUE, Reason.DIFFERENCES_FOUND),
    ],
)
def test_conditions(standing: Standing, wanted: ConditionType, status: ConditionStatus, reason: Reason) -> None:
    condition = condition_of(conditions_of(standing), wanted)
    assert (condition.status, condition.reason) == (status, reason)
    assert condition.message
    assert condition.as_json() == {
        "type": wanted.value,
        "status": status.value,
        "reason": reason.value,
        "message": condition.message,
    }


def test_every_app_has_one_condition_of_each_type() -> None:
    for standing in (WELL, Standing()):
        types = [condition.type for condition in conditions_of(standing)]
        assert types == [one for one in ConditionType if one is not ConditionType.CERTIFIED]
    certified = replace(WELL, certificate=(Reason.CERTIFICATE_VALID, "until next year"))
    assert [condition.type for condition in conditions_of(certified)] == list(ConditionType)


def test_a_socket_counts_while_someone_listens() -> None:
    with tempfile.TemporaryDirectory(prefix="rs-") as folder:
        path = str(Path(folder) / "with a blank")
        with socket.socket(socket.AF_UNIX) as bound:
            bound.bind(path)
            assert path not in (listening_sockets() or ())
            bound.listen()
            assert path in (listening_sockets() or ())
        assert Path(path).exists()
        assert path not in (listening_sockets() or ())


def test_where_the_kernel_does_not_tell_nothing_is_claimed(tmp_path: Path) -> None:
    assert listening_sockets(tmp_path / "missing") is None


def test_times_are_iso_8601_in_utc() -> None:
    assert iso_time(1_700_000_000.9) == "2023-11-14T22:13:20Z"
    assert iso_time(None) is None
