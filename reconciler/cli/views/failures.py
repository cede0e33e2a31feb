"""Errors, hints and warnings. Imported by every command that fails, so it needs nothing but the errors themselves."""

from __future__ import annotations

from reconciler.cli.views.lines import Line, Part, Style, line, text_lines
from reconciler.model.errors import ManifestError, ReconcilerError


def error_lines(error: ReconcilerError) -> list[Line]:
    """``error:`` and ``hint:``; a manifest's problems one a line."""
    if isinstance(error, ManifestError):
        lines = [_error(str(problem)) for problem in error.problems]
    else:
        lines = [_error(str(error))]
    if error.hint:
        lines.append(hint_line(error.hint))
    return lines


def error_with_tail(error: ReconcilerError) -> list[Line]:
    """The error, its hint, and the end of what the failing program printed, set off by a bar."""
    tail = getattr(error, "tail", "")
    # a program that said one thing is quoted by the sentence already
    return [*error_lines(error), *([] if tail.strip() in str(error) else tail_lines(tail))]


def tail_lines(tail: str) -> list[Line]:
    """The end of a log, each line behind a bar so that nobody takes it for words of the reconciler."""
    return [line(Part("| ", Style.FAINT), *parts) for parts in text_lines(tail)]


def hint_line(hint: str) -> Line:
    """The next action."""
    return line(Part("hint:", Style.HINT), f" {hint}")


def warning_line(message: str) -> Line:
    """Something that is no error."""
    return line(Part("warning:", Style.WARNING), f" {message}")


def _error(message: str) -> Line:
    return line(Part("error:", Style.BAD), f" {message}")
