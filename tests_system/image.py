"""A Debian to boot, made once and kept outside the checkout: its root file system, packages and wheels to install.

Only making it needs the network, through this machine's own settings of apt and pip. What is booted from it has no
way out: it installs from the folders that are made here, so that a run depends on nothing but the cache.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shlex
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from machine import Unfit, provide_programs, say

CHECKOUT = Path(__file__).resolve().parent.parent
SUITE = "bookworm"
PYTHON = "3.11"
"""The interpreter of that Debian, for which wheels are fetched."""
INSTALLED = (
    "systemd",
    "systemd-sysv",
    "dbus",
    "ca-certificates",
    "git",
    "openssh-client",
    "openssh-server",
    "python3",
    "python3-venv",
)
"""What the blank server has: it is also the server of the repositories, hence git and sshd."""
ADDED = ("cloud-init", "lintian", "pebble")
"""What is there besides, and does nothing unless a test asks for it."""
COMPILERS = (
    "build-essential",
    "libbz2-dev",
    "libffi-dev",
    "liblzma-dev",
    "libsqlite3-dev",
    "libssl-dev",
    "zlib1g-dev",
)
"""What a Python is built from source with."""
OFFERED = ("nginx", "uwsgi-core", "uwsgi-plugin-python3", "certbot", *COMPILERS)
"""What can be installed on it, with everything that this needs."""
APP_WHEELS = ("flask", "pyuwsgi>=2.0.30", "pip", "setuptools", "wheel")
"""What the apps of the test need beside the reconciler's own requirements."""
GLIBC_MINORS = range(17, 37)
"""Wheels made for glibc 2.17 to 2.36 run on that Debian."""
FORMAT = "1"
"""Changed when an image that was made before does not do any more."""
PACKAGES = "/srv/packages"
WHEELS = "/srv/wheels"
MAKE_SECONDS = 420.0
FETCH_SECONDS = 240.0
APART = ("unshare", "--mount", "--pid", "--fork", "--kill-child=KILL")
"""What is mounted and started ends with the command, however that ends."""


def cache_folder() -> Path:
    """Where images are kept: ``RECONCILER_TEST_CACHE``, else below the cache of the account."""
    named = os.environ.get("RECONCILER_TEST_CACHE")
    if named:
        return Path(named)
    caches = os.environ.get("XDG_CACHE_HOME") or Path("~/.cache").expanduser()
    return Path(caches) / "reconciler-tests"


def debian_image() -> Path:
    """The root file system of a blank Debian; the folder ``/srv/packages`` in it is a package source."""
    key = digest_of(FORMAT, SUITE, *INSTALLED, "added", *ADDED, "offered", *OFFERED)
    with made_once(cache_folder() / f"debian-{key}") as (folder, made):
        if not made:
            _make_debian(folder)
        return cache_folder() / f"debian-{key}"


def wheel_folder() -> Path:
    """A folder with the wheels of all that the reconciler and the apps of the test need."""
    requirements = sorted({*_own_requirements(), *_pinned(), *APP_WHEELS})
    key = digest_of(FORMAT, PYTHON, os.uname().machine, *requirements)
    with made_once(cache_folder() / f"wheels-{key}") as (folder, made):
        if not made:
            say("fetching the wheels that it offers")
            fetch_wheels(folder, requirements, PYTHON)
        return cache_folder() / f"wheels-{key}"


def _own_requirements() -> list[str]:
    with (CHECKOUT / "pyproject.toml").open("rb") as file:
        project = tomllib.load(file)["project"]
    return [*project["dependencies"], *project["optional-dependencies"].get("system", [])]


def _pinned() -> list[str]:
    """What the Debian package is made of."""
    lines = (CHECKOUT / "deploy/debian/requirements.txt").read_text().splitlines()
    return [line.split()[0] for line in lines if "==" in line and "win32" not in line]


def _make_debian(folder: Path) -> None:
    say("making the Debian to boot (once; later runs take it from the cache)")
    proxy = _apt_proxy()
    command = [*APART, "debootstrap", "--variant=minbase", f"--include={','.join(INSTALLED)}", SUITE, str(folder)]
    run([*command, *apt_mirror()], MAKE_SECONDS, {"http_proxy": proxy} if proxy else {})
    say("fetching the packages that it offers")
    with _host_apt(folder):
        _in(folder, "apt-get", "update", "--quiet")
        archives = f"Dir::Cache::Archives={PACKAGES}/"
        (folder / PACKAGES.removeprefix("/") / "partial").mkdir(parents=True)
        wanted = ["apt-get", "install", "--quiet", "--yes", "--no-install-recommends", "--download-only"]
        _in(folder, *wanted, "-o", archives, *OFFERED)
        _in(folder, "apt-get", "install", "--quiet", "--yes", "--no-install-recommends", *ADDED)
    # without this it would look for a provider at every boot; the generator of its units reads it
    (folder / "etc/cloud/ds-identify.cfg").write_text("policy: disabled\n")
    _make_package_source(folder / PACKAGES.removeprefix("/"))
    shutil.rmtree(folder / "var/lib/apt/lists")
    (folder / "var/lib/apt/lists/partial").mkdir(parents=True)
    (folder / "etc/apt/sources.list").write_text(f"deb [trusted=yes] file:{PACKAGES} ./\n")
    # every boot is the first one
    (folder / "etc/machine-id").write_text("")
    (folder / "etc/hostname").write_text("server\n")
    (folder / "etc/hosts").write_text("127.0.0.1 localhost server\n::1 localhost\n")
    for package in (folder / "var/cache/apt/archives").glob("*.deb"):
        package.unlink()


