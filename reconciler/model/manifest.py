"""The manifest of an app, as validated values.

The classes are the schema: pydantic reads their annotations at the edge (:mod:`reconciler.model.manifest_reading`),
everything behind it deals with frozen values. In YAML the fields are written in camelCase.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from enum import StrEnum
from typing import Annotated, Literal

from pydantic import ConfigDict, Field, StrictBool, StrictInt, StrictStr
from pydantic.alias_generators import to_camel

from reconciler.model import fields

STRICT = ConfigDict(extra="forbid", alias_generator=to_camel)

API_VERSION = "reconciler/v1"
KIND = "App"


class Strategy(StrEnum):
    """How a new release takes over from the old one."""

    SWITCH = "switch"
    TOUCH = "touch"


class DriftPolicy(StrEnum):
    """What a pass does about files that were changed behind git's back."""

    HEAL = "heal"
    REPORT = "report"
    IGNORE = "ignore"


class Encoding(StrEnum):
    """A content coding that static files are compressed with ahead of time."""

    GZIP = "gzip"
    BROTLI = "brotli"
    ZSTD = "zstd"


@dataclass(frozen=True, slots=True)
class Metadata:
    """The name of the app, and labels for people."""

    __pydantic_config__ = STRICT
    name: fields.Name
    labels: dict[str, fields.Line] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Source:
    """Where the app's code comes from."""

    __pydantic_config__ = STRICT
    repository: fields.Repository
    revision: fields.Revision = "main"
    directory: fields.RelativePath = "."
    submodules: StrictBool = False
    lfs: StrictBool = False


@dataclass(frozen=True, slots=True)
class Interpreter:
    """An interpreter other than a CPython that is already on the host."""

    __pydantic_config__ = STRICT
    implementation: Literal["cpython", "pypy"] = "cpython"
    version: fields.PythonVersion | None = None
    source: fields.Line | None = None
    sha256: fields.Sha256 | None = None


@dataclass(frozen=True, slots=True)
class Build:
    """How the app's environment is made."""

    __pydantic_config__ = STRICT
    python: fields.PythonVersion | Interpreter | None = None
    requirements: fields.RelativePath | None = None
    system_packages: tuple[fields.PackageName, ...] = ()
    commands: tuple[fields.Command, ...] = ()


@dataclass(frozen=True, slots=True)
class StaticFolder:
    """A folder of files that nginx serves by itself."""

    __pydantic_config__ = STRICT
    source: fields.RelativePath
    url: fields.UrlPath
    command: fields.Command | None = None
    minify: StrictBool = True
    bundles: dict[fields.RelativePath, tuple[fields.RelativePath, ...]] = field(default_factory=dict)
    fingerprint: StrictBool = False
    precompress: tuple[Encoding, ...] = (Encoding.GZIP,)


@dataclass(frozen=True, slots=True)
class Uwsgi:
    """How uWSGI runs the app. ``drain`` is how long an old release may finish its requests."""

    __pydantic_config__ = STRICT
    module: fields.Module
    processes: fields.Count = 2
    threads: fields.Count = 2
    strategy: Strategy = Strategy.SWITCH
    drain: fields.Duration = timedelta(seconds=30)
    options: dict[fields.OptionName, StrictBool | StrictInt | fields.Line | tuple[fields.Line, ...]] = field(
        default_factory=dict
    )


@dataclass(frozen=True, slots=True)
class Tls:
    """A certificate and its key, as paths on the host."""

    __pydantic_config__ = STRICT
    certificate: fields.AbsolutePath
    key: fields.AbsolutePath


@dataclass(frozen=True, slots=True)
class Nginx:
    """The site that nginx serves for the app."""

    __pydantic_config__ = STRICT
    listen: fields.Port = 80
    server_names: tuple[fields.ServerName, ...] = ()
    template: fields.RelativePath | None = None
    tls: Tls | None = None
    client_max_body_size: fields.Size = "1m"
    access_log: StrictBool = True


@dataclass(frozen=True, slots=True)
class Hooks:
    """Commands that run once per release, before and after traffic moves to it."""

    __pydantic_config__ = STRICT
    before_switch: tuple[fields.Command, ...] = ()
    after_switch: tuple[fields.Command, ...] = ()


@dataclass(frozen=True, slots=True)
class Probe:
    """A request that a release must answer as given."""

    __pydantic_config__ = STRICT
    path: fields.RequestPath = "/"
    status: Annotated[int, Field(strict=True, ge=100, le=599)] = 200
    contains: StrictStr | None = None
    header: dict[fields.HeaderName, fields.Line] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Verify:
    """What a release must show before it gets traffic; ``timeout`` covers start and probes."""

    __pydantic_config__ = STRICT
    timeout: fields.Duration = timedelta(seconds=30)
    probes: Annotated[tuple[Probe, ...], Field(min_length=1)] = (Probe(),)


@dataclass(frozen=True, slots=True)
class Spec:
    """All that is asked of one app."""

    __pydantic_config__ = STRICT
    source: Source
    uwsgi: Uwsgi
    placement: dict[str, fields.Line] = field(default_factory=dict)
    build: Build = Build()
    static: tuple[StaticFolder, ...] = ()
    shared: tuple[fields.RelativePath, ...] = ()
    nginx: Nginx = Nginx()
    user: fields.Account | None = None
    env: dict[fields.EnvironmentName, fields.EnvironmentValue] = field(default_factory=dict)
    secrets: dict[fields.EnvironmentName, fields.SecretReference] = field(default_factory=dict)
    hooks: Hooks = Hooks()
    verify: Verify = Verify()
    drift: DriftPolicy = DriftPolicy.HEAL
    retain: fields.Count = 3
    suspend: StrictBool = False


@dataclass(frozen=True, slots=True)
class Manifest:
    """One app, as the config repository describes it."""

    __pydantic_config__ = STRICT
    api_version: Literal["reconciler/v1"]
    kind: Literal["App"]
    metadata: Metadata
    spec: Spec

    @property
    def name(self) -> str:
        """The app's name."""
        return self.metadata.name

    def placed_on(self, labels: Mapping[str, str]) -> bool:
        """Whether a host with these labels is to run the app."""
        return all(labels.get(key) == value for key, value in self.spec.placement.items())
