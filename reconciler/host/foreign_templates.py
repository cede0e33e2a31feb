"""Site templates that somebody else wrote: rendered in a process with limits of time and memory."""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Mapping
from functools import lru_cache

from reconciler.host import template_program
from reconciler.host.processes import run
from reconciler.model.errors import CommandFailed, CommandTimedOut, HostError, StageFailed

RENDER_SECONDS = 30.0
SITE_BYTES = 1024 * 1024
"""The longest site file; nginx reads all of them at every reload."""
REMEMBERED = 256


def render_apart(template: str, context: Mapping[str, object], *, name: str) -> str:
    """The text that a template gives for plain data; raises :class:`StageFailed` as :func:`render` does, and for a
    template that takes too long, too much memory, or gives too much.
    """
    return _rendered(json.dumps({"template": template, "context": dict(context), "name": name}), name)


@lru_cache(maxsize=REMEMBERED)
def _rendered(asked: str, name: str) -> str:
    program = [sys.executable, "-P", "-m", template_program.__name__]
    try:
        result = run(program, timeout=RENDER_SECONDS, stdin=asked.encode(), what="the program for templates")
    except CommandTimedOut:
        # the host is busy: the limit of what a template itself may take is another one, and much lower
        raise
    except CommandFailed as error:
        if error.status not in (-signal.SIGKILL, -signal.SIGXCPU) and "MemoryError" not in error.tail:
            raise HostError(
                f"no template can be rendered: {error}", hint="install the reconciler anew; no template is at fault"
            ) from error
        raise StageFailed(
            f"the template {name} does not end within {template_program.CPU_SECONDS} s and "
            f"{template_program.MEMORY_BYTES // 1024**2} MiB",
            hint="correct the template in the config repository",
            tail=error.tail,
        ) from error
    answer: dict[str, str] = json.loads(result.stdout)
    if "error" in answer:
        raise StageFailed(answer["error"], hint=answer["hint"])
    if len(answer["text"]) > SITE_BYTES:
        raise StageFailed(
            f"the template {name} gives {len(answer['text']):,} characters, and {SITE_BYTES:,} are the limit",
            hint="correct the template in the config repository",
        )
    return answer["text"]
