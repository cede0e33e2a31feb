"""Encrypted files by hand: where the key is, for whom to encrypt, and an editor that leaves nothing behind."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from reconciler.cli.invocation import Invocation
from reconciler.cli.output import write_notes
from reconciler.cli.views.failures import error_with_tail
from reconciler.host.age_keys import check_recipient, make_key, unwrapping, wrap
from reconciler.host.files import write_whole
from reconciler.host.processes import run_in_terminal
from reconciler.host.sops.creation_rules import NAME, Creation, creation_for
from reconciler.host.sops.files import Decrypted, decrypt_file, encrypt_again, encrypt_file
from reconciler.model.errors import SecretsUnreadable, UsageError

KEY_VARIABLE = "SOPS_AGE_KEY_FILE"
MEMORY = Path("/dev/shm")  # noqa: S108  a private folder is made in it
EDITOR = "vi"
NEW_FILE_MODE = 0o644


def required(file: Path | None, action: str) -> Path:
    """The file that an action needs; raises :class:`UsageError` without one."""
    if file is None:
        raise UsageError(f"`secrets {action}` needs a file", hint=f"`reconciler secrets {action} secrets/blog.yaml`")
    return file


@dataclass(frozen=True)
class Vault:
    """The files of a person at a terminal; ``key`` and ``recipients`` are what the options say."""

    invocation: Invocation
    key: Path | None
    recipients: tuple[str, ...]

    @cached_property
    def key_file(self) -> Path:
        """The age key: the option's, else the variable's of sops, else that of agent.yaml."""
        if self.key is not None:
            return self.key
        named = os.environ.get(KEY_VARIABLE)
        return Path(named) if named else self.invocation.installation().age_key

    def make_key(self) -> str:
        """Make an age key; returns its recipient."""
        return make_key(self.key_file)

    def show(self, file: Path) -> None:
        """Write a file in the clear to standard output."""
        sys.stdout.write(self._decrypted(file, _read(file)).text)
        sys.stdout.flush()

    def encrypt(self, file: Path) -> None:
        """Encrypt a file in place."""
        _write(file, self._encrypted_new(file, _read(file)))

    def edit(self, file: Path) -> bool:
        """Let the person's editor change a file, or write a new one; returns whether anything changed."""
        before = self._decrypted(file, _read(file)) if file.exists() else None
        old = before.text.encode() if before is not None else b""
        if before is None:
            # before a person has written what could not be encrypted then
            self._creation(file)
        with _private_copy(file.name, old) as copy:
            while True:
                run_in_terminal([*_editor(), str(copy)])
                new = copy.read_bytes()
                if new == old:
                    return False
                try:
                    text = encrypt_again(before, new) if before is not None else self._encrypted_new(file, new)
                except SecretsUnreadable as error:
                    failure = _about(file, error)
                    if not _edit_again(failure):
                        raise failure from None
                else:
                    _write(file, text)
                    return True

    def _decrypted(self, file: Path, content: bytes) -> Decrypted:
        try:
            return decrypt_file(file.name, content, unwrapping(self.key_file))
        except SecretsUnreadable as error:
            raise _about(file, error) from None

    def _encrypted_new(self, file: Path, content: bytes) -> str:
        creation = self._creation(file)
        try:
            return encrypt_file(
                file.name, content, creation.recipients, wrap, creation.rule, only_encrypted=creation.only_encrypted
            )
        except SecretsUnreadable as error:
            raise _about(file, error) from None

    def _creation(self, file: Path) -> Creation:
        creation = Creation(self.recipients) if self.recipients else creation_for(file)
        if creation is None:
            raise UsageError(
                f"nothing says for whom {file} is encrypted",
                hint=f"give --recipient age1..., once for each key, or write {NAME} in the repository",
            )
        for recipient in creation.recipients:
            check_recipient(recipient)
        return creation


@contextmanager
def _private_copy(name: str, content: bytes) -> Iterator[Path]:
    """A file that only this account can read, in memory where there is such a place, and wiped afterwards."""
    where = MEMORY if os.access(MEMORY, os.W_OK) else None
    folder = Path(tempfile.mkdtemp(prefix="reconciler-", dir=where))
    try:
        copy = folder / name
        copy.touch(mode=0o600)
        copy.write_bytes(content)
        yield copy
    finally:
        # the editor may have left copies of its own beside it
        for left in folder.iterdir():
            if left.is_file() and not left.is_symlink():
                _wipe(left)
        shutil.rmtree(folder, ignore_errors=True)


def _wipe(file: Path) -> None:
    size = file.stat().st_size
    with file.open("r+b") as opened:
        opened.write(b"\0" * size)
        opened.flush()
        os.fsync(opened.fileno())
    file.unlink()


def _editor() -> list[str]:
    return shlex.split(os.environ.get("VISUAL") or os.environ.get("EDITOR") or EDITOR)


def _edit_again(failure: SecretsUnreadable) -> bool:
    if not sys.stdin.isatty():
        return False
    write_notes(error_with_tail(failure))
    sys.stderr.write("Edit again? [Y/n] ")
    sys.stderr.flush()
    return sys.stdin.readline().strip().lower() in ("", "y", "yes")


def _about(file: Path, error: SecretsUnreadable) -> SecretsUnreadable:
    return SecretsUnreadable(f"{file} {error}", hint=error.hint or "correct the file")


def _read(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise UsageError(f"{file} cannot be read: {error.strerror}", hint="check its path") from error


def _write(file: Path, text: str) -> None:
    mode = file.stat().st_mode & 0o777 if file.exists() else NEW_FILE_MODE
    file.parent.mkdir(parents=True, exist_ok=True)
    write_whole(file, text, mode=mode)
