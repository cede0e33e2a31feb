"""A config repository to start from: files, JSON Schemas for editors, and a first commit."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from reconciler.host.files import write_whole
from reconciler.host.processes import run
from reconciler.model.configuration_reading import configuration_schema
from reconciler.model.errors import CommandFailed, HostError, UsageError
from reconciler.model.manifest_reading import manifest_schema

FILES = Path(__file__).parent / "scaffold_files"
RENAMED = {"gitignore": ".gitignore"}
"""Files that would have an effect on the reconciler's own repository under their real name."""
LEFT_OUT = "__pycache__"
BRANCH = "main"
GIT_SECONDS = 60.0
MESSAGE = "Start with an example app"
OWN_IDENTITY = ("-c", "user.name=reconciler init", "-c", "user.email=reconciler@example.com")


@dataclass(frozen=True, slots=True)
class Scaffold:
    """What was made; ``uncommitted`` says why there is no first commit, where there is none."""

    folder: Path
    files: tuple[str, ...]
    uncommitted: str | None


def scaffold(folder: Path) -> Scaffold:
    """Write the files into ``folder`` and commit them.

    Raises :class:`UsageError` before anything is written when one of the files is there already.
    """
    contents = _contents()
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"{folder} is a file", hint="name a folder that is new or empty")
    for name in contents:
        if (folder / name).exists() or (folder / name).is_symlink():
            raise UsageError(f"{folder / name} exists already", hint="name another folder, or move the file away")
    for name, content in contents.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        write_whole(folder / name, content)
    return Scaffold(folder, tuple(contents), _commit(folder, sorted(contents)))


def _contents() -> dict[str, bytes]:
    """Every file by its path below the folder."""
    found = {}
    for file in sorted(FILES.rglob("*")):
        name = str(file.relative_to(FILES))
        if file.is_file() and LEFT_OUT not in file.parts:
            found[RENAMED.get(name, name)] = file.read_bytes()
    found["schema/manifest.json"] = _json(manifest_schema())
    found["schema/agent.json"] = _json(configuration_schema())
    return found


def _json(schema: object) -> bytes:
    return (json.dumps(schema, indent=2) + "\n").encode()


def _commit(folder: Path, files: list[str]) -> str | None:
    if (folder / ".git").exists():
        return "it is a git repository already"
    try:
        _git(folder, "init", "--quiet")
        # not `init --initial-branch`, which a git before 2.28 does not have
        _git(folder, "symbolic-ref", "HEAD", f"refs/heads/{BRANCH}")
        _git(folder, "add", "--", *files)
        identity = () if _has_identity(folder) else OWN_IDENTITY
        _git(folder, *identity, "commit", "--quiet", "--message", MESSAGE)
    except (CommandFailed, HostError) as error:
        return str(error)
    return None


def _has_identity(folder: Path) -> bool:
    try:
        _git(folder, "config", "user.email")
        _git(folder, "config", "user.name")
    except CommandFailed:
        return False
    return True


def _git(folder: Path, *arguments: str) -> None:
    run(("git", *arguments), cwd=folder, timeout=GIT_SECONDS, what=f"git {arguments[0]}")
