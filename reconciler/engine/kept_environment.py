"""The environment that ``touch`` overwrites: with secrets in it, only its file has their values, so a copy stays."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from reconciler.host.files import write_whole
from reconciler.host.layout import Layout
from reconciler.host.releases import ENVIRONMENT_MODE
from reconciler.host.sealing import seal_of
from reconciler.model.sealed_environment import sealed_as, sealed_names
from reconciler.model.stage import AppliedStage


def keep_environment(layout: Layout, app: str, vassal: str, applied: AppliedStage) -> None:
    """Copy the environment of the applied release aside, unless an attempt before has overwritten it already."""
    expected = applied.files[f"{app}.env"]
    if not sealed_names(expected):
        return
    text = _text_of(layout.vassals / f"{vassal}.env")
    if text is not None and _sealed(layout, app, expected, text) == expected:
        write_whole(kept_file(layout, vassal), text, mode=ENVIRONMENT_MODE)


def environment_of(layout: Layout, app: str, vassal: str, applied: AppliedStage) -> str | None:
    """The environment file of the applied release, from where it is still found; ``None`` when it is nowhere."""
    expected = applied.files[f"{app}.env"]
    if not sealed_names(expected):
        return expected
    for file in (layout.vassals / f"{vassal}.env", kept_file(layout, vassal)):
        text = _text_of(file)
        if text is not None and _sealed(layout, app, expected, text) == expected:
            return text
    return None


def forget_kept(layout: Layout, app: str, vassal: str, applied: AppliedStage) -> None:
    """Remove the copy once the vassal has the environment of the applied release: it may hold secrets."""
    expected = applied.files[f"{app}.env"]
    text = _text_of(layout.vassals / f"{vassal}.env")
    if not sealed_names(expected) or (text is not None and _sealed(layout, app, expected, text) == expected):
        kept_file(layout, vassal).unlink(missing_ok=True)


def kept_file(layout: Layout, vassal: str) -> Path:
    """Where the copy lies."""
    return layout.vassals / f"{vassal}.env.kept"


def _sealed(layout: Layout, app: str, expected: str, text: str) -> str:
    seal = seal_of(layout.root)
    return sealed_as(expected, text, lambda name, value: seal.hash(app, name, value))


def _text_of(file: Path) -> str | None:
    # as it is: a text file's reader would change line breaks in values
    with suppress(OSError):
        return file.read_bytes().decode("utf-8", "surrogateescape")
    return None
