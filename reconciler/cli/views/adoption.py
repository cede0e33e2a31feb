"""What was made of a hand-made server's files, and every line of them that was not carried over."""

from __future__ import annotations

from typing import TYPE_CHECKING

from reconciler.cli.views.lines import Line, Part, Style, indented, line, styled
from reconciler.cli.views.words import counted

if TYPE_CHECKING:
    from reconciler.cli.adopting import Adoption


def adoption_lines(adoption: Adoption) -> list[Line]:
    """The files, then one line for each setting that is left out."""
    made = [styled(f"Wrote {' and '.join(adoption.files)}.", Style.HEADING)]
    if not adoption.left:
        return [*made, styled("Everything is carried over.", Style.GOOD)]
    heading = line(Part("Not carried over:", Style.WARNING), f" {counted(len(adoption.left), 'setting')}")
    return [*made, (), heading, *indented(line(str(one)) for one in adoption.left)]
