"""Unified diffs of text files."""

from __future__ import annotations


def unified(old: str, new: str, name: str) -> str:
    """A unified diff from ``old`` to ``new``; empty when they are equal."""
    if old == new:
        return ""
    import difflib  # noqa: PLC0415  most passes have nothing to show

    lines = difflib.unified_diff(
        old.splitlines(),
        new.splitlines(),
        f"a/{name}" if old else "/dev/null",
        f"b/{name}" if new else "/dev/null",
        lineterm="",
        n=2,
    )
    text = "\n".join(lines)
    return text or f"--- a/{name}\n+++ b/{name}\n(only line endings differ)"
