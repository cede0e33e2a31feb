"""JSON Schema for editors and CI."""

from __future__ import annotations

from typing import Annotated

import typer


def command(
    agent: Annotated[
        bool, typer.Option("--agent", help="The schema of agent.yaml in place of the manifest's.")
    ] = False,
) -> int:
    """Print the JSON Schema of manifests, or of agent.yaml."""
    from reconciler.cli.output import write_json  # noqa: PLC0415  pydantic is not needed to refuse options

    if agent:
        from reconciler.model.configuration_reading import configuration_schema  # noqa: PLC0415

        write_json(configuration_schema())
    else:
        from reconciler.model.manifest_reading import manifest_schema  # noqa: PLC0415

        write_json(manifest_schema())
    return 0
