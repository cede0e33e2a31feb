"""Probes of static files: which paths nginx answers by itself, and what a candidate has there before the switch."""

from __future__ import annotations

import posixpath
from pathlib import Path
from urllib.parse import unquote

from reconciler.engine.desired import DesiredApp
from reconciler.host.layout import Layout
from reconciler.model.errors import VerificationFailed
from reconciler.model.manifest import Probe, StaticFolder
from reconciler.model.stage import StageName

FOUND = 200
INDEX = "index.html"


def served_by_nginx(layout: Layout, app: DesiredApp, probe: Probe) -> bool:
    """Whether nginx answers a probe from a static folder, so that the app never sees it.

    A folder at ``/`` has only the files that are in it: all else goes to the app.
    """
    return _folder_of(layout, app, probe) is not None


def probe_static(layout: Layout, app: DesiredApp, probe: Probe) -> None:
    """Refuse a release that lacks the static file that a probe asks for; :class:`VerificationFailed` says which.

    What nginx makes of it, its status and headers, is seen through nginx only. A template of the config
    repository's own may serve other files; nothing is known of those here.
    """
    folder = _folder_of(layout, app, probe)
    if folder is None or probe.status != FOUND or app.manifest.spec.nginx.template is not None:
        return
    file = _file_of(layout, app, folder, _path(probe))
    if file is None:
        raise VerificationFailed(
            f"GET {probe.path}: the release has no such static file",
            hint=f"add it below {app.manifest.spec.static[folder].source}, or correct verify.probes",
        )
    if probe.contains is not None and probe.contains.encode() not in file.read_bytes():
        raise VerificationFailed(
            f"GET {probe.path}: the release's static file does not contain {probe.contains!r}",
            hint="correct the file, or verify.probes",
        )


def _folder_of(layout: Layout, app: DesiredApp, probe: Probe) -> int | None:
    """The number of the static folder that answers; as nginx does, the longest URL wins."""
    path = _path(probe)
    matching = [number for number, folder in enumerate(app.manifest.spec.static) if path.startswith(folder.url)]
    for number in sorted(matching, key=lambda number: -len(app.manifest.spec.static[number].url)):
        if app.manifest.spec.static[number].url != "/" or _file_of(layout, app, number, path) is not None:
            return number
    return None


def _file_of(layout: Layout, app: DesiredApp, number: int, path: str) -> Path | None:
    folder: StaticFolder = app.manifest.spec.static[number]
    inside = path.removeprefix(folder.url)
    places = [layout.output(StageName.STATIC, app.stage(StageName.STATIC).digest) / str(number)]
    if folder.fingerprint:
        places.append(layout.old_assets(app.name))
    for place in places:
        file = place / inside
        if folder.url != "/" and (inside == "" or inside.endswith("/")):
            file /= INDEX
        if file.is_file():
            return file
    return None


def _path(probe: Probe) -> str:
    """The path as nginx compares it: decoded, without the query, ``.``, ``..`` and doubled slashes."""
    path = unquote(probe.path.partition("?")[0].partition("#")[0])
    tidy = posixpath.normpath(path)
    # normpath keeps two slashes at the beginning, and takes one at the end away
    return f"/{tidy.lstrip('/')}" + ("/" if path.endswith("/") and tidy.strip("/") else "")
