"""Check manifests before they are merged."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from reconciler.cli.invocation import invocation_of

INVALID_STATUS = 1


def command(
    context: typer.Context,
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="The config repository, or a folder of manifests.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> int:
    """Check manifests: every mistake with file, line and field.

    Exit status 1: there are mistakes."""
    from reconciler.cli.output import write_json, write_lines  # noqa: PLC0415  pydantic is not needed before
    from reconciler.cli.validating import validate  # noqa: PLC0415
    from reconciler.cli.views.validation import validation_lines  # noqa: PLC0415

    invocation = invocation_of(context)
    # without a file of an agent's, what an agent would refuse by default is refused
    known = invocation.installation().configuration.allow.uwsgi_options if invocation.config is not None else ()
    validation = validate(folder, known)
    if as_json:
        write_json(validation.as_json())
    else:
        write_lines(validation_lines(validation))
    return INVALID_STATUS if validation.problems else 0
