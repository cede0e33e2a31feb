"""Everything on the host that a pass works with, wired once."""

from __future__ import annotations

from dataclasses import dataclass

from reconciler.host.git import Mirrors
from reconciler.host.interpreters import Interpreters
from reconciler.host.layout import Layout
from reconciler.host.nginx import Nginx
from reconciler.host.uwsgi import Emperor


@dataclass(frozen=True, slots=True)
class Host:
    """The host of the embedded profile. ``listen`` is where nginx answers, ``token`` proves a probe to nginx."""

    layout: Layout
    mirrors: Mirrors
    interpreters: Interpreters
    nginx: Nginx
    emperor: Emperor
    address: str
    port: int
    token: str
