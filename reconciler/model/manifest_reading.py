"""From the text of manifests to apps: every mistake of every file, and which apps it holds.

A manifest with a mistake holds its own app: what runs stays as it is, and the app counts neither as wanted nor as
removed. Where a mistake hides which app it is about, ``unnamed_problems`` says so, and nothing may be removed.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

from pydantic import TypeAdapter, ValidationError

from reconciler.model.errors import Problem
from reconciler.model.manifest import Manifest
from reconciler.model.manifest_checks import check_manifest, unbuilt_keys
from reconciler.model.manifest_conflicts import NameClaim, ServerClaim, name_conflicts, server_conflicts
from reconciler.model.manifest_dependencies import DependencyClaim, dependency_conflicts
from reconciler.model.schemas import Schema, adapter_of, json_schema
from reconciler.model.validation_sentences import DOCUMENT_PROBLEMS, found, problems_of
from reconciler.model.values import NAME_PATTERN
from reconciler.model.yaml_documents import Document, field_name
from reconciler.model.yaml_reading import read_documents

SCHEMA_IDENTIFIER = "https://example.com/reconciler/v1/app.schema.json"

_NAME = re.compile(NAME_PATTERN)


@dataclass(frozen=True, slots=True)
class Placed:
    """A manifest and the place it was read from: its file, the line it begins on, and its number in the file."""

    manifest: Manifest
    file: str
    line: int
    document: int
    servers: tuple[ServerClaim, ...] = ()
    dependencies: tuple[DependencyClaim, ...] = ()


@dataclass(frozen=True, slots=True)
class FileReading:
    """What one file says, without regard to any other: it may be kept as long as the file's bytes stay.

    ``names`` are all apps that the file is about; ``unnamed`` says that there may be more.
    """

    file: str
    placed: tuple[Placed, ...] = ()
    problems: tuple[Problem, ...] = ()
    names: tuple[NameClaim, ...] = ()
    unnamed: bool = False


@dataclass(frozen=True, slots=True)
class ManifestSet:
    """All manifests of a config repository.

    ``manifests`` are those without any mistake, ``problems`` all mistakes. ``held`` has the apps that a mistake is
    about; when ``unnamed_problems`` is true, a mistake may be about any app.
    """

    manifests: tuple[Placed, ...]
    problems: tuple[Problem, ...]
    held: Mapping[str, tuple[Problem, ...]]
    unnamed_problems: bool = False


def read_manifests(
    files: Mapping[str, bytes],
    *,
    port: int | None = None,
    tls_port: int | None = None,
    labels: Mapping[str, str] | None = None,
    allowed_options: Collection[str] = (),
) -> ManifestSet:
    """Read all files, by their names in the repository. Raises nothing: mistakes are in the result.

    ``port`` is the one port that serves all apps, where there is one (the embedded profile's ``http.port``), and
    ``tls_port`` that of all sites with TLS;
    ``labels`` are those of the host that the manifests are read for, where it is one host.
    """
    readings = (read_manifest_file(name, files[name], allowed_options) for name in sorted(files))
    return combine(readings, port=port, tls_port=tls_port, labels=labels)


def read_manifest_file(name: str, text: bytes, allowed_options: Collection[str] = ()) -> FileReading:
    """Read one file; ``allowed_options`` of uWSGI are those that agent.yaml allows. Raises nothing."""
    read = read_documents(text, file=name)
    placed: list[Placed] = []
    problems = list(read.problems)
    names: list[NameClaim] = []
    unnamed = bool(read.problems)
    for document in read.documents:
        if document.data is None and not document.problems:
            continue  # nothing, or only comments, between two lines of "---"
        app = _name(document)
        entry, mistakes = _read_document(document, name, allowed_options)
        if entry is not None:
            placed.append(entry)
        if app is not None:
            names.append(NameClaim(app, name, document.line(("metadata", "name"))))
        # a second "metadata" is what a forgotten "---" leaves of another app
        if mistakes and (app is None or any(problem.field.startswith("metadata") for problem in document.problems)):
            unnamed = True
        problems += [replace(problem, app=app) for problem in _shortened(mistakes)]
    return FileReading(name, tuple(placed), tuple(problems), tuple(names), unnamed)


def combine(
    readings: Iterable[FileReading],
    *,
    port: int | None = None,
    tls_port: int | None = None,
    labels: Mapping[str, str] | None = None,
) -> ManifestSet:
    """All files together: mistakes of single files, apps that cannot live beside each other or wait in vain."""
    readings = tuple(readings)
    problems = [problem for reading in readings for problem in reading.problems]
    problems += name_conflicts(claim for reading in readings for claim in reading.names)
    everything = [placed for reading in readings for placed in reading.placed]
    servers = (claim for placed in everything for claim in placed.servers)
    problems += server_conflicts(servers, port=port, tls_port=tls_port)
    problems += dependency_conflicts(
        [claim for placed in everything for claim in placed.dependencies],
        {claim.app for reading in readings for claim in reading.names},
        {placed.manifest.name: placed.manifest.spec.placement for placed in everything},
        labels=labels,
    )
    problems.sort(key=lambda problem: (problem.file, problem.line, not problem.field, problem.field, problem.message))
    held: dict[str, list[Problem]] = {}
    for problem in problems:
        if problem.app is not None:
            held.setdefault(problem.app, []).append(problem)
    return ManifestSet(
        tuple(placed for placed in everything if placed.manifest.name not in held),
        tuple(problems),
        {app: tuple(mistakes) for app, mistakes in held.items()},
        any(reading.unnamed for reading in readings),
    )


def manifest_schema() -> Schema:
    """The JSON Schema (draft 2020-12) of a manifest, for editors."""
    return json_schema(_adapter(), identifier=SCHEMA_IDENTIFIER, title="Manifest of an app")


@lru_cache(maxsize=1)
def _adapter() -> TypeAdapter[Manifest]:
    # building it takes longer than reading a hundred manifests, and many commands read none
    return adapter_of(Manifest)


_cached_schema = lru_cache(maxsize=1)(manifest_schema)


def _name(document: Document) -> str | None:
    """The app that a document is about, mistaken or not; None when it cannot be known."""
    metadata = document.data.get("metadata") if isinstance(document.data, dict) else None
    name = metadata.get("name") if isinstance(metadata, dict) else None
    return name if isinstance(name, str) and _NAME.fullmatch(name) else None


def _read_document(
    document: Document, file: str, allowed_options: Collection[str]
) -> tuple[Placed | None, list[Problem]]:
    problems = list(document.problems)
    data = document.data
    if not isinstance(data, dict):
        if not problems:
            message = f"expected a manifest, a mapping of keys, found {found(data, document.written(()))}"
            problems.append(Problem(file, document.line(()), "", message))
        return None, problems
    if not document.whole:
        # what a mistake cut off is not missing: the first problem says what is wrong
        return None, problems
    findings = tuple(check_manifest(data, allowed_options))
    problems += [Problem(file, document.line(path), field_name(path), message) for path, message in findings]
    manifest: Manifest | None = None
    try:
        manifest = _adapter().validate_python(_with_written_environment(document))
    except ValidationError as error:
        unbuilt = tuple(path for path, _ in unbuilt_keys(data))
        problems += problems_of(error, document, file=file, schema=_cached_schema, below=unbuilt)
    if manifest is None or problems:
        return None, problems
    servers = tuple(_servers(manifest, document, file))
    dependencies = tuple(_dependencies(manifest, document, file))
    return Placed(manifest, file, document.line(()), document.number, servers, dependencies), []


def _with_written_environment(document: Document) -> dict[str, Any]:
    """The data with numbers in ``spec.env`` as they are written: 3.10 must not reach an app as 3.1."""
    data: dict[str, Any] = document.data
    spec = data.get("spec")
    env = spec.get("env") if isinstance(spec, dict) else None
    if not isinstance(spec, dict) or not isinstance(env, dict):
        return data
    if not any(type(value) in (int, float) for value in env.values()):
        return data
    texts = {
        name: document.written(("spec", "env", name)) if type(value) in (int, float) else value
        for name, value in env.items()
    }
    return {**data, "spec": {**spec, "env": texts}}


def _servers(manifest: Manifest, document: Document, file: str) -> Iterable[ServerClaim]:
    nginx = manifest.spec.nginx
    paths: list[tuple[tuple[str | int, ...], str]] = [
        (("spec", "nginx", "serverNames", number), name) for number, name in enumerate(nginx.server_names)
    ]
    for path, name in paths or [(("spec", "nginx"), "")]:
        line = document.line(path)
        placement = manifest.spec.placement
        yield ServerClaim(manifest.name, file, line, field_name(path), name, nginx.listen, placement)
        if nginx.tls is not None:
            where = path if name else ("spec", "nginx", "tls")
            at = document.line(where), field_name(where)
            yield ServerClaim(manifest.name, file, *at, name, nginx.tls.listen, placement, tls=True)


def _dependencies(manifest: Manifest, document: Document, file: str) -> Iterable[DependencyClaim]:
    for number, on in enumerate(manifest.spec.depends_on):
        path = ("spec", "dependsOn", number)
        yield DependencyClaim(manifest.name, file, document.line(path), field_name(path), on)


def _shortened(problems: list[Problem]) -> list[Problem]:
    """The problems of a document in the order of their lines, or the first of them and how many more there are."""
    told = sorted(dict.fromkeys(problems), key=lambda problem: (problem.line, not problem.field, problem.field))
    more = len(told) - 2 * DOCUMENT_PROBLEMS
    if more <= 0:
        return told
    last = told[2 * DOCUMENT_PROBLEMS - 1]
    rest = replace(last, field="", message=f"and {more:,} more problems in this document")
    return [*told[: 2 * DOCUMENT_PROBLEMS], rest]
