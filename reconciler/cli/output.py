"""Writing to the two streams: data on standard output, everything else on standard error."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable
from contextlib import suppress
from typing import TextIO

from reconciler.cli.views.lines import Line, coloured, plain


def colour_wanted(stream: TextIO) -> bool:
    """Whether a stream is a terminal that takes colours and nobody asked for none (https://no-color.org)."""
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def write_lines(lines: Iterable[Line], stream: TextIO | None = None) -> None:
    """Write lines to standard output, or to another stream."""
    target = sys.stdout if stream is None else stream
    render = coloured if colour_wanted(target) else plain
    target.write("".join(f"{render(parts)}\n" for parts in lines))
    target.flush()


def write_notes(lines: Iterable[Line]) -> None:
    """Write lines for people to standard error; nothing fails because nobody reads them any more."""
    with suppress(OSError):
        write_lines(lines, sys.stderr)


def write_json(value: object) -> None:
    """Write one JSON document to standard output."""
    sys.stdout.write(json.dumps(value, indent=2, ensure_ascii=True) + "\n")
    sys.stdout.flush()
