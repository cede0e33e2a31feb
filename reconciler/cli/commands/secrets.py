"""Make, show and change encrypted files."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from reconciler.cli.invocation import invocation_of


class SecretsAction(StrEnum):
    """What is done."""

    KEYGEN = "keygen"
    ENCRYPT = "encrypt"
    EDIT = "edit"
    SHOW = "show"


def command(
    context: typer.Context,
    action: Annotated[SecretsAction, typer.Argument(metavar="ACTION", help="keygen, encrypt, edit or show.")],
    file: Annotated[Path | None, typer.Argument(metavar="[FILE]", help="The file; its ending is its format.")] = None,
    recipient: Annotated[
        list[str] | None,
        typer.Option("--recipient", metavar="AGE1", help="Encrypt for this key; else as .sops.yaml says."),
    ] = None,
    age_key: Annotated[
        Path | None,
        typer.Option("--age-key", metavar="FILE", help="The age key; else $SOPS_AGE_KEY_FILE, else agent.yaml's."),
    ] = None,
) -> int:
    """Make an age key; encrypt, edit or show a file of secrets.

    Files are those of the program sops."""
    from reconciler.cli.output import write_lines  # noqa: PLC0415  not needed to refuse options
    from reconciler.cli.secret_editing import Vault, required  # noqa: PLC0415
    from reconciler.cli.views.lines import line  # noqa: PLC0415

    vault = Vault(invocation_of(context), age_key, tuple(recipient or ()))
    if action is SecretsAction.KEYGEN:
        public = vault.make_key()
        write_lines([line(f"Made {vault.key_file}, which only this account can read."), line(f"Recipient: {public}")])
    elif action is SecretsAction.SHOW:
        vault.show(required(file, action))
    elif action is SecretsAction.ENCRYPT:
        vault.encrypt(required(file, action))
        write_lines([line(f"Encrypted {file}; commit it.")])
    else:
        changed = vault.edit(required(file, action))
        write_lines([line(f"Wrote {file}; commit it." if changed else f"{file} is as it was.")])
    return 0
