"""Start a config repository."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

import typer


def command(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A folder that is new or empty.")],
) -> int:
    """Make a config repository to start from; overwrite nothing."""
    from reconciler.cli.output import write_lines, write_notes  # noqa: PLC0415  pydantic is not needed before
    from reconciler.cli.scaffolding import scaffold  # noqa: PLC0415
    from reconciler.cli.views.failures import hint_line, warning_line  # noqa: PLC0415
    from reconciler.cli.views.lines import Part, Style, indented, line  # noqa: PLC0415

    made = scaffold(folder)
    place = shlex.quote(str(folder))
    write_lines([line(f"Made a config repository in {folder} with {len(made.files)} files. Next:"), ()])
    if made.uncommitted is not None:
        write_notes([
            warning_line(f"nothing is committed: {made.uncommitted}"),
            hint_line(f"only commits are deployed: git -C {place} add . && git -C {place} commit -m 'First app'"),
        ])  # fmt: skip
    here = folder.resolve() == Path.cwd()
    commands = [*([] if here else [f"cd {place}"]), "reconciler -c agent.yaml once"]
    write_lines([*indented([line(Part(command, Style.HINT)) for command in commands]), ()])
    return 0
