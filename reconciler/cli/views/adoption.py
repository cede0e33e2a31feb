"""What was made of a hand-made server's files, and every line of them that was not carried over."""

from __future__ import annotations

from typing import TYPE_CHECKING

from reconciler.cli.views.lines import Line, Part, Style, indented, line, styled
from reconciler.cli.views.words import counted

if TYPE_CHECKING:
    from reconciler.cli.adopting import Adoption

SYSTEM_STATE = "/var/lib/reconciler"


def adoption_lines(adoption: Adoption, *, changed: bool = True) -> list[Line]:
    """The files, what to copy, then one line for each setting left out: first those that ask for a decision."""
    files = " and ".join(adoption.files)
    made = styled(f"Wrote {files}." if changed else f"Nothing to do: {files} already say this.", Style.HEADING)
    lines = [made]
    if adoption.moves:
        lines += [(), line(Part("Copy before you move:", Style.WARNING), " what the app has written")]
        where = f"in the state folder, which is {SYSTEM_STATE} on a server"
        lines += indented(line(f"{old} to {new} {where}") for old, new in adoption.moves)
    if not adoption.left:
        return [*lines, styled("Everything is carried over.", Style.GOOD)]
    groups = (("Not carried over:", Style.WARNING, False), ("Not needed here:", Style.HEADING, True))
    for heading, style, done in groups:
        some = [one for one in adoption.left if one.is_done is done]
        if some:
            lines += [(), line(Part(heading, style), f" {counted(len(some), 'setting')}")]
            lines += indented(line(str(one)) for one in some)
    return lines
