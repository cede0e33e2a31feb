"""Reads git's errors: the line that says most, the next action that fits, and whether the mirror is broken."""

from __future__ import annotations

import re
from collections.abc import Mapping

from reconciler.host.git_addresses import Address, masked
from reconciler.model.errors import (
    CommandFailed,
    RepositoryError,
    RepositoryRefused,
    RepositoryUnreachable,
    RevisionNotFound,
    last_line,
)
from reconciler.model.revision import BRANCHES, is_range, newest_versions

HINT_NAMES = 5

_BOILERPLATE = re.compile(
    r"Please make sure you have the correct access rights|and the repository exists\.|"
    r"Could not read from remote repository|To add an exception for this directory|"
    r"error processing config file|failed to fetch some objects|git config --global --add safe\.directory|^@+$|^\s*$"
)
_REFUSED_OBJECT = re.compile(r"object [0-9a-f]{40,64}: [A-Za-z]+: ")
_PREFIXES = re.compile(r"^(fatal|error|remote|ERROR|batch response): +")
_CAUSES = (
    (
        re.compile(r"No space left on device|Disk quota exceeded"),
        "free space on the disk",
    ),
    (
        re.compile(r"File name too long"),
        "give the file a shorter name, and commit",
    ),
    (
        re.compile(r"dubious ownership"),
        "it belongs to another account; run `git config --global --add safe.directory PATH` as the agent's user",
    ),
    (
        re.compile(r"Host key verification failed|REMOTE HOST IDENTIFICATION HAS CHANGED|No .* host key is known"),
        "check the server's key, then add it to known_hosts of the agent's user (`ssh-keyscan HOST`)",
    ),
    (
        re.compile(r"cannot run ssh"),
        "install an ssh client: apt-get install openssh-client",
    ),
    (
        re.compile(
            r"Authentication failed|could not read (Username|Password)|terminal prompts disabled|Permission denied|"
            r"returned error: 40[13]|[Aa]ccess denied|[Ii]nvalid (username|credentials)"
        ),
        "give the agent's user an ssh key or a credential helper that may read the repository",
    ),
    (
        re.compile(r"not yet (valid|activated)|certificate has expired|expired certificate", re.IGNORECASE),
        "check the clock of this host (`date`), then the dates of the server's certificate",
    ),
    (
        re.compile(
            r"returned error: (5\d\d|429)|not valid: is this a git repository|bad line length|invalid server|"
            r"protocol error|RPC failed|unexpected disconnect|invalid index-pack output|bad pack|"
            r"unable to update url base from redirection|Out of memory|malloc failed",
            re.IGNORECASE,
        ),
        "the server, or a proxy before it, does not answer as git does; see its own log, the next pass tries again",
    ),
    (
        re.compile(r"certificate|SSL|TLS|gnutls", re.IGNORECASE),
        "check the server's certificate and the authorities this host trusts (http.sslCAInfo)",
    ),
    (
        re.compile(
            r"Could not resolve|Connection (refused|reset|closed|timed out)|Network is unreachable|No route to host|"
            r"[Ff]ailed to connect|Couldn't connect|Operation timed out|Temporary failure|hung up|early EOF"
        ),
        "check the server and the network between; the next pass tries again",
    ),
    (
        re.compile(
            r"does not exist|does not appear to be a git repository|not found|returned error: 404|No such file"
        ),
        "check the address: there is no such repository, or the agent's user may not see it",
    ),
)
# whole phrases of git, because its messages also quote file names, which are the repository's to choose
_DAMAGE = re.compile(
    r"unable to read sha1 file of|(loose|packed) object [0-9a-f]{40,64} |object file \S+ is empty|hash mismatch|"
    r"packfile \S+ (does not|cannot|claims|signature)|(is not a GIT|short to be a) packfile|wrong index v|"
    r"index file \S+ (is too|has|overflow)|inflate: data|non-monotonic index|failed to read object|unable to unpack|"
    r"not a git repository: |Expected git repo version|nknown repository extension|bad config line [0-9]+ in file "
)
_STUCK = re.compile(
    r"bad (ref|(tree |blob |commit |tag )?object)|missing (blob|tree|commit|object|tag)|unresolved deltas|"
    r"did not send all necessary|"
    r"Unable to create '[^']*\.lock': File exists|cannot lock ref|broken|[Cc]ould not (read|parse)|"
    r"failed to (read|unpack|traverse)"
)


