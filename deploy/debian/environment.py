"""The environment in the package: pinned wheels, as a virtual environment that already lies where it will be used."""

from __future__ import annotations

import platform
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from deploy.debian.building import CHECKOUT, Unbuildable, run, uv

PINS = CHECKOUT / "deploy/debian/requirements.txt"
HOME = "/usr/lib/reconciler"
"""Where the environment lies on a server."""
GLIBC = "2.28"
"""Wheels for this version of the C library are packed; Debian 12 has 2.36, Ubuntu 22.04 2.35."""
MACHINES = {"x86_64": "amd64", "aarch64": "arm64"}
SCRIPTS = {"reconciler": "reconciler.cli.main:entry", "pyuwsgi": "pyuwsgi:run"}
"""The programs of the environment that are used, as the packages' entry points."""
LEFT_BEHIND = ("direct_url.json", "uv_cache.json", "REQUESTED")
"""Files of installed packages that tell where and when they were installed from."""
ELF = b"\x7fELF"


@dataclass(frozen=True, slots=True)
class Target:
    """The servers that a package is for: their Python, such as ``3.11``, and their machine by uv's name."""

    python: str
    machine: str

    @classmethod
    def here(cls, python: str) -> Target:
        """Servers of the same kind as this machine."""
        machine = platform.machine()
        if machine not in MACHINES:
            raise Unbuildable(
                f"there are no wheels for {machine}", hint=f"build on one of {', '.join(sorted(MACHINES))}"
            )
        return cls(python, machine)

    @property
    def architecture(self) -> str:
        """Debian's name of the machine."""
        return MACHINES[self.machine]


def make_environment(root: Path, wheel: Path, target: Target) -> None:
    """Install the pinned requirements and the wheel below ``root``."""
    home = root / HOME.removeprefix("/")
    site = home / f"lib/python{target.python}/site-packages"
    (home / "bin").mkdir(parents=True)
    pinned = ("--target", str(site), "--python-version", target.python, "--link-mode", "copy", "--no-deps", "--quiet")
    exact = (*pinned, "--python-platform", f"{target.machine}-manylinux_{GLIBC.replace('.', '_')}")
    uv("pip", "install", *exact, "--only-binary", ":all:", "--require-hashes", "--requirement", str(PINS))
    uv("pip", "install", *exact, str(wheel))
    shutil.move(site / "bin/uv", home / "bin/uv")
    shutil.rmtree(site / "bin")
    _write_programs(home, target)
    _clean(site)
    for file in binaries(root):
        run("strip", "--strip-unneeded", "--remove-section=.comment", "--remove-section=.note", str(file))


def _write_programs(home: Path, target: Target) -> None:
    (home / "pyvenv.cfg").write_text(
        f"home = /usr/bin\nimplementation = CPython\nversion_info = {target.python}\n"
        "include-system-site-packages = false\n"
    )
    (home / "bin/python3").symlink_to(f"../../../bin/python{target.python}")
    (home / "bin/python").symlink_to("python3")
    for name, entry in SCRIPTS.items():
        module, _, function = entry.partition(":")
        script = home / "bin" / name
        script.write_text(
            f"#!{HOME}/bin/python3\nimport sys\n\nfrom {module} import {function}\n\n"
            f'if __name__ == "__main__":\n    sys.exit({function}())\n'
        )
        script.chmod(0o755)


def _clean(site: Path) -> None:
    """Remove what differs from one build to the next, or is of no use on a server."""
    for name in LEFT_BEHIND:
        for file in site.glob(f"*.dist-info/{name}"):
            file.unlink()
    for folder in [*site.rglob("__pycache__"), site / "share"]:
        shutil.rmtree(folder, ignore_errors=True)
    (site / ".lock").unlink(missing_ok=True)
    for record in site.glob("*.dist-info/RECORD"):
        lines = record.read_text().splitlines(keepends=True)
        kept = [
            line for line in lines if not re.search(r"^(\.\./|bin/)|\.pyc,|/(" + "|".join(LEFT_BEHIND) + "),", line)
        ]
        record.write_text("".join(sorted(kept)))
    for installer in site.glob("*.dist-info/INSTALLER"):
        installer.write_text("dpkg\n")


def binaries(root: Path) -> Iterator[Path]:
    """The programs and libraries below a folder."""
    for file in sorted(root.rglob("*")):
        if file.is_file() and not file.is_symlink():
            with file.open("rb") as opened:
                if opened.read(len(ELF)) == ELF:
                    yield file
