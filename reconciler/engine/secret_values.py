"""The values of ``spec.secrets``: from encrypted files of the config repository, read from the mirror."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from reconciler.host.git import RepositoryFiles
from reconciler.model.errors import SecretsUnreadable
from reconciler.model.manifest import Manifest
from reconciler.model.object_ids import short
from reconciler.model.secret import Secret

FILE_LIMIT_BYTES = 1024 * 1024
NAMES_SHOWN = 10

_Keys = tuple[str, ...]


@dataclass(slots=True)
class SecretValues:
    """Decrypts with the age key of this host; a file that has not changed is decrypted once."""

    files: RepositoryFiles
    address: str
    key_file: Path
    _files: dict[tuple[str, str], Mapping[_Keys, Secret]] = field(default_factory=dict)
    _object_ids: tuple[str, dict[str, str | None]] = ("", {})

    def object_ids(self, commit: str, manifest: Manifest) -> tuple[tuple[str, str | None], ...]:
        """The files that an app's secrets are in, each with its id at a commit; ``None`` where there is none."""
        files = sorted({reference.partition("#")[0] for reference in manifest.spec.secrets.values()})
        if not files:
            return ()
        if self._object_ids[0] != commit:
            self._object_ids = (commit, {})
        known = self._object_ids[1]
        missing = [file for file in files if file not in known]
        if missing:
            known |= self.files.file_ids(self.address, commit, missing)
        return tuple((file, known[file]) for file in files)

    def values(self, commit: str, manifest: Manifest) -> dict[str, Secret]:
        """The secrets of an app at a commit, by the name of their variable.

        Raises :class:`SecretsUnreadable`, and :class:`HostError` for a key that is missing or that others can read.
        """
        ids = dict(self.object_ids(commit, manifest))
        found: dict[str, Secret] = {}
        for name, reference in manifest.spec.secrets.items():
            file, _, keys = reference.partition("#")
            object_id = ids[file]
            if object_id is None:
                raise SecretsUnreadable(
                    f"the config repository has no file {file} at {short(commit)}, which spec.secrets.{name} names",
                    hint="commit it, or correct the manifest",
                )
            found[name] = _chosen(self._decrypted(file, object_id), tuple(keys.split(".")), file, name)
        return found

    def forget_others(self) -> None:
        """Let go of the values of files that no app names at the commit that was asked for last."""
        kept = self._object_ids[1].items()
        self._files = {place: values for place, values in self._files.items() if place in kept}

    def _decrypted(self, file: str, object_id: str) -> Mapping[_Keys, Secret]:
        from reconciler.host.age_keys import unwrapping  # noqa: PLC0415  only those with secrets need it
        from reconciler.host.sops.files import decrypt_file  # noqa: PLC0415
        from reconciler.host.sops.values import Kind  # noqa: PLC0415

        place = (file, object_id)
        if place not in self._files:
            content = self.files.blobs(self.address, [object_id], limit_bytes=FILE_LIMIT_BYTES)[object_id]
            try:
                decrypted = decrypt_file(file, content, unwrapping(self.key_file))
                self._files[place] = {
                    keys: Secret(value.variable)
                    for keys, value in decrypted.by_keys.items()
                    if value.kind is not Kind.NULL
                }
            except SecretsUnreadable as error:
                hint = error.hint or "correct it with `reconciler secrets edit`, and commit"
                raise SecretsUnreadable(f"the encrypted file {file} {error}", hint=hint) from None
            except UnicodeDecodeError:
                raise SecretsUnreadable(
                    f"the encrypted file {file} has a value of bytes, which no environment can hold",
                    hint="encode it, such as with base64",
                ) from None
        return self._files[place]


def _chosen(values: Mapping[_Keys, Secret], keys: _Keys, file: str, name: str) -> Secret:
    if keys not in values:
        there = sorted(".".join(known) for known in values)
        more = f" and {len(there) - NAMES_SHOWN} more" if len(there) > NAMES_SHOWN else ""
        raise SecretsUnreadable(
            f"the encrypted file {file} has no value {'.'.join(keys)}, which spec.secrets.{name} names",
            hint=f"it has {', '.join(there[:NAMES_SHOWN]) or 'none'}{more}",
        )
    if "\0" in values[keys].reveal():
        raise SecretsUnreadable(
            f"the value {'.'.join(keys)} in {file} has a NUL byte, which no environment can hold",
            hint="encode it, such as with base64",
        )
    return values[keys]
