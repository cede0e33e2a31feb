"""The texts of the package: control file, manual page, changelog, copyright."""

from __future__ import annotations

import ast
import email
import gzip
import importlib.util
import os
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from email.utils import format_datetime
from pathlib import Path

from reconciler.cli.commanding import COMMANDS

RUNS_WITH = ("nginx", "git (>= 1:2.31)", "openssh-client", "ca-certificates", "passwd", "systemd", "dbus")
SUMMARY = "GitOps for Python web apps on nginx and uWSGI"
DESCRIPTION = """\
 An agent that follows a git repository of manifests, and turns every commit
 into running, proven Python web apps on nginx and the uWSGI Emperor. Merging
 deploys, reverting goes back, and a release that does not answer as it should
 never gets a visitor.
 .
 The package has an environment of its own in /usr/lib/reconciler. After its
 installation, "reconciler bootstrap URL" makes the server follow a repository.
"""
LICENCE_KEYS = ("License-Expression", "License")
LONG_LICENCE = 60
"""Some packages have the whole text of their licence in the field for its name."""


def control(version: str, architecture: str, maintainer: str, kib: int, depends: Sequence[str]) -> str:
    """The package's control file; ``kib`` is what it takes on the disk."""
    return (
        f"Package: reconciler\nVersion: {version}\nArchitecture: {architecture}\nMaintainer: {maintainer}\n"
        f"Installed-Size: {kib}\nDepends: {', '.join((*depends, *RUNS_WITH))}\nRecommends: git-lfs\n"
        f"Section: admin\nPriority: optional\nDescription: {SUMMARY}\n{DESCRIPTION}"
    )


def packed(text: str) -> bytes:
    """The text compressed, the same bytes each time."""
    return gzip.compress(text.encode(), 9, mtime=0)


def changelog(version: str, maintainer: str) -> str:
    """Debian's changelog, which leads to ours."""
    when = format_datetime(datetime.fromtimestamp(int(os.environ["SOURCE_DATE_EPOCH"]), UTC))
    return (
        f"reconciler ({version}) stable; urgency=medium\n\n"
        f"  * What has changed is told in /usr/share/doc/reconciler/CHANGELOG.md.gz.\n\n -- {maintainer}  {when}\n"
    )


def manual_page(version: str) -> str:
    """A page that lists every command; each explains its options with ``--help``."""
    date = time.strftime("%Y-%m-%d", time.gmtime(int(os.environ["SOURCE_DATE_EPOCH"])))
    lines = [
        f'.TH RECONCILER 1 "{date}" "reconciler {version}"',
        ".SH NAME",
        f"reconciler \\- {SUMMARY}",
        ".SH SYNOPSIS",
        ".B reconciler\n[\\-c FILE] [\\-\\-debug] COMMAND [ARGUMENTS]",
        ".SH DESCRIPTION",
        *(line[1:] if line != " ." else ".PP" for line in DESCRIPTION.splitlines()),
        ".SH COMMANDS",
        "Each explains itself with \\-\\-help.",
    ]
    for name, sentence in _commands():
        lines += [".TP", f".B {name}", sentence.replace("\\", "\\e").replace("-", "\\-")]
    lines += [
        ".SH FILES",
        ".TP\n.I /etc/reconciler/agent.yaml\nthe configuration of the agent",
        ".TP\n.I /var/lib/reconciler\nthe state: journal, releases, and in shared the data of apps",
        ".TP\n.I /var/log/reconciler\nthe logs of apps, nginx and the Emperor",
        ".SH EXIT STATUS",
        "0 done, or nothing to do; 1 something failed; 2 the command line or agent.yaml is wrong;",
        "3 plan or drift found changes.",
        ".SH SEE ALSO",
        ".BR systemctl (1), nginx (8)",
    ]
    return "\n".join(lines) + "\n"


def copyright_text(root: Path) -> str:
    """Whose work is in the package, and under which licences; their texts lie beside the packages."""
    lines = [
        "The reconciler is licensed under the Apache License, version 2.0, which is in",
        "/usr/share/common-licenses/Apache-2.0 on Debian systems.",
        "",
        "Copyright 2026 the contributors to the reconciler",
        "",
        "Its environment has these packages, each under the licence that it names; the",
        "texts are in the folders *.dist-info in /usr/lib/reconciler:",
        "",
        *sorted(_licences(root)),
    ]
    return "\n".join(lines) + "\n"


def _licences(root: Path) -> Iterator[str]:
    for file in root.rglob("*.dist-info/METADATA"):
        message = email.message_from_string(file.read_text("utf-8"))
        names = [text for key in LICENCE_KEYS if (text := str(message.get(key, "")))]
        classified = [
            text.rpartition(" :: ")[2] for text in message.get_all("Classifier", []) if text.startswith("License ::")
        ]
        fitting = [text for text in names if "\n" not in text and len(text) < LONG_LICENCE]
        yield f"  {message['Name']} {message['Version']}: {(fitting or classified or ['see there'])[0]}"


def _commands() -> Iterator[tuple[str, str]]:
    """Every command with the first sentence of its help."""
    for name, place in COMMANDS.items():
        module, _, function = place.partition(":")
        found = importlib.util.find_spec(module)
        assert found is not None
        assert found.origin is not None
        tree = ast.parse(Path(found.origin).read_text("utf-8"))
        body = next(node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == function)
        yield name, " ".join((ast.get_docstring(body) or "").partition("\n\n")[0].split())
