"""The templates that travel with the package."""

from __future__ import annotations

import functools
from pathlib import Path

from reconciler.model.errors import HostError

PACKAGE = Path(__file__).resolve().parent.parent
FOLDERS = (PACKAGE / "templates", PACKAGE.parent / "templates")
"""Inside an installed package, and beside the package in a checkout."""


@functools.cache
def default_template(name: str) -> str:
    """The text of one of the default templates, such as ``site.conf.j2``."""
    for folder in FOLDERS:
        file = folder / name
        if file.is_file():
            return file.read_text(encoding="utf-8")
    raise HostError(f"the template {name} is missing from the installation", hint="install reconciler again")
