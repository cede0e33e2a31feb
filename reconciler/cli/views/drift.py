"""What differs from the applied state, with the difference itself."""

from __future__ import annotations

from collections.abc import Sequence

from reconciler.cli.views.lines import Line, Part, Style, indented, line, styled
from reconciler.cli.views.words import counted, diff_lines
from reconciler.engine.drift import Drift
from reconciler.engine.drifting import KIND_WORDS
from reconciler.model.stage import Difference
from reconciler.model.times import local_time

NOBODY = "(nobody)"


def drift_lines(rows: Sequence[Drift], apps: int) -> list[Line]:
    """Every difference, and a sentence at the end; ``apps`` is how many apps were looked at."""
    lines: list[Line] = []
    for row in rows:
        head = line(
            Part("! ", Style.WARNING), Part(f"{row.app or NOBODY} {row.stage.value}", Style.HEADING),
            f"  {row.path} {KIND_WORDS[row.difference.kind]}{_whose(row.difference)}",
        )  # fmt: skip
        lines += [head, *indented(diff_lines(row.difference.diff), 2), ()]
    if not rows:
        verb = "is" if apps == 1 else "are"
        return [styled(f"No drift. {counted(apps, 'app')} {verb} as applied.", Style.HEADING)]
    touched = counted(len({row.app for row in rows}), "app")
    ending = f" {counted(len(rows), 'difference')} in {touched}."
    return [*lines, line(Part("Drift:", Style.HEADING), ending)]


def _whose(difference: Difference) -> str:
    """Whose file it is, and when it changed, as far as that is known."""
    parts = [f"of {difference.owner}"] if difference.owner is not None else []
    parts += [f"changed {local_time(difference.changed_at)}"] if difference.changed_at is not None else []
    return f" ({', '.join(parts)})" if parts else ""
