"""nginx's main file, rendered for this host."""

from __future__ import annotations

import functools
import grp
import os
import pwd
from pathlib import Path

from reconciler.host.layout import Layout
from reconciler.host.templates import default_template
from reconciler.model.rendering import render

TEMPLATE = "nginx.conf.j2"
SYSTEM_TEMPLATE = "nginx-system.conf.j2"


@functools.lru_cache(maxsize=4)
def main_configuration(
    layout: Layout, listen: str, token: str, control: Path, features: frozenset[str], tls_listen: str = ""
) -> str:
    """The text of nginx.conf; as root, nginx's workers run as the agent's own account too.

    ``tls_listen`` is where sites speak HTTPS; empty where none does, or where nginx cannot refuse a handshake.
    """
    user, group = _account() if os.geteuid() == 0 else ("", "")
    return render(
        default_template(TEMPLATE),
        {
            "user": user,
            "group": group,
            "pid": str(layout.run / "nginx.pid"),
            "error_log": str(layout.logs / "nginx.error.log"),
            "temp": str(layout.nginx / "temp"),
            "control": str(control),
            "listen": listen,
            "tls_listen": tls_listen,
            "token": token,
            "features": features,
        },
        name=TEMPLATE,
    )


def _account() -> tuple[str, str]:
    entry = pwd.getpwuid(os.geteuid())
    return entry.pw_name, grp.getgrgid(entry.pw_gid).gr_name


def drop_in(
    folder: Path, token: str, control: Path, addresses: tuple[str, ...], tls_addresses: tuple[str, ...] = ()
) -> str:
    """The text of what the distribution's nginx.conf includes; ``folder`` has the generation and the sites."""
    context = {
        "folder": str(folder),
        "token": token,
        "control": str(control),
        "addresses": addresses,
        "tls_addresses": tls_addresses,
    }
    return render(default_template(SYSTEM_TEMPLATE), context, name=SYSTEM_TEMPLATE)
