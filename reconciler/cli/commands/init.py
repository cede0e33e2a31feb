"""Start a config repository, or a server that follows one."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from reconciler.cli.pairs import pairs
from reconciler.model.errors import UsageError

if TYPE_CHECKING:
    from reconciler.cli.first_booting import Made

MAIN = "main"
LABEL, VARIABLE = "role=web", "UV_DEFAULT_INDEX=https://pypi.example.com/simple"
"""Examples of pairs."""


Folder = Annotated[Path | None, typer.Argument(metavar="DIR", help="A folder that is new or empty.")]
CloudInit = Annotated[
    bool, typer.Option("--cloud-init", help="Print user-data for a new server instead; the options are for that.")
]
Repository = Annotated[
    str | None, typer.Option("--repository", metavar="ADDRESS", help="The config repository that it follows.")
]
Branch = Annotated[str, typer.Option("--branch", metavar="NAME", help="The branch that is deployed.")]
Labels = Annotated[
    list[str] | None, typer.Option("--label", metavar="KEY=VALUE", help="A label of the server; may be repeated.")
]
AgentFile = Annotated[
    Path | None, typer.Option("--agent", metavar="FILE", help="A whole agent.yaml, in place of those three.")
]
Package = Annotated[
    str | None,
    typer.Option("--package", metavar="PLACE", help="A .deb or .whl: an address, or a path on the server."),
]
DeployKey = Annotated[
    Path | None,
    typer.Option("--deploy-key", metavar="FILE", help="A private ssh key to embed; else the server makes one."),
]
KnownHosts = Annotated[
    Path | None,
    typer.Option("--known-hosts", metavar="FILE", help="Keys of ssh servers to trust; else yours of this one."),
]
HostKey = Annotated[
    str | None,
    typer.Option("--host-key", metavar="SHA256:…", help="The fingerprint that the ssh server's owner publishes."),
]
Variables = Annotated[
    list[str] | None,
    typer.Option("--env", metavar="NAME=VALUE", help="A proxy or package index; may be repeated."),
]


def command(
    folder: Folder = None,
    cloud_init: CloudInit = False,
    repository: Repository = None,
    branch: Branch = MAIN,
    labels: Labels = None,
    agent: AgentFile = None,
    package: Package = None,
    deploy_key: DeployKey = None,
    known_hosts: KnownHosts = None,
    host_key: HostKey = None,
    variables: Variables = None,
) -> int:
    """Make a config repository, or user-data for a server.

    Overwrites nothing."""
    if cloud_init:
        if folder is not None:
            raise UsageError(f"--cloud-init makes no folder such as {folder}", hint="leave out DIR")
        from reconciler.cli.first_booting import Asked, make  # noqa: PLC0415  pydantic is not needed before

        asked = Asked(
            repository, branch, pairs("--label", labels, LABEL), agent, package, deploy_key, known_hosts, host_key,
            pairs("--env", variables, VARIABLE),
        )  # fmt: skip
        return _print(make(asked))
    for_server = {
        "--repository": repository, "--branch": branch if branch != MAIN else None, "--label": labels,
        "--agent": agent, "--package": package, "--deploy-key": deploy_key, "--known-hosts": known_hosts,
        "--host-key": host_key, "--env": variables,
    }  # fmt: skip
    given = [name for name, value in for_server.items() if value]
    if given:
        raise UsageError(f"{given[0]} is for user-data", hint="add --cloud-init, or leave it out")
    if folder is None:
        raise UsageError("missing argument 'DIR'", hint="name a folder that is new or empty, or write --cloud-init")
    return _scaffold(folder)


def _print(made: Made) -> int:
    """The user-data and nothing else on standard output."""
    from reconciler.cli.output import write_notes  # noqa: PLC0415
    from reconciler.cli.views.failures import hint_line, warning_line  # noqa: PLC0415

    sys.stdout.write(made.text)
    write_notes([*map(warning_line, made.warnings), *map(hint_line, made.hints)])
    return 0


def _scaffold(folder: Path) -> int:
    from reconciler.cli.output import write_lines, write_notes  # noqa: PLC0415
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
