"""The certificates that sites are served with: what visitors see, the rights of the keys, and certbot."""

from __future__ import annotations

import stat
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from reconciler.cli.checks.row import Row, fail, ok, warn
from reconciler.engine.certificate_status import certificate_of
from reconciler.host.certbot import find_certbot
from reconciler.host.certificates import ACME, files_of
from reconciler.model.condition import ConditionReason
from reconciler.model.errors import ReconcilerError
from reconciler.model.stage import StageName

if TYPE_CHECKING:
    from reconciler.cli.wiring import Installation

SEEN_BY_ALL = stat.S_IRWXO
LEVELS = {
    ConditionReason.CERTIFICATE_VALID: ok,
    ConditionReason.CERTIFICATE_EXPIRED: fail,
    ConditionReason.CERTIFICATE_REFUSED: fail,
}
"""Others work, and want to be looked at."""


def check_certificates(installation: Installation) -> Iterator[Row]:
    """A row for every app that was deployed with TLS, and one for certbot where an app needs it."""
    layout = installation.layout
    if not layout.journal.exists():
        return
    try:
        with installation.journal() as journal:
            applied = journal.applied()
            found = {app: certificate_of(layout, journal, app, stages) for app, stages in applied.items()}
    except (ReconcilerError, OSError) as error:
        yield fail("certificates", f"the journal cannot be read: {error}")
        return
    declared = {app: applied[app][StageName.NGINX].declared for app, standing in found.items() if standing}
    for app, standing in sorted(found.items()):
        if standing is not None:
            reason, message = standing
            yield LEVELS.get(reason, warn)(f"certificate of {app}", message)
            if not declared[app].get(ACME) and (files := files_of(layout, app, declared[app])) is not None:
                yield from _key(app, files.key)
    if any(one.get(ACME) for one in declared.values()):
        yield _certbot()


def _key(app: str, key: Path) -> Iterator[Row]:
    try:
        mode = stat.S_IMODE(key.stat().st_mode)
    except OSError:
        # that it is not there is said of the certificate already
        return
    if mode & SEEN_BY_ALL:
        message = f"{key} has the mode {mode:o}: every account of this host may use it"
        yield warn(f"key of {app}", message, f"chmod 600 {key}")


def _certbot() -> Row:
    try:
        return ok("certbot", str(find_certbot()))
    except ReconcilerError as error:
        return fail("certbot", str(error), error.hint)
