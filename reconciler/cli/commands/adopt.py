"""From a hand-made server to a manifest."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def command(
    uwsgi: Annotated[Path, typer.Argument(metavar="INI", help="uWSGI's ini file of the app.")],
    repository: Annotated[
        str, typer.Option("--repository", metavar="ADDRESS", help="The git repository with the app's code.")
    ],
    site: Annotated[Path | None, typer.Option("--site", metavar="FILE", help="nginx's file with the site.")] = None,
    directory: Annotated[
        str, typer.Option("--directory", metavar="DIR", help="The app's folder in its repository.")
    ] = ".",
    name: Annotated[str | None, typer.Option("--name", help="The app's name; else from the file's.")] = None,
    module: Annotated[
        str | None,
        typer.Option("--module", metavar="MODULE:CALLABLE", help="The app, where INI does not say it."),
    ] = None,
    at: Annotated[
        str | None, typer.Option("--at", metavar="PATH", help="Where INI lies on its server, if it is a copy.")
    ] = None,
    into: Annotated[Path, typer.Option("--into", metavar="DIR", help="The config repository.")] = Path(),
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object, and write nothing.")] = False,
) -> int:
    """Make a manifest from a hand-made site.

    Lists every setting of the two files that it does not carry over. What serves is not touched."""
    from reconciler.cli.adopting import Request, adopt, write  # noqa: PLC0415  pydantic is not needed before
    from reconciler.cli.output import write_json, write_lines  # noqa: PLC0415
    from reconciler.cli.views.adoption import adoption_lines  # noqa: PLC0415

    adoption = adopt(Request(uwsgi, site, repository, directory, name, module, at))
    if as_json:
        write_json(adoption.as_json())
        return 0
    changed = write(adoption, into)
    write_lines(adoption_lines(adoption, changed=changed))
    return 0
