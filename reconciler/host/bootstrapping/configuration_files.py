"""The files below ``/etc/reconciler``: the agent's configuration and the Emperor's."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from reconciler.host.files import write_whole

PUBLIC, SECRET = 0o644, 0o600


@dataclass(frozen=True, slots=True)
class AgentConfiguration:
    """agent.yaml of a server; an existing one is never changed. ``secret``: the address has a password in it."""

    file: Path
    url: str
    branch: str
    labels: Mapping[str, str]
    secret: bool

    def missing(self) -> tuple[str, ...]:
        """One phrase, or none."""
        return () if self.file.exists() else (f"write {self.file}",)

    def provide(self) -> None:
        """Write the file."""
        self.file.parent.mkdir(parents=True, exist_ok=True)
        write_whole(self.file, self.text(), mode=SECRET if self.secret else PUBLIC)

    def text(self) -> str:
        """The file; JSON's texts are YAML's too."""
        lines = [
            "# written by `reconciler bootstrap`, and never again: it is yours to change",
            "profile: system",
            "repository:",
            f"  url: {json.dumps(self.url)}",
            f"  branch: {json.dumps(self.branch)}",
        ]
        if self.labels:
            lines += ["host:", "  labels:"]
            lines += [f"    {json.dumps(name)}: {json.dumps(value)}" for name, value in self.labels.items()]
        return "\n".join(lines) + "\n"


@dataclass(frozen=True, slots=True)
class OwnFile:
    """A file that is the reconciler's own, and always as ``text`` says."""

    file: Path
    text: str

    def missing(self) -> tuple[str, ...]:
        """One phrase, or none."""
        if self.file.is_file() and self.file.read_text(errors="replace") == self.text:
            return ()
        return (f"{'replace' if self.file.exists() else 'write'} {self.file}",)

    def provide(self) -> None:
        """Write the file."""
        self.file.parent.mkdir(parents=True, exist_ok=True)
        write_whole(self.file, self.text)


@dataclass(frozen=True, slots=True)
class FirstProgram:
    """A program that the agent writes anew whenever it likes, and that has to be there before."""

    file: Path
    text: str

    def missing(self) -> tuple[str, ...]:
        """One phrase, or none."""
        return () if self.file.is_file() else (f"write {self.file}",)

    def provide(self) -> None:
        """Write the program."""
        self.file.parent.mkdir(parents=True, exist_ok=True)
        write_whole(self.file, self.text, mode=0o755)
