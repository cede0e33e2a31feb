"""Debian's example site, which answers on port 80 for every name that no site has."""

from __future__ import annotations

import hashlib
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from reconciler.host.processes import run
from reconciler.model.errors import CommandFailed

QUERY_SECONDS = 30.0
OWNER = "nginx-common"
"""The package that brings the site."""
EXAMPLE_PAGE = "index.nginx-debian.html"


@dataclass(frozen=True, slots=True)
class ExampleSite:
    """The link that switches the site on. It goes when nobody has touched the site, and nobody's page is in it.

    An app without server names wants to be the default of its port, which only one site can be.
    """

    etc: Path
    pages: Path

    def missing(self) -> tuple[str, ...]:
        """One phrase, or none. The package that is not there yet will bring the site."""
        brought = not (self.etc / "nginx").exists()
        return (f"remove {self._link}, Debian's example site",) if brought or self._untouched() else ()

    def provide(self) -> None:
        """Take the link away; the site's file stays."""
        self._link.unlink()

    @property
    def _link(self) -> Path:
        return self.etc / "nginx/sites-enabled/default"

    def _untouched(self) -> bool:
        file = self.etc / "nginx/sites-available/default"
        if not self._link.is_symlink() or self._link.resolve() != file.resolve() or not file.is_file():
            return False
        if self.pages.is_dir() and {page.name for page in self.pages.iterdir()} - {EXAMPLE_PAGE}:
            return False
        digest = hashlib.md5(file.read_bytes(), usedforsecurity=False).hexdigest()
        shown = ""
        with suppress(CommandFailed):
            query = ("dpkg-query", "--show", "--showformat=${Conffiles}", OWNER)
            shown = run(query, timeout=QUERY_SECONDS).text
        return f"{file} {digest}" in shown
