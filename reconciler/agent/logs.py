"""The one place that configures structlog: JSON to a pipe or the journal, readable lines on a terminal."""

from __future__ import annotations

import logging
import os
import sys
from contextlib import suppress
from typing import TextIO, cast

import structlog

from reconciler.model.secret import masked_within


class Unfailing:
    """A stream for logs: a full disk, or a reader that went away, loses lines and ends no pass."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Write, or lose it."""
        with suppress(OSError):
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        """Flush, or lose it."""
        with suppress(OSError):
            self._stream.flush()


def configure_logs(level: int = logging.INFO) -> None:
    """Send log lines to standard error; ``level`` is one of :mod:`logging`'s."""
    terminal = sys.stderr.isatty()
    stream = cast(TextIO, Unfailing(sys.stderr))
    shared: list[structlog.types.Processor] = [
        _without_secrets,
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="%H:%M:%S" if terminal else "iso", utc=not terminal),
    ]
    if terminal:
        tail: list[structlog.types.Processor] = [structlog.dev.ConsoleRenderer(colors=not os.environ.get("NO_COLOR"))]
    else:
        tail = [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
    structlog.configure(
        processors=[*shared, *tail],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.PrintLoggerFactory(stream),
        cache_logger_on_first_use=False,
    )
    # APScheduler and watchdog log through the standard library; only what goes wrong is of interest
    handler = logging.StreamHandler(stream)
    remove = structlog.stdlib.ProcessorFormatter.remove_processors_meta
    handler.setFormatter(structlog.stdlib.ProcessorFormatter(foreign_pre_chain=shared, processors=[remove, *tail]))
    logging.basicConfig(level=logging.ERROR, handlers=[handler])


def _without_secrets(_logger: object, _name: str, event: structlog.types.EventDict) -> structlog.types.EventDict:
    """Mask the values of all secrets that this process holds, wherever they are in an event."""
    return {key: masked_within(value) for key, value in event.items()}
