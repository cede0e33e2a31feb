"""Every error that a user can meet.

::

    ReconcilerError                 exit 1, retried with the next pass
    ├── UsageError                  exit 2, never retried: the command line is wrong
    ├── ConfigurationError          exit 2, never retried: agent.yaml is wrong
    ├── ManifestError               exit 1, waits for git: carries every problem found
    ├── RepositoryError             exit 1
    │   ├── RepositoryRefused       waits for git: the address or revision is not allowed
    │   ├── RepositoryUnreachable   retried: the network or the server failed
    │   ├── RevisionNotFound        waits for git: no such branch, tag, commit or version
    │   ├── SignatureRefused        waits for git: a commit or tag is not signed by a key that is listed
    │   └── HistoryRewritten        waits for a person: the branch was force-pushed
    ├── CommandFailed               waits for git: a program ended with a failure
    │   └── CommandTimedOut         retried: a program took too long and was ended
    ├── StageFailed                 waits for git: a stage could not make its output
    │   ├── OutOfTime               waits for git: a stage took longer than its limit and was ended
    │   └── Aborted                 waits for git: a person ended the attempt
    ├── SecretsUnreadable           waits for git: an encrypted file cannot be read, or is not to be trusted
    ├── VerificationFailed          waits for git: the release did not answer as asked
    ├── HostError                   retried: something that the host must provide is missing
    │   └── DiskError               retried: a file system is full or read-only
    ├── JournalError                retried: the journal cannot be read or written
    │   └── JournalDamaged          retried: it is not as it was written, and is set aside by who may write it
    ├── StateLocked                 retried: another reconciler works on this state folder
    └── AgentNotRunning             waits for a person: there is no agent to ask

A message is one sentence that names the object and the cause; ``hint`` is the next action.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from pathlib import PurePath


class Retry(StrEnum):
    """When it makes sense to try again."""

    NEXT_PASS = "next_pass"  # noqa: S105  no password: when the next pass comes
    ON_CHANGE = "on_change"
    NEVER = "never"


class ReconcilerError(Exception):
    """An error with a sentence for the user and, where there is one, a next action."""

    exit_status: int = 1
    retry: Retry = Retry.NEXT_PASS

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return self.message

    @property
    def with_hint(self) -> str:
        """The sentence and, where there is one, the next action, on one line."""
        return self.message if self.hint is None else f"{self.message}; hint: {self.hint}"


class UsageError(ReconcilerError):
    """The command line asks for something that does not exist."""

    exit_status = 2
    retry = Retry.NEVER


class ConfigurationError(ReconcilerError):
    """The agent's configuration is wrong."""

    exit_status = 2
    retry = Retry.NEVER


@dataclass(frozen=True, slots=True, order=True)
class Problem:
    """One mistake in one file: ``file`` relative to the repository, ``line`` from 1 (0: the whole file)."""

    file: str
    line: int
    field: str
    message: str
    app: str | None = None

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}" if self.line else self.file
        return f"{place}: {self.field}: {self.message}" if self.field else f"{place}: {self.message}"


class ManifestError(ReconcilerError):
    """One or more manifests are wrong; ``problems`` has all of them."""

    retry = Retry.ON_CHANGE

    def __init__(self, problems: tuple[Problem, ...], *, hint: str | None = None) -> None:
        super().__init__("; ".join(str(problem) for problem in problems), hint=hint)
        self.problems = problems


class RepositoryError(ReconcilerError):
    """Something about a git repository."""


class RepositoryRefused(RepositoryError):
    """The address or the revision is not one that this agent will hand to git."""

    retry = Retry.ON_CHANGE


class RepositoryUnreachable(RepositoryError):
    """git could not talk to the repository."""


class RevisionNotFound(RepositoryError):
    """The repository answers, but has no such branch, tag, commit or version."""

    retry = Retry.ON_CHANGE


class SignatureRefused(RepositoryError):
    """A commit or a tag is not signed by a key that is listed."""

    retry = Retry.ON_CHANGE


class HistoryRewritten(RepositoryError):
    """The branch no longer contains the commit that was applied before; ``vanished`` are the commits it lost."""

    retry = Retry.ON_CHANGE

    def __init__(self, message: str, *, hint: str | None = None, vanished: tuple[str, ...] = ()) -> None:
        super().__init__(message, hint=hint)
        self.vanished = vanished


class CommandFailed(ReconcilerError):
    """A program ended with a failure; ``tail`` is the end of what it printed."""

    retry = Retry.ON_CHANGE

    def __init__(
        self, command: tuple[str, ...], status: int, tail: str, *, what: str | None = None, hint: str | None = None
    ) -> None:
        self.command = command
        self.status = status
        self.tail = tail
        self.name = what or command[0].rsplit("/", 1)[-1]
        super().__init__(f"{self.name} {self.ending}" + (f": {last_line(tail)}" if tail.strip() else ""), hint=hint)

    @property
    def ending(self) -> str:
        """How it ended, as a sentence about it goes on."""
        return f"was ended by signal {-self.status}" if self.status < 0 else f"ended with status {self.status}"


class CommandTimedOut(CommandFailed):
    """A program was ended because it took longer than its limit (``seconds``)."""

    retry = Retry.NEXT_PASS

    def __init__(self, command: tuple[str, ...], seconds: float, tail: str, *, what: str | None = None) -> None:
        self.seconds = seconds
        super().__init__(command, -9, tail, what=what)
        self.message = f"{self.name} {self.ending}"

    @property
    def ending(self) -> str:
        """How it ended, as a sentence about it goes on."""
        return f"was ended after {self.seconds:g} s"


class StageFailed(ReconcilerError):
    """A stage could not make its output; ``tail`` quotes logs where there are any."""

    retry = Retry.ON_CHANGE

    def __init__(self, message: str, *, hint: str | None = None, tail: str = "") -> None:
        super().__init__(message, hint=hint)
        self.tail = tail


class SecretsUnreadable(ReconcilerError):
    """An encrypted file cannot be read, or was changed without its key."""

    retry = Retry.ON_CHANGE


class OutOfTime(StageFailed):
    """A stage took longer than its limit; what it had started was ended."""


class Aborted(StageFailed):
    """A person ended an attempt."""


class VerificationFailed(StageFailed):
    """A release did not answer as its manifest asks."""


class HostError(ReconcilerError):
    """The host lacks something, or refuses it."""


class Lack(StrEnum):
    """What a file system is out of."""

    SPACE = "space"
    INODES = "inodes"
    QUOTA = "quota"
    WRITABLE = "writable"
    HEALTH = "health"


class DiskError(HostError):
    """A file system (at ``mount``) is full or read-only; ``tail`` is what a program said of it.

    ``written`` is how many bytes, in how many files, of an output there were when it failed.
    """

    def __init__(self, message: str, *, hint: str, mount: PurePath, lack: Lack, tail: str = "") -> None:
        super().__init__(message, hint=hint)
        self.mount = mount
        self.lack = lack
        self.tail = tail
        self.written = (0, 0)


class JournalError(ReconcilerError):
    """The journal cannot be read or written."""


class JournalDamaged(JournalError):
    """The journal is not as it was written."""


class StateLocked(ReconcilerError):
    """Another reconciler holds the state folder."""


class AgentNotRunning(ReconcilerError):
    """There is no agent to ask."""

    retry = Retry.NEVER


def last_line(text: str) -> str:
    """The last line of ``text`` that is not blank, or an empty string."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else ""
