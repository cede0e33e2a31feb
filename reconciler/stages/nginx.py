"""The nginx stage: the site file, rendered and tested as part of the whole configuration before it is live."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

from reconciler.host.observing import Observer
from reconciler.host.templates import default_template
from reconciler.model.errors import StageFailed
from reconciler.model.manifest import Encoding, StaticFolder
from reconciler.model.stage import (
    AppliedStage,
    DesiredStage,
    Difference,
    DifferenceKind,
    Inputs,
    Observation,
    StageName,
)
from reconciler.stages.site_tls import acme_context, declared_tls, provide_certificate, tls_context
from reconciler.stages.stage import Facts, Work

DEFAULT_TEMPLATE = "site.conf.j2"
SITE_MODE = 0o644


class NginxStage:
    """Inputs: every setting that the site file is rendered from, and the config repository's own template."""

    name = StageName.NGINX

    def inputs(self, facts: Facts) -> Inputs:
        """Name the inputs; the shipped template and what the nginx binary can do are tools."""
        nginx = facts.manifest.spec.nginx
        own = _own_template(facts)
        static = {
            f"static[{number}]": f"{folder.url} {' '.join(sorted(folder.precompress))}"
            + (" fingerprint" if folder.fingerprint else "")
            for number, folder in enumerate(facts.manifest.spec.static)
        }
        return Inputs(
            self.name,
            {
                "nginx.listen": facts.host.listen(nginx.listen)[0],
                "nginx.serverNames": " ".join(nginx.server_names),
                "nginx.clientMaxBodySize": nginx.client_max_body_size,
                "nginx.accessLog": str(nginx.access_log).lower(),
                "nginx.template": nginx.template or "",
                "nginx.template.content": _sha256(own) if own is not None else "",
                **static,
                **declared_tls(facts),
            },
            tools={
                "template": "" if own is not None else _sha256(default_template(DEFAULT_TEMPLATE)),
                "nginx": " ".join(sorted(facts.host.nginx.capabilities())),
            },
        )

    def files(self, facts: Facts, _digest: str) -> Mapping[str, str]:
        """The site file."""
        from reconciler.host.foreign_templates import render_apart  # noqa: PLC0415  only where something changed
        from reconciler.model.rendering import render  # noqa: PLC0415  Jinja2: the same

        own = _own_template(facts)
        if own is not None:
            name = f"templates/{facts.manifest.spec.nginx.template}"
            return {f"{facts.app}.conf": render_apart(own, site_context(facts), name=name)}
        text = default_template(DEFAULT_TEMPLATE)
        return {f"{facts.app}.conf": render(text, site_context(facts), name=DEFAULT_TEMPLATE)}

    def observe(
        self, app: str, applied: AppliedStage | None, desired: AppliedStage | DesiredStage, observer: Observer
    ) -> Observation:
        """Whether the site file is there, byte for byte."""
        del desired
        path = observer.layout.site(app)
        if applied is None:
            return Observation(path.exists())
        differences = observer.text(path, applied.files[f"{app}.conf"], mode=SITE_MODE)
        return Observation(not any(is_missing(difference) for difference in differences), differences)

    def apply(self, work: Work) -> None:
        """Keep the certificate, and test the site file together with all live ones; it goes live in the switch."""
        provide_certificate(work.facts, work.desired.inputs.declared)
        work.facts.host.nginx.test(work.desired.files)


def is_missing(difference: Difference) -> bool:
    """Whether something is not there at all."""
    return difference.kind is DifferenceKind.MISSING


def site_context(facts: Facts) -> dict[str, object]:
    """What a site template can use; documented for authors of templates in ``docs/templates.md``."""
    spec = facts.manifest.spec
    layout = facts.layout
    public = layout.public_link(facts.app)
    capabilities = facts.host.nginx.capabilities()
    return {
        "app": facts.app,
        "listen": list(facts.host.listen(spec.nginx.listen)),
        "server_names": list(spec.nginx.server_names),
        "default_server": not spec.nginx.server_names,
        "client_max_body_size": spec.nginx.client_max_body_size,
        "access_log": str(layout.access_log(facts.app)) if spec.nginx.access_log else None,
        "error_log": str(layout.error_log(facts.app)),
        "static": [
            {
                "url": folder.url,
                "alias": f"{public}/static/{number}/",
                "gzip_static": _precompressed(folder, Encoding.GZIP, "gzip_static", capabilities),
                "brotli_static": _precompressed(folder, Encoding.BROTLI, "brotli_static", capabilities),
                "zstd_static": _precompressed(folder, Encoding.ZSTD, "zstd_static", capabilities),
                "fingerprint": folder.fingerprint,
            }
            for number, folder in enumerate(spec.static)
        ],
        "old_assets": str(layout.old_assets(facts.app)),
        "uwsgi_socket": f"{public}/web",
        "http2": "http2" in capabilities,
        "features": sorted(capabilities),
        "token": facts.host.token,
        "tls": tls_context(facts),
        "acme": acme_context(facts),
    }


def _precompressed(folder: StaticFolder, encoding: Encoding, feature: str, capabilities: frozenset[str]) -> bool:
    return encoding in folder.precompress and feature in capabilities


def _own_template(facts: Facts) -> str | None:
    name = facts.manifest.spec.nginx.template
    if name is None:
        return None
    text = facts.template(name)
    if text is None:
        raise StageFailed(
            f"nginx.template {name} is not in the config repository's folder templates/",
            hint=f"commit templates/{name}, or remove nginx.template to use the default",
        )
    return text


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
