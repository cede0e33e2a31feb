"""What differs from the applied state, with the difference itself."""

from __future__ import annotations

from collections.abc import Sequence

from reconciler.cli.views.lines import Line, Part, Style, indented, line, styled
from reconciler.cli.views.words import counted, diff_lines
from reconciler.engine.drift import Drift
from reconciler.model.stage import DifferenceKind

KIND_WORDS = {
    DifferenceKind.MODIFIED: "was modified",
    DifferenceKind.MISSING: "is missing",
    DifferenceKind.EXTRA: "was put there by someone else",
    DifferenceKind.MODE: "has another mode",
    DifferenceKind.LINK: "leads elsewhere",
}


def drift_lines(rows: Sequence[Drift], apps: int) -> list[Line]:
    """Every difference, and a sentence at the end; ``apps`` is how many apps were looked at."""
    lines: list[Line] = []
    for row in rows:
        head = line(
            Part("! ", Style.WARNING), Part(f"{row.app} {row.stage.value}", Style.HEADING),
            f"  {row.path} {KIND_WORDS[row.kind]}",
        )  # fmt: skip
        lines += [head, *indented(diff_lines(row.diff), 2), ()]
    if not rows:
        verb = "is" if apps == 1 else "are"
        return [styled(f"No drift. {counted(apps, 'app')} {verb} as applied.", Style.HEADING)]
    touched = counted(len({row.app for row in rows}), "app")
    ending = f" {counted(len(rows), 'difference')} in {touched}."
    return [*lines, line(Part("Drift:", Style.HEADING), ending)]
