"""The Pythons that a server of the tests does not have, made once and kept as the image is.

The source of one comes from Debian's archive, as apt gets it, with the source of the uWSGI that is compiled against
it. Another one is an interpreter of this machine, packed as the builds are that uv installs from a mirror.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
import sys
import tarfile
import tempfile
from contextlib import suppress
from functools import cache
from pathlib import Path

from image import FETCH_SECONDS, FORMAT, apt_mirror, cache_folder, digest_of, fetch_wheels, made_once, run
from machine import Unfit, say
from reconciler.host.interpreters import HostInterpreter, Interpreters
from reconciler.model.errors import ReconcilerError

PYTHONS = "/srv/pythons"
"""Where the server sees the folder."""
SUITE, PACKAGE = "trixie", "python3.13"
"""The Debian, and its source package, from which a Python is built."""
SOURCE_MINOR = "3.13"
MIRRORED = ("3.12", "3.10", "3.14")
"""The mirror has the first of these that this machine has."""
BUILT_ON = "20250101"
"""The day that the mirror's build claims to be from."""
UWSGI_SOURCE = "uwsgi>=2.0.30,<2.1"
UWSGI_WHEEL = "pyuwsgi>=2.0.30,<2.1"
# what an app needs, and no more, so that packing takes a second
_LEFT_OUT = frozenset({"test", "tests", "site-packages", "__pycache__", "idlelib", "ensurepip", "lib2to3", "tkinter"})


def python_folder() -> Path:
    """``source.tar.xz``; ``mirror`` and ``builds.json``, its list as uv reads it; ``wheels`` for both Pythons."""
    key = digest_of(FORMAT, SUITE, PACKAGE, mirrored().version, UWSGI_SOURCE, UWSGI_WHEEL)
    with made_once(cache_folder() / f"pythons-{key}") as (folder, made):
        if not made:
            folder.mkdir(parents=True)
            _fetch_source(folder / "source.tar.xz")
            _make_mirror(folder)
            fetch_wheels(folder / "wheels", [UWSGI_WHEEL], mirrored().minor)
            _fetch_uwsgi(folder / "wheels")
        return cache_folder() / f"pythons-{key}"


@cache
def mirrored() -> HostInterpreter:
    """The interpreter of this machine that the mirror offers; :class:`Unfit` where it has none."""
    interpreters = Interpreters(None)
    for minor in MIRRORED:
        with suppress(ReconcilerError):
            return interpreters.find(minor)
    raise Unfit(f"this machine has no Python {', '.join(MIRRORED)}, of which the server is to get one from a mirror")


def _fetch_source(archive: Path) -> None:
    """Have apt get it, which believes nothing but what Debian has signed."""
    say(f"fetching the source of {PACKAGE}")
    with tempfile.TemporaryDirectory(prefix="reconciler-source-") as made:
        place = Path(made)
        (place / "lists/partial").mkdir(parents=True)
        keys = "/usr/share/keyrings/debian-archive-keyring.gpg"
        mirror = (apt_mirror() or ["http://deb.debian.org/debian"])[0]
        (place / "list").write_text(f"deb-src [signed-by={keys}] {mirror} {SUITE} main\n")
        settings = (f"Dir::Etc::SourceList={place}/list", "Dir::Etc::SourceParts=/dev/null",
                    f"Dir::State::Lists={place}/lists", "Dir::Cache::pkgcache=", "Dir::Cache::srcpkgcache=",
                    "APT::Sandbox::User=root")  # fmt: skip
        options = [word for setting in settings for word in ("--option", setting)]
        run(["apt-get", *options, "update", "--quiet"], FETCH_SECONDS)
        run(["apt-get", *options, "source", "--download-only", "--quiet", PACKAGE], FETCH_SECONDS, cwd=place)
        (fetched,) = place.glob("*.orig.tar.xz")
        shutil.copyfile(fetched, archive)


def _fetch_uwsgi(folder: Path) -> None:
    say("fetching the source of uWSGI")
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--dest", str(folder), "--no-deps"]
    run([*command, "--no-binary=:all:", "--disable-pip-version-check", UWSGI_SOURCE], FETCH_SECONDS)


def _make_mirror(folder: Path) -> None:
    """Pack an interpreter of this machine as the builds are packed that uv installs."""
    found = mirrored()
    say(f"packing Python {found.version} of this machine as a mirror would have it")
    machine, (major, minor, patch) = os.uname().machine, found.version.split(".")
    name = f"cpython-{found.version}+{BUILT_ON}-{machine}-unknown-linux-gnu-install_only_stripped.tar.gz"
    archive = folder / "mirror" / BUILT_ON / name
    archive.parent.mkdir(parents=True)
    _pack(found, archive)
    build = {
        "name": "cpython", "arch": {"family": machine, "variant": None}, "os": "linux", "libc": "gnu",
        "major": int(major), "minor": int(minor), "patch": int(patch), "prerelease": "", "variant": None,
        "build": BUILT_ON, "sha256": hashlib.sha256(archive.read_bytes()).hexdigest(),
        "url": f"https://github.com/astral-sh/python-build-standalone/releases/download/{BUILT_ON}/"
        + name.replace("+", "%2B"),
    }  # fmt: skip
    listed = {f"cpython-{found.version}-linux-{machine}-gnu": build}
    (folder / "builds.json").write_text(json.dumps(listed))


def _pack(found: HostInterpreter, archive: Path) -> None:
    executable = found.executable.resolve()
    prefix = executable.parent.parent
    # it was built to look for its own library in a folder of this machine
    before = f"{prefix}/lib\0".encode()
    binary = executable.read_bytes().replace(before, b"$ORIGIN/../lib\0".ljust(len(before), b"\0"))

    def kept(member: tarfile.TarInfo) -> tarfile.TarInfo | None:
        return None if _LEFT_OUT.intersection(Path(member.name).parts) or member.name.endswith(".a") else member

    with tarfile.open(archive, "w:gz", compresslevel=1) as packed:
        program = tarfile.TarInfo(f"python/bin/python{found.minor}")
        program.mode, program.size = 0o755, len(binary)
        packed.addfile(program, io.BytesIO(binary))
        for library in (prefix / "lib").glob(f"libpython{found.minor}*.so*"):
            packed.add(library, f"python/lib/{library.name}")
        packed.add(prefix / f"lib/python{found.minor}", f"python/lib/python{found.minor}", filter=kept)
