"""How a new server installs the reconciler: from a Debian package, a wheel, or what pip understands."""

from __future__ import annotations

import json
import re
import shlex
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, distribution
from urllib.parse import urlsplit

from reconciler.model.errors import UsageError

CHOOSE = (
    "name a .deb or .whl with --package: an https address, or a path on the new server; `make deb` builds one, and "
    "--package ADDRESS#sha256=… is checked"
)
_DIGEST = re.compile(r"sha256=[0-9a-f]{64}")
_PLACE = re.compile(r"[!-~]+")
DEB = """\
if ! dpkg-query --show --showformat='${{Status}}' reconciler 2>/dev/null | grep -q 'ok installed'; then
{fetch}    apt-get -o DPkg::Lock::Timeout=300 --quiet update || true
    apt-get -o DPkg::Lock::Timeout=300 --quiet --yes install {file}
fi"""
FETCH = """\
    mkdir -p /var/cache/reconciler
    python3 -c 'import sys, urllib.request; urllib.request.urlretrieve(sys.argv[1], sys.argv[2])' \\
        {url} {file}
"""
CHECK = "    echo {line} | sha256sum --check --quiet\n"
FETCHED = "/var/cache/reconciler/setup.deb"
WHEEL = """\
if ! [ -x /opt/reconciler/bin/reconciler ]; then
    python=
    for name in python3 python3.14 python3.13 python3.12 python3.11; do
        if "$name" -c 'import ensurepip, sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            python=$name
            break
        fi
    done
    if [ -z "$python" ]; then
        apt-get -o DPkg::Lock::Timeout=300 --quiet --yes install python3-venv || true
        apt-get -o DPkg::Lock::Timeout=300 --quiet --yes install python3.11-venv || true
        echo "looking for Python 3.11 or later again" >&2
        exit 1
    fi
    "$python" -m venv /opt/reconciler
    /opt/reconciler/bin/pip install --quiet --disable-pip-version-check {requirement}
    ln -sfn /opt/reconciler/bin/reconciler /usr/local/bin/reconciler
fi"""


@dataclass(frozen=True, slots=True)
class SetupPackage:
    """Shell commands that install it, the program that is there afterwards, and what cloud-init installs before."""

    installation: str
    program: str
    needs: tuple[str, ...] = ("ca-certificates",)

    @classmethod
    def named(cls, place: str) -> SetupPackage:
        """What an address or a path leads to; raises :class:`UsageError` for one that no server should follow."""
        where, _, digest = place.partition("#")
        if not _PLACE.fullmatch(place) or (digest and not _DIGEST.fullmatch(digest)):
            raise UsageError(f"--package {place!r} is no address or path of a package", hint=CHOOSE)
        scheme = urlsplit(where).scheme
        local = where.startswith("/")
        if not local and scheme not in ("https", "http"):
            raise UsageError(f"--package {place} is neither an https address nor an absolute path", hint=CHOOSE)
        if scheme == "http" and not digest:
            raise UsageError(
                f"--package {place}: anybody between could answer in place of an http server",
                hint="use https, or name what is right: ADDRESS#sha256=…",
            )
        path = urlsplit(where).path
        if path.endswith(".deb"):
            return cls._debian(where, digest, local=local)
        if path.endswith(".whl"):
            address = f"file://{where}" if local else where
            return cls._wheel(f"reconciler[system] @ {address}" + (f"#{digest}" if digest else ""))
        raise UsageError(f"--package {place} is neither a .deb nor a .whl", hint=CHOOSE)

    @classmethod
    def like_this_one(cls) -> SetupPackage:
        """The package that the reconciler that runs was installed from, where that was an https address.

        One that came from an index is not asked for by its name: on the public index that is another project's.
        """
        with suppress(PackageNotFoundError):
            origin = json.loads(distribution("reconciler").read_text("direct_url.json") or "{}")
            if str(origin.get("url", "")).startswith("https://"):
                digest = origin.get("archive_info", {}).get("hashes", {}).get("sha256")
                return cls.named(origin["url"] + (f"#sha256={digest}" if digest else ""))
        raise UsageError("nobody has said where the new server gets the reconciler from", hint=CHOOSE)

    @classmethod
    def _debian(cls, where: str, digest: str, *, local: bool) -> SetupPackage:
        file = where if local else FETCHED
        fetch = "" if local else FETCH.format(url=shlex.quote(where), file=file)
        if digest:
            fetch += CHECK.format(line=shlex.quote(f"{digest.removeprefix('sha256=')}  {file}"))
        return cls(DEB.format(fetch=fetch, file=shlex.quote(file)), "/usr/bin/reconciler")

    @classmethod
    def _wheel(cls, requirement: str) -> SetupPackage:
        installation = WHEEL.format(requirement=shlex.quote(requirement))
        return cls(installation, "/opt/reconciler/bin/reconciler", ("ca-certificates", "python3-venv"))
