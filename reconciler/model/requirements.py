"""Which files say what an app's environment holds, and whether they point into the app's own source.

The answer decides the build stage's digest: a file that is not in a closure can change without a new environment.
Paths are relative POSIX paths inside the app's folder; files are read through a callable, so no disk is needed.
"""

from __future__ import annotations

import posixpath
import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from reconciler.model.errors import StageFailed
from reconciler.model.requirement_files import (
    MAX_FILE_BYTES,
    Reader,
    RequirementFiles,
    checked,
    content_of,
    inside,
    points_inside,
    text_of,
)

MAX_LOCK_BYTES = 16 * 1024 * 1024
"""A lock file lists every wheel of every platform, so it may be larger than a file that people write."""
ELSEWHERE = ("target", "prefix", "python", "system")
"""Settings of ``uv pip`` that name another place to install into."""


class Kind(StrEnum):
    """What describes an app's dependencies."""

    UV_LOCK = "uv.lock"
    REQUIREMENTS = "requirements.txt"
    PYPROJECT = "pyproject.toml"
    NONE = "none"


@dataclass(frozen=True, slots=True)
class Closure:
    """All files that decide what an environment holds.

    ``files`` maps relative POSIX paths to contents, the ``entry`` and its includes among them. ``needs_source`` says
    that something in the app's own folder gets installed. ``requires_hashes`` says that a requirements file asks for
    hash checking.
    """

    kind: Kind
    entry: str | None
    files: Mapping[str, bytes]
    needs_source: bool
    requires_hashes: bool


def closure(entry: str | None, read: Reader) -> Closure:
    """Find the inputs of an environment, beginning with ``entry`` (``None``: the first of the usual files).

    ``read`` returns a file's content, or ``None`` when there is no such file.

    Raises :class:`StageFailed` for a file that is missing, too large, malformed or outside the app's folder.
    """
    if entry is not None:
        return _named(inside("build.requirements", "", entry), read)
    for kind in (Kind.UV_LOCK, Kind.REQUIREMENTS, Kind.PYPROJECT):
        content = read(kind.value)
        # many apps keep only the settings of their tools in pyproject.toml, which asks for no environment
        if content is not None and (kind is not Kind.PYPROJECT or _is_project(_toml(kind.value, content))):
            return _named(kind.value, read)
    return Closure(Kind.NONE, None, {}, needs_source=False, requires_hashes=False)


def _named(entry: str, read: Reader) -> Closure:
    name = posixpath.basename(entry)
    if name == Kind.UV_LOCK:
        return _lock(entry, read)
    if name == Kind.PYPROJECT:
        return _project(entry, read)
    if name.endswith((".toml", ".lock")):
        raise StageFailed(
            f"build.requirements: {entry} is not a kind of file that can be installed from",
            hint="name a uv.lock, a pyproject.toml or a requirements file",
        )
    found = RequirementFiles(entry, read)
    return Closure(Kind.REQUIREMENTS, entry, found.files, found.needs_source, found.requires_hashes)


def _lock(entry: str, read: Reader) -> Closure:
    project = posixpath.join(posixpath.dirname(entry), Kind.PYPROJECT.value)
    files = {entry: content_of(entry, read, limit=MAX_LOCK_BYTES)}
    content = read(project)
    if content is None:
        raise StageFailed(
            f"{entry} has no pyproject.toml beside it", hint="commit the pyproject.toml that it was made from"
        )
    files[project] = checked(project, content, MAX_FILE_BYTES)
    _refuse_elsewhere(project, _table(_toml(project, content), "tool", "uv", "pip"))
    files |= _settings(entry, read)
    local = _lock_points_inside(entry, _toml(entry, files[entry]))
    package = _installs_itself(_toml(project, files[project]))
    return Closure(Kind.UV_LOCK, entry, files, needs_source=local or package, requires_hashes=False)


