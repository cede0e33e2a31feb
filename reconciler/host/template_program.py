"""The program that renders a site template of the config repository, run as a process of its own.

Own process, because a template is a program: Jinja2's sandbox keeps it from files and from Python, and nothing but
the kernel keeps a loop from running on, or a text from growing, without end.

Standard input: a JSON object with ``template``, ``context`` and ``name``. Standard output: one with ``text``, or with
the ``error`` and its ``hint``.
"""

from __future__ import annotations

import json
import resource
import sys

from reconciler.model.errors import StageFailed
from reconciler.model.rendering import render

MEMORY_BYTES = 512 * 1024 * 1024
CPU_SECONDS = 5
"""A template of a thousand lines takes a hundredth of a second."""


def main() -> None:
    """Render what standard input holds."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CPU, (CPU_SECONDS, CPU_SECONDS))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    asked = json.load(sys.stdin)
    try:
        answer = {"text": render(asked["template"], asked["context"], name=asked["name"])}
    except StageFailed as error:
        answer = {"error": str(error), "hint": error.hint or ""}
    json.dump(answer, sys.stdout)


if __name__ == "__main__":
    main()
