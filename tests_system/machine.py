"""What booting a Debian and building a package for it need from the machine: root, debootstrap and others."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

NEEDED = {
    "debootstrap": "debootstrap",
    "systemd-nspawn": "systemd-container",
    "nsenter": "util-linux",
    # for the Debian package that the stories install
    "strip": "binutils",
}
"""Programs, and the packages that bring them."""
APT_SECONDS = 180.0


class Unfit(Exception):
    """The machine cannot boot a Debian; the message says what lacks."""


def provide_programs() -> None:
    """Install what is missing; raises :class:`Unfit` without root, and when that cannot be had."""
    if os.geteuid() != 0:
        raise Unfit("booting a Debian needs root: sudo make test-system")
    lacking = sorted({package for program, package in NEEDED.items() if shutil.which(program) is None})
    if not lacking:
        return
    if shutil.which("apt-get") is None:
        raise Unfit(f"booting a Debian needs {', '.join(lacking)}: install them and try again")
    say(f"installing {', '.join(lacking)} on this machine")
    install = ["apt-get", "--quiet", "--yes", "--no-install-recommends", "install", *lacking]
    # lists that are missing or too old are brought up to date only when that is the reason
    if _apt(install)[0] and _apt(["apt-get", "--quiet", "update"]) and (failure := _apt(install))[0]:
        raise Unfit(f"{', '.join(lacking)} could not be installed: {failure[1]}")


def say(text: str) -> None:
    """Tell a person who waits."""
    print(f"test-system: {text}", file=sys.stderr, flush=True)


def _apt(command: list[str]) -> tuple[int, str]:
    settings = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    done = subprocess.run(command, env=settings, capture_output=True, text=True, timeout=APT_SECONDS, check=False)
    return done.returncode, done.stderr.strip()[-500:]
