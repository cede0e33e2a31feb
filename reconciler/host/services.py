"""Everything on the host that a pass works with, wired once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from reconciler.host.allowance import Allowance
from reconciler.host.distribution_uwsgi import DistributionUwsgi
from reconciler.host.git import Mirrors
from reconciler.host.interpreters import Interpreters
from reconciler.host.layout import Layout
from reconciler.host.nginx_server import NginxServer
from reconciler.host.package_installing import SystemPackages
from reconciler.host.ports import listen_address
from reconciler.host.tenants import Tenants
from reconciler.host.uwsgi import Emperor


@dataclass(frozen=True, slots=True)
class Host:
    """The host of one profile. ``token`` proves a probe to nginx; ``address`` is where nginx answers, on ``port``,
    or, where that is ``None``, on the port that each app's manifest asks for.
    """

    layout: Layout
    mirrors: Mirrors
    interpreters: Interpreters
    nginx: NginxServer
    emperor: Emperor
    tenants: Tenants
    address: str
    port: int | None
    token: str
    packages: SystemPackages
    allowance: Allowance
    python_mirror: str | None = None
    """Where uv gets interpreters that the host does not have; ``None``: it gets none."""
    distribution_uwsgi: Callable[[], DistributionUwsgi] | None = None
    """Asked for the uWSGI of all apps; ``None``: each app has one in its environment."""
    tls_port: int | None = None
    """Where nginx answers over HTTPS; ``None``: on the port that each app's manifest asks for."""

    def port_of(self, wanted: int, *, tls: bool = False) -> int:
        """Where nginx answers for an app whose manifest asks for the port ``wanted``, over HTTP or with ``tls``."""
        return (self.tls_port if tls else self.port) or wanted

    def listen(self, wanted: int, *, tls: bool = False) -> tuple[str, ...]:
        """What nginx listens on for such an app: all addresses of the host, unless the profile has one for all."""
        if self.port is not None:
            return (listen_address(self.address, self.port_of(wanted, tls=tls)),)
        return (str(wanted), *((f"[::]:{wanted}",) if "ipv6" in self.nginx.capabilities() else ()))
