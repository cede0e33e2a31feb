"""Questions about the history in a mirror; ids are full commit ids. Raises :class:`CommandFailed`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from reconciler.host.git_commands import local
from reconciler.host.git_failures import printable
from reconciler.host.git_objects import headers
from reconciler.model.errors import CommandFailed

SUBJECT_CHARACTERS = 100


def has_commits(mirror: Path, *commits: str) -> bool:
    """Whether the mirror has all of these commits."""
    return all(header is not None and header.kind == "commit" for header in headers(mirror, commits))


def require_whole(mirror: Path, commit: str) -> None:
    """Raise :class:`CommandFailed` when a commit is there and something of its files is not."""
    if has_commits(mirror, commit):
        local(mirror, ("rev-list", "--objects", "--no-walk", "--quiet", commit))


def is_ancestor(mirror: Path, older: str, newer: str) -> bool:
    """Whether ``newer`` contains ``older``; not so when the mirror lacks ``older``, for it has all of ``newer``."""
    if not has_commits(mirror, older, newer):
        return False
    try:
        local(mirror, ("merge-base", "--is-ancestor", older, newer))
    except CommandFailed as failure:
        if failure.status == 1 and not failure.tail.strip():
            return False
        raise
    return True


def vanished(mirror: Path, older: str, newer: str, limit: int) -> tuple[str, ...]:
    """``<short id> <subject>`` of the commits in ``older`` that ``newer`` lacks; none when either is not there."""
    if not has_commits(mirror, older, newer):
        return ()
    return _lines(mirror, ("--format=%h %s", f"--max-count={limit}", older, "--not", newer))


def subject(mirror: Path, commit: str) -> str | None:
    """The shortened subject line of a commit; ``None`` when the mirror lacks it."""
    if not has_commits(mirror, commit):
        return None
    return next(iter(_lines(mirror, ("--format=%s", "--max-count=1", commit))), "")


def resolve_commit(mirror: Path, digits: str) -> str | None:
    """The full id of a commit by its first digits; ``None`` when there is none, or more than one."""
    try:
        found = local(mirror, ("rev-parse", "--verify", "--quiet", f"{digits}^{{commit}}"))
    except CommandFailed as failure:
        if failure.status == 1 or "ambiguous" in failure.tail:
            return None
        raise
    return found.decode().strip()


def _lines(mirror: Path, arguments: Sequence[str]) -> tuple[str, ...]:
    log = local(mirror, ("log", *arguments, "--")).decode("utf-8", "replace")
    return tuple(_short(line) for line in log.split("\n") if line)


def _short(line: str) -> str:
    text = printable(line)
    return text if len(text) <= SUBJECT_CHARACTERS else text[: SUBJECT_CHARACTERS - 1] + "…"
