"""Config repositories for tests, made of the worked manifests and the example apps of this checkout."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

import yaml

CHECKOUT = Path(__file__).resolve().parent.parent
MANIFESTS = CHECKOUT / "manifests"
BRANCH = "main"
GIT_SECONDS = 60.0
SETTINGS = """\
[user]
name = Test
email = test@example.com
[commit]
gpgSign = false
[core]
autocrlf = false
[gc]
auto = 0
[maintenance]
auto = false
"""

_LEFT_BEHIND = shutil.ignore_patterns("__pycache__", ".venv", "*.sqlite3", "staticfiles", "uv.lock")
"""What trying out an example by hand leaves in its folder."""


def make_config_repository(folder: Path, *, only: Sequence[str] | None = None) -> Path:
    """Make the git repository ``folder`` from our manifests and the apps that they name; return ``folder``.

    ``only`` are names of manifest files without ``.yaml`` (``flask``, ``django``, ``monorepo``); left out: all.
    The repository has one commit, on the branch ``main``.
    """
    names = sorted(path.stem for path in MANIFESTS.glob("*.yaml")) if only is None else list(only)
    new_repository(folder)
    (folder / "manifests").mkdir()
    for name in names:
        manifest = MANIFESTS / f"{name}.yaml"
        shutil.copy(manifest, folder / "manifests")
        for directory in _app_directories(manifest):
            shutil.copytree(CHECKOUT / directory, folder / directory, ignore=_LEFT_BEHIND)
    commit(folder, "Start with the examples")
    return folder


def new_repository(folder: Path) -> Path:
    """Make the empty git repository ``folder``, on the branch ``main``, that needs no settings of the user's."""
    folder.mkdir(parents=True, exist_ok=True)
    git(folder, "init", "--quiet", "--template=", f"--initial-branch={BRANCH}")
    with (folder / ".git" / "config").open("a") as settings:
        settings.write(SETTINGS)
    return folder


def write_and_commit(folder: Path, files: Mapping[str, str | None], message: str) -> str:
    """Write ``files`` (path to text; ``None`` removes the file), commit everything, return the commit's id."""
    for name, text in files.items():
        path = folder / name
        if text is None:
            path.unlink()
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
    return commit(folder, message)


def commit(folder: Path, message: str) -> str:
    """Commit all that is in ``folder``, removals and a commit without changes included; return the commit's id."""
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--allow-empty", f"--message={message}")
    branch = (folder / ".git" / "HEAD").read_text().removeprefix("ref: ").strip()
    written = folder / ".git" / branch
    return written.read_text().strip() if written.is_file() else git(folder, "rev-parse", "HEAD")


def revert(folder: Path, revision: str = "HEAD") -> str:
    """``git revert`` one commit; return the id of the new one."""
    git(folder, "revert", "--no-edit", revision)
    return git(folder, "rev-parse", "HEAD")


def git(folder: Path, *arguments: str) -> str:
    """Run git in ``folder``, without the settings of the machine and the user; return what it printed, stripped."""
    outside = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    env = outside | {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1", "GIT_TERMINAL_PROMPT": "0"}
    done = subprocess.run(
        ["git", *arguments], cwd=folder, env=env, check=False, capture_output=True, text=True, timeout=GIT_SECONDS
    )
    if done.returncode != 0:
        raise AssertionError(f"git {' '.join(arguments)} in {folder}: {done.stderr.strip()}")
    return done.stdout.strip()


def _app_directories(manifest: Path) -> list[str]:
    documents = yaml.safe_load_all(manifest.read_text(encoding="utf-8"))
    return [document["spec"]["source"]["directory"] for document in documents]
