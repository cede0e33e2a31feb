"""Verify: a vassal that is up, then every probe of the manifest, on its own socket and through nginx."""

from __future__ import annotations

import time
from pathlib import Path

from reconciler.engine.desired import DesiredApp
from reconciler.engine.static_probes import probe_static, served_by_nginx
from reconciler.host.files import size_of, tail_of
from reconciler.host.services import Host
from reconciler.host.uwsgi import wait_until_ready
from reconciler.model.errors import VerificationFailed
from reconciler.model.stage import StageName
from reconciler.model.tls_checks import HTTP_PORT, HTTPS_PORT
from reconciler.model.uwsgi_log import telling
from reconciler.stages.site_tls import public_place

LOG_BYTES = 16_384
"""How much of an app's log is looked through for lines that say something."""
LOG_TAIL_BYTES = 2_000
LATE_LINE_SECONDS = 0.3
"""How long a failure waits for the app's log: uWSGI logs a request after it has answered it."""
LATE_LINE_POLL_SECONDS = 0.01
NO_SITE = "No site is served under this name"
"""What nginx's default server answers, see ``templates/nginx.conf.j2``."""


def host_header(app: DesiredApp, host: Host) -> str:
    """The Host header that leads to the app: its first server name, else nginx's own address."""
    names = app.manifest.spec.nginx.server_names
    own = f"[{host.address}]" if ":" in host.address else host.address
    name = names[0] if names else own
    if name.startswith("*."):
        name = f"probe{name[1:]}"
    port, tls = _place(app, host)
    return name if port == (HTTPS_PORT if tls else HTTP_PORT) else f"{name}:{port}"


def _place(app: DesiredApp, host: Host) -> tuple[int, bool]:
    return public_place(host, app.manifest, app.stage(StageName.NGINX).inputs.declared)


def wait_for_release(
    host: Host,
    app: str,
    vassal: str,
    release: str,
    deadline: float,
    *,
    rewritten: bool,
    log_position: int | None = None,
) -> None:
    """Return when a vassal of an app runs ``release``; raises :class:`VerificationFailed` with what its log says.

    ``deadline`` is by the monotonic clock. ``rewritten``: the Emperor may have started the vassal with what its file
    was before. Without ``log_position`` the log counts from now on.
    """
    log = host.layout.app_log(app)
    wait_until_ready(
        host.emperor,
        vassal,
        stats=host.layout.socket(vassal, "stats"),
        http=host.layout.socket(vassal, "http"),
        log=log,
        log_position=size_of(log) if log_position is None else log_position,
        release=release,
        deadline=deadline,
        rewritten=rewritten,
    )


def probe_candidate(host: Host, app: DesiredApp, vassal: str, deadline: float, log_position: int) -> None:
    """Every probe against the candidate, which has no traffic yet; for paths that nginx serves, against its files."""
    from reconciler.host.probing import probe_socket  # noqa: PLC0415  httpx: a pass without changes never asks

    socket = host.layout.socket(vassal, "http")
    for probe in app.manifest.spec.verify.probes:
        if served_by_nginx(host.layout, app, probe):
            probe_static(host.layout, app, probe)
            continue
        before = size_of(host.layout.app_log(app.name))
        try:
            probe_socket(
                socket,
                probe,
                host_header=host_header(app, host),
                tls=_place(app, host)[1],
                expected_release=app.release,
                deadline=deadline,
            )
        except VerificationFailed as error:
            _await_late_line(host.layout.app_log(app.name), before)
            raise _quoting_logs(host, app, error, log_position) from error


def probe_public(host: Host, app: DesiredApp, deadline: float, log_position: int) -> None:
    """Every probe through nginx, as a visitor would ask."""
    from reconciler.host.probing import probe_nginx  # noqa: PLC0415

    nginx_position = size_of(_nginx_log(host, app))
    port, tls = _place(app, host)
    for probe in app.manifest.spec.verify.probes:
        by_nginx = served_by_nginx(host.layout, app, probe)
        before = size_of(host.layout.app_log(app.name))
        try:
            probe_nginx(
                host.address,
                port,
                probe,
                host_header=host_header(app, host),
                tls=tls,
                token=host.token,
                expected_release=None if by_nginx else app.release,
                deadline=deadline,
            )
        except VerificationFailed as error:
            if not by_nginx:
                _await_late_line(host.layout.app_log(app.name), before)
            raise _quoting_logs(host, app, error, log_position, nginx_position) from error


def _await_late_line(log: Path, before: int) -> None:
    deadline = time.monotonic() + LATE_LINE_SECONDS
    while size_of(log) <= before and time.monotonic() < deadline:
        time.sleep(LATE_LINE_POLL_SECONDS)


def _nginx_log(host: Host, app: DesiredApp) -> Path:
    return host.layout.error_log(app.name)


def _quoting_logs(
    host: Host, app: DesiredApp, error: VerificationFailed, log_position: int, nginx_position: int | None = None
) -> VerificationFailed:
    """The failure with what both logs got since the attempt began; ``None``: nginx had no part in it."""
    printed = telling(tail_of(host.layout.app_log(app.name), LOG_BYTES, since=log_position))
    said = "" if nginx_position is None else tail_of(_nginx_log(host, app), LOG_TAIL_BYTES, since=nginx_position)
    logs = (("the app's", printed[-LOG_TAIL_BYTES:]), ("nginx's", said))
    tail = "\n".join(f"last lines of {whose} log:\n{text.rstrip()}" for whose, text in logs if text.strip())
    hint = f"read the whole log with `reconciler logs {app.name}`"
    if NO_SITE in str(error):
        hint = f"nginx has no site for {host_header(app, host)}: the template must use listen and server_names"
    return VerificationFailed(str(error), hint=error.hint or hint, tail=tail)