def _project(entry: str, read: Reader) -> Closure:
    files = {entry: content_of(entry, read)} | _settings(entry, read)
    document = _toml(entry, files[entry])
    _refuse_elsewhere(entry, _table(document, "tool", "uv", "pip"))
    if not _is_project(document):
        raise StageFailed(
            f"{entry} has neither a [project] nor a [build-system] table, so it names no requirements",
            hint="add a [project] table with dependencies, or leave build.requirements out",
        )
    needs_source = _installs_itself(document) or _points_inside(entry, document)
    return Closure(Kind.PYPROJECT, entry, files, needs_source=needs_source, requires_hashes=False)


def _settings(entry: str, read: Reader) -> dict[str, bytes]:
    """uv's own settings beside a project: they choose the package index, so they are an input too."""
    path = posixpath.join(posixpath.dirname(entry), "uv.toml")
    content = read(path)
    if content is None:
        return {}
    _refuse_elsewhere(path, _table(_toml(path, checked(path, content, MAX_FILE_BYTES)), "pip"))
    return {path: content}


def _refuse_elsewhere(path: str, settings: Mapping[str, Any]) -> None:
    """Raise :class:`StageFailed` for settings of ``uv pip`` that install into another place than the environment."""
    chosen = next((key for key in ELSEWHERE if settings.get(key)), None)
    if chosen is not None:
        raise StageFailed(
            f"{path} sets pip.{chosen}, which would install outside of the app's environment", hint=f"remove {chosen}"
        )


def _is_project(document: Mapping[str, Any]) -> bool:
    return "project" in document or "build-system" in document


def _installs_itself(document: Mapping[str, Any]) -> bool:
    """Whether the project is a package that gets installed, and not only a list of dependencies."""
    declared = _table(document, "tool", "uv").get("package")
    return declared if isinstance(declared, bool) else "build-system" in document


def _points_inside(entry: str, document: Mapping[str, Any]) -> bool:
    settings = _table(document, "tool", "uv")
    dynamic = _table(document, "project").get("dynamic", [])
    # dependencies that the build backend computes are known only to the source
    if "workspace" in settings or (isinstance(dynamic, list) and "dependencies" in dynamic):
        return True
    dependencies = _table(document, "project").get("dependencies", [])
    direct = [text for text in dependencies if isinstance(text, str)] if isinstance(dependencies, list) else []
    found = [_source_points_inside(entry, source) for source in _sources(settings)]
    found += [points_inside(entry, posixpath.dirname(entry), requirement) for requirement in direct]
    return any(found)


def _sources(settings: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    for value in _table(settings, "sources").values():
        yield from (item for item in (value if isinstance(value, list) else [value]) if isinstance(item, dict))


def _lock_points_inside(entry: str, document: Mapping[str, Any]) -> bool:
    packages = document.get("package", [])
    if not isinstance(packages, list):
        raise StageFailed(f"{entry} is not a lock file of uv", hint="run `uv lock` and commit the result")
    sources = [_table(package, "source") for package in packages if isinstance(package, dict)]
    # `virtual = "."` is the project itself when it is no package: a list of dependencies, nothing to install
    found = [_source_points_inside(entry, source) for source in sources if source.get("virtual") != "."]
    return any(found)


def _source_points_inside(entry: str, source: Mapping[str, Any]) -> bool:
    paths = [source[key] for key in ("path", "directory", "editable", "virtual") if isinstance(source.get(key), str)]
    if isinstance(source.get("git"), str) and re.match(r"(git\+)?(file:|[./])", source["git"]):
        paths.append(source["git"])
    for path in paths:
        inside(entry, posixpath.dirname(entry), path)
    return bool(paths) or "workspace" in source


def _toml(path: str, content: bytes) -> dict[str, Any]:
    try:
        return tomllib.loads(text_of(path, content))
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise StageFailed(f"{path} is not TOML: {error}", hint="correct the file and push") from None


def _table(document: Mapping[str, Any], *keys: str) -> Mapping[str, Any]:
    """The table at ``keys``; an empty one where there is none, or something else."""
    for key in keys:
        value = document.get(key)
        document = value if isinstance(value, dict) else {}
    return document
