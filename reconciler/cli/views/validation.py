"""The mistakes of manifests, one a line, in the form that editors and CI turn into links."""

from __future__ import annotations

from typing import TYPE_CHECKING

from reconciler.cli.views.lines import Line, Part, Style, line, styled
from reconciler.cli.views.words import counted

if TYPE_CHECKING:
    from reconciler.cli.validating import Validation


def validation_lines(validation: Validation) -> list[Line]:
    """Every mistake as ``file:line: field: message``, and a sentence at the end."""
    files = counted(validation.files, "file")
    if not validation.problems:
        return [styled(f"Valid: {counted(validation.apps, 'app')} in {files}.", Style.HEADING)]
    lines = [line(str(problem)) for problem in validation.problems]
    count = counted(len(validation.problems), "problem")
    return [*lines, (), line(Part("Invalid:", Style.BAD), f" {count} in {files}.")]
