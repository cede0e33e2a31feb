"""The one place that configures structlog: JSON to a pipe or the journal, readable lines on a terminal."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Mapping
from contextlib import suppress
from typing import TextIO, cast

import structlog

from reconciler.host import reporting
from reconciler.host.git_addresses import masked
from reconciler.model.configuration import LogLevel
from reconciler.model.printable import printable
from reconciler.model.secret import masked_within

FRONT = ("timestamp", "level", "event")
"""What every line begins with."""


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


_level = LogLevel.INFO
"""What agent.yaml asks for,"""
_now = LogLevel.INFO
"""and what SIGUSR1 has made of it."""


def configure_logs(level: LogLevel = LogLevel.INFO) -> None:
    """Send log lines to standard error, those of ``level`` and above, and hear what the lower layers report."""
    terminal = sys.stderr.isatty()
    stream = cast(TextIO, Unfailing(sys.stderr))
    shared: list[structlog.types.Processor] = [
        _with_what_is_bound,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="%H:%M:%S" if terminal else "iso", utc=not terminal),
        structlog.processors.format_exc_info,
        _without_secrets,
        _without_credentials,
    ]
    if terminal:
        colours = not os.environ.get("NO_COLOR")
        tail: list[structlog.types.Processor] = [_without_commands, structlog.dev.ConsoleRenderer(colors=colours)]
    else:
        tail = [_front_first, structlog.processors.JSONRenderer(default=str)]
    structlog.configure(
        processors=[*shared, *tail],
        logger_factory=structlog.PrintLoggerFactory(stream),
        cache_logger_on_first_use=False,
    )
    set_level(level)
    reporting.listen(_heard)
    # APScheduler and watchdog log through the standard library; only what goes wrong is of interest
    handler = logging.StreamHandler(stream)
    remove = structlog.stdlib.ProcessorFormatter.remove_processors_meta
    formatter = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=[structlog.stdlib.add_logger_name, _as_library, *shared], processors=[remove, *tail]
    )
    handler.setFormatter(formatter)
    logging.basicConfig(level=logging.ERROR, handlers=[handler])


def _without_secrets(_logger: object, _name: str, event: structlog.types.EventDict) -> structlog.types.EventDict:
    """Mask the values of all secrets that this process holds, wherever they are in an event."""
    return {key: masked_within(value) for key, value in event.items()}


def set_level(level: LogLevel) -> None:
    """Log what is of ``level`` or above from now on, as agent.yaml asks for."""
    global _level  # noqa: PLW0603  the log is one, as standard error is
    _level = level
    _use(level)


def toggle_debug() -> None:
    """Log everything, or again what agent.yaml asks for; says so."""
    before = _now
    quieter = LogLevel.INFO if _level is LogLevel.DEBUG else _level
    after = quieter if before is LogLevel.DEBUG else LogLevel.DEBUG
    # said while everything is said
    _use(LogLevel.DEBUG)
    structlog.get_logger().info("log_level_changed", before=before.value, after=after.value)
    _use(after)


def _use(level: LogLevel) -> None:
    global _now  # noqa: PLW0603
    _now = level
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(level.value))


def _heard(level: str, event: str, fields: Mapping[str, object]) -> None:
    getattr(structlog.get_logger(), level)(event, **fields)


def _with_what_is_bound(_logger: object, _method: str, line: structlog.types.EventDict) -> structlog.types.EventDict:
    return {**reporting.bound(), **line}


def _as_library(_logger: object, _method: str, line: structlog.types.EventDict) -> structlog.types.EventDict:
    return {**line, "event": "library_said", "note": line["event"]}


def _without_credentials(_logger: object, _method: str, line: structlog.types.EventDict) -> structlog.types.EventDict:
    return {name: masked(value) if isinstance(value, str) else value for name, value in line.items()}


def _without_commands(_logger: object, _method: str, line: structlog.types.EventDict) -> structlog.types.EventDict:
    """What a commit or a program says must not steer the terminal."""
    return {name: printable(value) if isinstance(value, str) else value for name, value in line.items()}


def _front_first(_logger: object, _method: str, line: structlog.types.EventDict) -> structlog.types.EventDict:
    return {**{name: line[name] for name in FRONT if name in line}, **line}
