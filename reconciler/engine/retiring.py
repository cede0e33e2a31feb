"""Retiring: vassals that serve no more finish their requests, and go."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from contextlib import suppress

from reconciler.host.layout import Layout
from reconciler.host.releases import remove_release, remove_vassal, vassals_of
from reconciler.host.services import Host
from reconciler.host.uwsgi import drain
from reconciler.model.errors import HostError


def retire_all_but(host: Host, app: str, serving: str, seconds: float) -> None:
    """End every vassal of an app except the one that serves, after at most ``seconds`` of draining."""
    leaving = [vassal for vassal in vassals_of(host.layout, app) if vassal != serving]
    for vassal in leaving:
        drain(host.layout.socket(vassal, "stats"), time.monotonic() + seconds)
        remove_vassal(host.layout, vassal)
        if "." in vassal:
            remove_release(host.layout, app, vassal.partition(".")[2])
    if leaving:
        with suppress(HostError):
            host.emperor.wake()


def left_over(layout: Layout, serving: Mapping[str, str]) -> list[str]:
    """The apps of ``serving`` (app to vassal) that have another vassal too, which a killed agent left behind."""
    found = set()
    with os.scandir(layout.vassals) as entries:
        for entry in entries:
            vassal = entry.name.removesuffix(".ini")
            app = vassal.partition(".")[0]
            if vassal != entry.name and serving.get(app, vassal) != vassal:
                found.add(app)
    return sorted(found)
