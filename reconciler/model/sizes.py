"""Sizes as people read them."""

from __future__ import annotations


def readable(size: int) -> str:
    """Bytes as people read them: ``12.3 MiB``."""
    value = float(size)
    for unit in ("bytes", "KiB", "MiB"):
        if value < 1024:
            return f"{value:.0f} {unit}" if unit == "bytes" else f"{value:.1f} {unit}"
        value /= 1024
    return f"{value:.1f} GiB"
