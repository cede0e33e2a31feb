"""What the types of ``spec.nginx.tls`` cannot say: where the certificate comes from, and what ACME can give."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from reconciler.model.manifest import CHALLENGE_URL
from reconciler.model.yaml_documents import Path

TLS: Path = ("spec", "nginx", "tls")
HTTP_PORT = 80
HTTPS_PORT = 443


def tls_mistakes(nginx: Mapping[str, Any], static: list[Any]) -> Iterator[tuple[Path, str]]:
    """Every mistake in ``spec.nginx.tls``, and between it and its neighbours; ``nginx`` and ``static`` as written."""
    tls = nginx.get("tls")
    if not isinstance(tls, dict):
        return
    by_path = [key for key in ("certificate", "key") if tls.get(key) is not None]
    if tls.get("acme") is True:
        for key in by_path:
            yield (*TLS, key), "with acme the certificate comes from certbot; give either acme or paths"
        yield from _acme_mistakes(nginx.get("serverNames"), static)
    elif not by_path:
        yield TLS, "give certificate and key, the paths of files on the host, or acme: true"
    elif len(by_path) == 1:
        missing = "key" if by_path == ["certificate"] else "certificate"
        yield (*TLS, missing), f"this key is required beside {by_path[0]}"
    if nginx.get("listen", HTTP_PORT) == tls.get("listen", HTTPS_PORT):
        yield (*TLS, "listen"), f"port {tls.get('listen', HTTPS_PORT)} is spec.nginx.listen already, which is HTTP"


def _acme_mistakes(names: object, static: list[Any]) -> Iterator[tuple[Path, str]]:
    found = [name for name in names if isinstance(name, str)] if isinstance(names, list) else []
    if not found:
        yield (*TLS, "acme"), "a certificate is for names, and spec.nginx.serverNames has none"
    for number, name in enumerate(names if isinstance(names, list) else ()):
        if isinstance(name, str) and name.startswith("*."):
            sentence = "no certificate for a wildcard can be had over HTTP; give certificate and key in place of acme"
            yield ("spec", "nginx", "serverNames", number), sentence
    for number, folder in enumerate(static):
        if isinstance(folder, dict) and folder.get("url") == CHALLENGE_URL:
            yield ("spec", "static", number, "url"), f"{CHALLENGE_URL} belongs to ACME"