def _make_package_source(folder: Path) -> None:
    """Write the index that makes a folder of ``.deb`` files a source for apt."""
    entries = []
    for package in sorted(folder.glob("*.deb")):
        control = run(["dpkg-deb", "--field", str(package)], FETCH_SECONDS).strip()
        digest = hashlib.sha256(package.read_bytes()).hexdigest()
        size = package.stat().st_size
        entries.append(f"{control}\nFilename: ./{package.name}\nSize: {size}\nSHA256: {digest}\n")
    (folder / "Packages").write_text("\n".join(entries))
    shutil.rmtree(folder / "partial")
    (folder / "lock").unlink(missing_ok=True)


def fetch_wheels(folder: Path, requirements: Sequence[str], python: str) -> None:
    """Put wheels for a Python of the booted Debian, such as ``3.11``, into a new folder."""
    machine = os.uname().machine
    platforms = [f"manylinux_2_{minor}_{machine}" for minor in GLIBC_MINORS]
    folder.mkdir(parents=True)
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--dest", str(folder), "--only-binary=:all:"]
    command += [f"--python-version={python}", "--implementation=cp", "--disable-pip-version-check"]
    command += [f"--platform={name}" for name in (*platforms, f"manylinux2014_{machine}", f"linux_{machine}")]
    run([*command, *requirements], FETCH_SECONDS)


@contextmanager
def made_once(path: Path) -> Iterator[tuple[Path, bool]]:
    """A folder to make ``path`` in, and whether it is there already; it takes its place when all went well."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.with_name(f"{path.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        unfinished = path.with_name(f"{path.name}.unfinished")
        shutil.rmtree(unfinished, ignore_errors=True)
        made = path.is_dir()
        yield unfinished, made
        if not made:
            unfinished.rename(path)


@contextmanager
def _host_apt(folder: Path) -> Iterator[None]:
    """Let apt inside ``folder`` work with this machine's settings: names, proxies, certificates, passwords."""
    lent = ["etc/resolv.conf", "etc/hosts", "etc/apt/apt.conf.d", "etc/apt/auth.conf.d", "etc/ssl/certs"]
    kept = folder.with_name(f"{folder.name}.kept")
    shutil.rmtree(kept, ignore_errors=True)
    for name in lent:
        ours, theirs = Path("/") / name, folder / name
        if theirs.exists() or theirs.is_symlink():
            (kept / name).parent.mkdir(parents=True, exist_ok=True)
            theirs.rename(kept / name)
        if ours.is_dir():
            shutil.copytree(ours, theirs, symlinks=False, ignore_dangling_symlinks=True)
        elif ours.exists():
            shutil.copy(ours, theirs)
    yield
    # an image that failed before this is thrown away
    for name in lent:
        theirs = folder / name
        shutil.rmtree(theirs) if theirs.is_dir() else theirs.unlink(missing_ok=True)
        if (kept / name).exists() or (kept / name).is_symlink():
            (kept / name).rename(theirs)
    shutil.rmtree(kept)


def apt_mirror() -> list[str]:
    """The mirror that this machine's apt takes Debian from; empty leaves the choice to debootstrap."""
    asked = ["apt-get", "indextargets", "--format", "$(ORIGIN) $(SITE) $(COMPONENT)", "Created-By: Packages"]
    for line in run(asked, FETCH_SECONDS).splitlines():
        words = line.split()
        if len(words) == 3 and words[0] == "Debian" and words[2] == "main" and "security" not in words[1]:
            return [words[1]]
    return []


def _apt_proxy() -> str:
    words = shlex.split(run(["apt-config", "shell", "PROXY", "Acquire::http::Proxy"], FETCH_SECONDS))
    return words[0].partition("=")[2] if words else ""


def _in(folder: Path, *command: str) -> str:
    inside = [*APART, "sh", "-c", 'mount -t proc proc "$0/proc" && exec chroot "$0" "$@"', str(folder), *command]
    return run(inside, FETCH_SECONDS, {"DEBIAN_FRONTEND": "noninteractive"})


def run(
    command: Sequence[str], seconds: float, more: Mapping[str, str] | None = None, *, cwd: Path | None = None
) -> str:
    """What a command of this machine printed, which must succeed; ``more`` are variables beside this process's."""
    done = subprocess.run(
        command,
        cwd=cwd,
        env={**os.environ, "LC_ALL": "C.UTF-8", **(more or {})},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=seconds,
        check=False,
    )
    if done.returncode != 0:
        said = (done.stderr.strip() or done.stdout.strip())[-2000:]
        raise AssertionError(f"{shlex.join(command)[:300]} ended with {done.returncode}:\n{said}")
    return done.stdout


def digest_of(*parts: str) -> str:
    """What a cached folder is named after: all that it was made from."""
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:12]


if __name__ == "__main__":
    provide_programs()
    debian_image()
    wheel_folder()
    from pythons import mirrored, python_folder  # what they are made with is above

    try:
        mirrored()
    except Unfit as unfit:
        say(str(unfit))
    else:
        python_folder()
