"""certbot, which gets certificates by ACME: its challenges lie in a folder that nginx shows to the authority."""

from __future__ import annotations

import http.client
import os
import re
import shutil
import sys
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path

from reconciler.host.files import write_whole
from reconciler.host.layout import Layout
from reconciler.host.ports import reachable_address
from reconciler.host.processes import run
from reconciler.model.configuration import Acme
from reconciler.model.errors import CommandFailed, HostError
from reconciler.model.manifest import CHALLENGE_URL

CERTBOT_SECONDS = 300.0
"""An authority may let several tries at a challenge pass before it answers."""
ANSWER_SECONDS = 10.0
CHECK = "reconciler-check"
"""The challenge that is no challenge: shown before an authority is asked, which counts failures."""
INSTALL_HINT = "apt-get install certbot, or pip install 'reconciler[acme]' into the reconciler's environment"
_DETAIL = re.compile(r"^\s*Detail:\s*(.+)$", re.MULTILINE)
_RETRY_AFTER = re.compile(r"retry after (\d{4}-\d\d-\d\d[ T]\d\d:\d\d:\d\d)", re.IGNORECASE)
_CHATTER = ("Ask for help", "See the logfile", "Some challenges have failed", "Hint:", "Saving debug log")


class AcmeRefused(HostError):
    """certbot could not get a certificate; ``not_before``: when the authority may be asked again."""

    not_before: float | None = None


def find_certbot() -> Path:
    """certbot of this environment, else the one on PATH; :class:`HostError` without."""
    beside = Path(sys.executable).parent / "certbot"
    found = str(beside) if os.access(beside, os.X_OK) else shutil.which("certbot")
    if found is None:
        raise HostError("certbot, which gets certificates by ACME, is not on this host", hint=INSTALL_HINT)
    return Path(found)


def obtain_certificate(layout: Layout, app: str, names: Sequence[str], acme: Acme) -> None:
    """Have certbot get a certificate for ``names``, or renew it, into its own folder.

    Raises :class:`AcmeRefused` with what the authority said.
    """
    logs = layout.logs / "certbot"
    server = () if acme.server is None else ("--server", acme.server)
    account = ("--register-unsafely-without-email",) if acme.email is None else ("--email", acme.email)
    command = (
        str(find_certbot()), "certonly", "--non-interactive", "--agree-tos", *account, *server,
        "--config-dir", str(layout.certbot), "--work-dir", str(layout.acme / "work"), "--logs-dir", str(logs),
        "--webroot", "--webroot-path", str(layout.challenges), "--preferred-challenges", "http",
        "--cert-name", app, "--renew-with-new-domains", "--keep-until-expiring",
        *(word for name in names for word in ("--domain", name)),
    )  # fmt: skip
    layout.challenges.mkdir(mode=0o755, parents=True, exist_ok=True)
    try:
        run(command, timeout=CERTBOT_SECONDS, what="certbot", cwd=layout.acme)
    except CommandFailed as error:
        raise _refused(app, names, error, logs) from error


def refuse_hidden_challenges(layout: Layout, address: str, port: int, names: Iterable[str]) -> None:
    """Raise :class:`HostError` unless nginx shows a challenge for every name, so that no authority asks in vain."""
    file = layout.challenges / CHALLENGE_URL.strip("/") / CHECK
    file.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    token = os.urandom(8).hex()
    write_whole(file, token, mode=0o644)
    try:
        for name in names:
            answer = _ask(reachable_address(address), port, name)
            if answer != token:
                raise HostError(
                    f"nginx does not show {CHALLENGE_URL} for {name} on port {port}",
                    hint="a site template of your own must have the location that docs/templates.md shows for acme",
                )
    finally:
        file.unlink(missing_ok=True)


def _ask(address: str, port: int, name: str) -> str:
    connection = http.client.HTTPConnection(address, port, timeout=ANSWER_SECONDS)
    try:
        connection.request("GET", f"{CHALLENGE_URL}{CHECK}", headers={"Host": name, "Connection": "close"})
        return connection.getresponse().read(1024).decode("ascii", "replace")
    except (OSError, http.client.HTTPException) as error:
        return f"nothing: {error}"
    finally:
        connection.close()


def _refused(app: str, names: Sequence[str], error: CommandFailed, logs: Path) -> AcmeRefused:
    refused = AcmeRefused(
        f"no certificate for {', '.join(names)} of {app} could be had: {_cause(error.tail) or error}",
        hint=f"the names must lead to this host, and port 80 be open; see {logs}/letsencrypt.log",
    )
    if (found := _RETRY_AFTER.search(error.tail)) is not None:
        refused.not_before = datetime.fromisoformat(found[1]).replace(tzinfo=UTC).timestamp()
    return refused


def _cause(tail: str) -> str:
    """What the authority said, else the last thing that certbot said which tells something."""
    if (detail := _DETAIL.search(tail)) is not None:
        return detail[1].strip()
    lines = [line.strip() for line in tail.splitlines()]
    telling = [line for line in lines if line and not line.startswith(_CHATTER) and not line.startswith("- -")]
    return telling[-1] if telling else ""
