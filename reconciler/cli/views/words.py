"""The words for what the engine names by enums, and the shapes that several views share."""

from __future__ import annotations

from collections.abc import Iterable

from reconciler.cli.views.lines import Line, Style, styled
from reconciler.model import object_ids
from reconciler.model.stage import Action, Reason

REASON_WORDS = {
    Reason.NEVER_APPLIED: "never applied",
    Reason.INPUT_CHANGED: "an input changed",
    Reason.UPSTREAM_CHANGED: "a stage before it changed",
    Reason.OUTPUT_MISSING: "its output is missing",
    Reason.DRIFTED: "it drifted",
    Reason.REMOVED: "its manifest is gone",
    Reason.FORCED: "asked for by a person",
}

SYMBOLS = {Action.NONE: "=", Action.CREATE: "+", Action.UPDATE: "~", Action.DELETE: "-"}
ACTION_STYLES = {
    Action.NONE: Style.FAINT,
    Action.CREATE: Style.ADDED,
    Action.UPDATE: Style.CHANGED,
    Action.DELETE: Style.REMOVED,
}


def short(commit: str | None) -> str | None:
    """A commit as git shows it."""
    return object_ids.short(commit) if commit else None


def counted(number: int, noun: str) -> str:
    """``1 app``, ``2 apps``."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def reason_words(reasons: Iterable[str]) -> str:
    """Reasons in words, joined."""
    return ", ".join(REASON_WORDS[Reason(reason)] for reason in reasons)


def diff_lines(diff: str) -> list[Line]:
    """A unified diff; added and removed lines are told apart by their sign, and by colour where there is any."""
    return [styled(text, _diff_style(text)) for text in diff.splitlines()]


def _diff_style(text: str) -> Style:
    if text.startswith(("+++ ", "--- ")):
        return Style.HEADING
    if text.startswith("@@"):
        return Style.HINT
    if text.startswith("+"):
        return Style.ADDED
    return Style.REMOVED if text.startswith("-") else Style.PLAIN
