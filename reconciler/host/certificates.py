"""Certificates and their keys: read from where a manifest says, kept for nginx in one file of the agent's own.

nginx refuses all of its configuration for one certificate that it cannot use. So it never reads what others write:
a pair that was checked is kept, goes on serving whatever becomes of the files that it came from, and is replaced only
by another good one. Certificate and key are one file, because two files cannot be replaced in one step.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from reconciler.host.files import write_whole
from reconciler.host.layout import Layout
from reconciler.host.nginx_server import PAIR_MODE, NginxServer, content_of
from reconciler.model.errors import HostError, StageFailed
from reconciler.model.manifest import Manifest

HEADER = "# kept by reconciler:"
"""How a kept pair begins; OpenSSL skips all lines outside of PEM blocks. Behind it: valid from, until, the names."""
_HEADER = re.compile(rf"{HEADER} (?P<since>-?\d+) (?P<until>-?\d+)(?P<names>( \S+)*) ?")
PAIR_BYTES = 256 * 1024
"""A chain has some kilobytes."""
CERTIFICATE, KEY, ACME = "nginx.tls.certificate", "nginx.tls.key", "nginx.tls.acme"
"""What the nginx stage declares of a pair's source."""
SERVED = "nginx.tls.served"
"""Declared as long as there is a certificate to serve with: before ACME has given one, there is none."""
AGAIN = "it is tried again by itself"


@dataclass(frozen=True, slots=True)
class PairFiles:
    """Where a certificate and its key lie."""

    certificate: Path
    key: Path

    def exist(self) -> bool:
        """Whether both are there."""
        return self.certificate.exists() and self.key.exists()


@dataclass(frozen=True, slots=True)
class KeptPair:
    """What nginx serves an app with: the PEM text, from and until when it is valid (seconds since 1970), for whom."""

    text: str
    valid_from: float
    valid_until: float
    names: tuple[str, ...]

    def covers(self, name: str) -> bool:
        """Whether a certificate is for this server name; a wildcard stands for one label."""
        name = name.lower()
        return name in self.names or f"*.{name.partition('.')[2]}" in self.names

    def written(self) -> str:
        """The content of the file."""
        return f"{HEADER} {self.valid_from:.0f} {self.valid_until:.0f} {' '.join(self.names)}\n{self.text}"


def files_of(layout: Layout, app: str, declared: Mapping[str, str]) -> PairFiles | None:
    """Where the pair of an app comes from, by what its nginx stage declares; ``None`` without TLS."""
    if declared.get(ACME):
        live = layout.certbot / "live" / app
        return PairFiles(live / "fullchain.pem", live / "privkey.pem")
    if declared.get(CERTIFICATE):
        return PairFiles(Path(declared[CERTIFICATE]), Path(declared[KEY]))
    return None


def kept_pair(layout: Layout, app: str) -> KeptPair | None:
    """What nginx serves an app with; ``None`` where there is nothing, or a file that the agent did not write."""
    header, _, text = (content_of(layout.pair(app)) or "").partition("\n")
    found = _HEADER.fullmatch(header)
    if found is None:
        return None
    return KeptPair(text, float(found["since"]), float(found["until"]), tuple(found["names"].split()))


def certificate_there(layout: Layout, manifest: Manifest) -> bool:
    """Whether the app can be served with TLS: by path always, because a missing file is an error; by ACME in time."""
    tls = manifest.spec.nginx.tls
    if tls is None:
        return False
    files = files_of(layout, manifest.name, {ACME: "true"}) if tls.acme else None
    return files is None or kept_pair(layout, manifest.name) is not None or files.exist()


def provide_pair(nginx: NginxServer, app: str, source: PairFiles) -> bool:
    """Keep the pair at ``source`` for nginx, unless it is kept already; returns whether another one serves now.

    Raises :class:`HostError` or :class:`StageFailed` for a pair that cannot be used, with nothing changed.
    """
    layout = nginx.layout
    text = _read(app, source)
    before = kept_pair(layout, app)
    if before is not None and before.text == text:
        return False
    from reconciler.host.certificate_checks import checked_pair  # noqa: PLC0415  cryptography: only for a new pair

    written = checked_pair(app, source, text).written()
    nginx.test_pair(written, source.certificate)
    if str(layout.pair(app)) in (content_of(layout.site(app)) or ""):
        return nginx.install({}, {app: written})
    layout.pairs.mkdir(mode=0o700, exist_ok=True)
    return write_whole(layout.pair(app), written, mode=PAIR_MODE)


def refuse_shared_place(layout: Layout, app: str, source: PairFiles, repository: str) -> None:
    """Raise :class:`StageFailed` for a pair in a checkout of git, or in a folder that an app writes to."""
    folders = [layout.store, layout.mirrors, layout.releases, layout.public, layout.root / "shared"]
    local = repository.removeprefix("file://")
    folders += [Path(local)] if local.startswith("/") else []
    for path in (source.certificate, source.key):
        place = Path(os.path.realpath(path))
        for folder in folders:
            if place.is_relative_to(Path(os.path.realpath(folder))):
                raise StageFailed(
                    f"{path} of {app} lies in {folder}, where others than the host's operator see or write it",
                    hint="put certificate and key elsewhere on the host, such as /etc/ssl; a key is never in git",
                )


def _read(app: str, source: PairFiles) -> str:
    certificate, key = (_text_of(app, *named) for named in (("certificate", source.certificate), ("key", source.key)))
    return f"{certificate.rstrip()}\n{key.rstrip()}\n"


def _text_of(app: str, what: str, path: Path) -> str:
    try:
        # a pipe of that name would otherwise be waited for
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with open(descriptor, "rb") as file:  # noqa: PTH123  of a descriptor
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise HostError(f"the {what} of {app}, {path}, is no file", hint=AGAIN)
            content = file.read(PAIR_BYTES + 1)
    except FileNotFoundError:
        raise HostError(f"the {what} of {app}, {path}, is not there", hint=f"put it there; {AGAIN}") from None
    except OSError as error:
        reason = error.strerror or str(error)
        raise HostError(f"the {what} of {app}, {path}, cannot be read: {reason}", hint=AGAIN) from error
    if len(content) > PAIR_BYTES:
        raise HostError(f"the {what} of {app}, {path}, is larger than {PAIR_BYTES // 1024} KiB", hint=AGAIN)
    return content.decode("utf-8", "replace")