def unreachable(address: Address, failure: CommandFailed) -> RepositoryError:
    """What a failed command says about the server: git's own last useful line, and a hint that fits the cause.

    :class:`RepositoryUnreachable`, or :class:`RepositoryRefused` when the server gives what git's checks refuse.
    """
    if _REFUSED_OBJECT.search(failure.tail):
        return RepositoryRefused(
            f"{address.shown} holds an object that git refuses: {useful_line(failure.tail)}",
            hint="run `git fsck` in it",
        )
    hint = hint_of(failure.tail) or "run `git ls-remote` with this address as the agent's user to see more"
    hint = hint.replace("PATH", address.url.removeprefix("file://"))
    return RepositoryUnreachable(f"{address.shown} cannot be read: {useful_line(failure.tail)}", hint=hint)


def hint_of(stderr: str) -> str | None:
    """The next action for the cause that ``stderr`` shows; ``None`` for a cause that is not about the server."""
    return next((hint for pattern, hint in _CAUSES if pattern.search(stderr)), None)


def useful_line(stderr: str) -> str:
    """The line of git's errors that says most, without credentials and control characters."""
    lines = [line.strip() for line in stderr.splitlines() if not _BOILERPLATE.search(line)]
    refused = [line for line in lines if _REFUSED_OBJECT.search(line)]
    chosen = _PREFIXES.sub("", [*lines, *refused][-1]) if lines else last_line(stderr)
    return printable(masked(chosen)) or "git gave no reason"


def printable(text: str) -> str:
    """``text`` without what could steer a terminal."""
    return "".join(character if character.isprintable() else "?" for character in text)


def is_damage(stderr: str) -> bool:
    """Whether git says that the files of the mirror are broken, whatever was asked of it."""
    return bool(_DAMAGE.search(stderr))


def needs_new_mirror(stderr: str) -> bool:
    """Whether a failed fetch says that the mirror cannot take any, and the server is not the cause."""
    return is_damage(stderr) or (bool(_STUCK.search(stderr)) and hint_of(stderr) is None)


def no_commit(address: Address, commit: str) -> RevisionNotFound:
    """The error for a commit that the mirror lacks."""
    return RevisionNotFound(f"{address.shown} has no commit {commit}", hint="push it, or choose another revision")


def revision_not_found(address: Address, revision: str, refs: Mapping[str, str]) -> RevisionNotFound:
    """The error that names what is nearest to a revision that is not there."""
    if is_range(revision):
        newest = newest_versions(refs, HINT_NAMES)
        hint = f"its newest versions are {', '.join(newest)}" if newest else "it has no version tag such as v1.4.0"
        return RevisionNotFound(f"{address.shown} has no version tag that matches {revision!r}", hint=hint)
    branches = sorted(ref.removeprefix(BRANCHES) for ref in refs if ref.startswith(BRANCHES))
    import difflib  # noqa: PLC0415  only for a mistake

    near = difflib.get_close_matches(revision, branches, HINT_NAMES, cutoff=0.4)
    named = [*near, *(branch for branch in branches if branch not in near)][:HINT_NAMES]
    hint = "the repository has no branch yet; push one"
    if named:
        hint = f"push it, or choose another: its branches are {', '.join(named)}"
    if len(branches) > HINT_NAMES:
        hint = f"push it, or choose another of its {len(branches)} branches, such as {', '.join(named)}"
    return RevisionNotFound(f"{address.shown} has no branch, tag or commit {revision!r}", hint=hint)
