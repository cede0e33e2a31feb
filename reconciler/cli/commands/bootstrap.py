"""Make a blank server ready."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from reconciler.cli.pairs import pairs


def command(
    context: typer.Context,
    url: Annotated[str, typer.Argument(metavar="URL", help="The config repository: https, ssh or user@host:path.")],
    branch: Annotated[str, typer.Option("--branch", metavar="NAME", help="The branch that is deployed.")] = "main",
    labels: Annotated[
        list[str] | None,
        typer.Option("--label", metavar="KEY=VALUE", help="A label that spec.placement asks for; may be repeated."),
    ] = None,
    identity: Annotated[
        Path | None,
        typer.Option("--identity", metavar="FILE", help="A private ssh key to use in place of a new one."),
    ] = None,
    host_key: Annotated[
        str | None,
        typer.Option("--host-key", metavar="SHA256:…", help="The fingerprint that the ssh server's owner publishes."),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be done, and change nothing.")] = False,
) -> int:
    """Make a blank server ready, and run the first pass.

    For Debian and Ubuntu. Run again, it changes nothing."""
    from reconciler.cli.bootstrapping import bootstrap  # noqa: PLC0415  not needed to refuse options
    from reconciler.host.bootstrapping.plan import Wanted  # noqa: PLC0415
    from reconciler.host.bootstrapping.ssh_access import refuse_no_fingerprint  # noqa: PLC0415

    refuse_no_fingerprint(host_key)
    wanted = Wanted(url, branch, pairs("--label", labels, "role=web"), identity, host_key)
    return bootstrap(context, wanted, dry_run=dry_run)
