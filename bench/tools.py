"""The other tools, from the package index, in an environment of their own that nothing else uses."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path

from bench import CHECKOUT

FOLDER = CHECKOUT / ".cache" / "bench"
INSTALL_SECONDS = 300.0


def environment_of_tools() -> Path:
    """The folder of the programs of the dependency group ``bench``; made when it is missing or out of date."""
    wanted = hashlib.sha256((CHECKOUT / "pyproject.toml").read_bytes() + sys.version.encode()).hexdigest()
    stamp = FOLDER / ".made-from"
    if not stamp.is_file() or stamp.read_text() != wanted:
        print("Installing ansible-core, pyinfra and py-spy ...", file=sys.stderr)
        uv = Path(sys.executable).parent / "uv"
        for arguments in (
            ("venv", "--quiet", "--clear", "--python", sys.executable, str(FOLDER)),
            ("pip", "install", "--quiet", "--python", str(FOLDER / "bin" / "python"), "--group", "bench"),
        ):
            subprocess.run([uv, *arguments], cwd=CHECKOUT, check=True, timeout=INSTALL_SECONDS, env=_environment())
        stamp.write_text(wanted)
    return FOLDER / "bin"


def _environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name != "VIRTUAL_ENV"}
