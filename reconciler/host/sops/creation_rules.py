"""``.sops.yaml``: for whom the files of a repository are encrypted."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from reconciler.host.sops.metadata import DEFAULT_RULE, Rule
from reconciler.model.errors import UsageError
from reconciler.model.yaml_reading import read_documents

NAME = ".sops.yaml"

_RULES = ("unencrypted_suffix", "encrypted_suffix", "unencrypted_regex", "encrypted_regex")
_OTHERS = ("kms", "aws_profile", "gcp_kms", "azure_keyvault", "hc_vault_transit_uri", "pgp", "shamir_threshold",
           "unencrypted_comment_regex", "encrypted_comment_regex")  # fmt: skip


@dataclass(frozen=True, slots=True)
class Creation:
    """How a new file is encrypted."""

    recipients: tuple[str, ...]
    rule: Rule = DEFAULT_RULE
    only_encrypted: bool = False


def creation_for(file: Path) -> Creation | None:
    """What the nearest ``.sops.yaml`` above a file says of it; ``None`` where there is none.

    Raises :class:`UsageError` when it has no rule for the file, or one that is not understood.
    """
    for folder in file.absolute().parents:
        rules = folder / NAME
        if rules.is_file():
            return _first(rules, str(file.absolute().relative_to(folder)))
    return None


def _first(rules: Path, name: str) -> Creation:
    documents = read_documents(rules.read_bytes(), file=str(rules))
    if documents.problems or not documents.documents or documents.documents[0].problems:
        raise UsageError(f"{rules} cannot be read", hint="it is YAML with the key creation_rules")
    data = documents.documents[0].data
    entries = data.get("creation_rules") if isinstance(data, dict) else None
    for entry in entries if isinstance(entries, list) else []:
        if isinstance(entry, dict) and _matches(rules, str(entry.get("path_regex") or ""), name):
            return _creation(rules, entry)
    raise UsageError(f"{rules} has no rule for {name}", hint="add one to creation_rules, or give --recipient")


def _matches(rules: Path, pattern: str, name: str) -> bool:
    try:
        return re.search(pattern, name) is not None
    except re.error as error:
        raise UsageError(f"{rules} has a path_regex that is no pattern: {error}") from None


def _creation(rules: Path, entry: Mapping[str, Any]) -> Creation:
    other = [key for key in _OTHERS if entry.get(key)]
    groups = entry.get("key_groups") or []
    keys = groups[0] if isinstance(groups, list) and len(groups) == 1 and isinstance(groups[0], dict) else {}
    if other or (groups and list(keys) != ["age"]):
        raise UsageError(
            f"{rules} asks for {other[0] if other else 'key_groups'} in a rule, and only age is supported",
            hint="encrypt the file with sops, and for an age key of each host too",
        )
    ages = keys.get("age") or entry.get("age") or ""
    listed = ages if isinstance(ages, list) else str(ages).split(",")
    recipients = tuple(dict.fromkeys(str(item).strip() for item in listed if str(item).strip()))
    if not recipients:
        raise UsageError(f"{rules} has a rule without an age key", hint="add the recipients under the key age")
    rule = next((Rule(name, str(entry[name])) for name in _RULES if entry.get(name)), DEFAULT_RULE)
    return Creation(recipients, rule, entry.get("mac_only_encrypted") is True)
