"""The manifest of an app, as validated values.

The classes are the schema: pydantic reads their annotations at the edge (:mod:`reconciler.model.manifest_reading`),
everything behind it deals with frozen values. In YAML the fields are written in camelCase. What ``about`` says is the
description that an editor shows. Only type checkers and that edge import pydantic, which takes a while.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Final, Literal, TypeAlias

from reconciler.model.values import STRICT

if TYPE_CHECKING:
    from pydantic import Discriminator, Field, StrictBool, StrictStr, Tag

    from reconciler.model import fields
    from reconciler.model.fields import about

API_VERSION: Final = "reconciler/v1"
KIND: Final = "App"
CHALLENGE_URL: Final = "/.well-known/acme-challenge/"
"""Where a certificate authority looks for the answer to its challenge (RFC 8555, 8.3)."""


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


class Moment(StrEnum):
    """When a hook runs."""

    BEFORE_SWITCH = "beforeSwitch"
    AFTER_SWITCH = "afterSwitch"


@dataclass(frozen=True, slots=True)
class Metadata:
    """The name of the app, and labels for people."""

    __pydantic_config__ = STRICT
    name: Annotated[fields.Name, about("The app's name, unique in the repository.")]
    labels: Annotated[dict[str, fields.Line], about("Labels for people, such as the team.")] = field(
        default_factory=dict
    )


@dataclass(frozen=True, slots=True)
class Source:
    """Where the app's code comes from."""

    __pydantic_config__ = STRICT
    repository: Annotated[
        fields.Repository, about("Its git repository by https, ssh or file; '.' is the config repository itself.")
    ]
    revision: Annotated[
        fields.Revision | None,
        about(
            "A branch, a tag, a commit, or a range of versions such as ^1.4. Left out: main, or, in the config "
            "repository itself, the commit that is deployed."
        ),
    ] = None
    directory: Annotated[fields.RelativePath, about("The app's folder in the repository.")] = "."
    submodules: Annotated[StrictBool, about("Whether submodules are checked out too.")] = False
    lfs: Annotated[StrictBool, about("Whether files in Git LFS are fetched.")] = False
    allowed_signers: Annotated[
        fields.AbsolutePath | None,
        about("A file on the host with keys; when set, only commits and tags that they signed are deployed."),
    ] = None


@dataclass(frozen=True, slots=True)
class Interpreter:
    """An interpreter other than a CPython that is already on the host."""

    __pydantic_config__ = STRICT
    implementation: Annotated[Literal["cpython", "pypy"], about("The implementation of Python.")] = "cpython"
    version: Annotated[fields.PythonVersion | None, about('Its version in quotes, such as "3.11".')] = None
    source: Annotated[
        fields.SourceArchive | None, about("The address of an archive of CPython's source, to build it from.")
    ] = None
    sha256: Annotated[fields.Sha256 | None, about("The sha256 of the source archive.")] = None
    optimize: Annotated[
        StrictBool, about("Whether a build from source is optimized by a profile, which takes several times as long.")
    ] = True


@dataclass(frozen=True, slots=True)
class Build:
    """How the app's environment is made."""

    __pydantic_config__ = STRICT
    python: Annotated[
        Annotated[
            Annotated[fields.PythonVersion, Tag(fields.TEXT_TAG)] | Annotated[Interpreter, Tag(fields.MAPPING_TAG)],
            Discriminator(fields.text_or_mapping),
        ]
        | None,
        about('The version of CPython in quotes, such as "3.11", or a description of the interpreter.'),
    ] = None
    requirements: Annotated[
        fields.RelativePath | None,
        about("What to install; uv.lock, requirements.txt or pyproject.toml is found without it, in that order."),
    ] = None
    system_packages: Annotated[tuple[fields.PackageName, ...], about("System packages that the app needs.")] = ()
    commands: Annotated[
        tuple[fields.Command, ...], about("Commands that run in the app's folder once its environment is there.")
    ] = ()


@dataclass(frozen=True, slots=True)
class StaticFolder:
    """A folder of files that nginx serves by itself."""

    __pydantic_config__ = STRICT
    source: Annotated[fields.RelativePath, about("The folder, below the app's folder.")]
    url: Annotated[fields.UrlPath, about("Where it is served; begins and ends with '/'.")]
    command: Annotated[
        fields.Command | None,
        about("A command that fills the folder, such as python manage.py collectstatic --noinput."),
    ] = None
    minify: Annotated[StrictBool, about("Whether stylesheets, scripts, SVG and HTML are minified.")] = True
    bundles: Annotated[
        dict[fields.RelativePath, tuple[fields.RelativePath, ...]],
        about("Files to make by joining others in order: {site.css: [a.css, b.css]}."),
    ] = field(default_factory=dict)
    fingerprint: Annotated[StrictBool, about("Whether file names carry a hash of the content.")] = False
    precompress: Annotated[tuple[Encoding, ...], about("The codings to compress files with ahead of time.")] = (
        Encoding.GZIP,
    )


@dataclass(frozen=True, slots=True)
class Uwsgi:
    """How uWSGI runs the app. ``drain`` is how long an old release may finish its requests."""

    __pydantic_config__ = STRICT
    module: Annotated[fields.Module, about("The WSGI callable as module:callable, such as wsgi:app.")]
    processes: Annotated[fields.Count, about("How many worker processes run.")] = 2
    threads: Annotated[fields.Count, about("How many threads each worker has.")] = 2
    strategy: Annotated[
        Strategy, about("switch: the new release runs beside the old one until it is verified; touch: one at a time.")
    ] = Strategy.SWITCH
    drain: Annotated[fields.Duration, about("How long an old release may finish its requests, such as 30s.")] = (
        timedelta(seconds=30)
    )
    options: Annotated[
        dict[fields.OptionName, fields.OptionValue], about("Further uWSGI options, such as max-requests: 5000.")
    ] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Tls:
    """How the site speaks HTTPS: with a certificate and a key that lie on the host, or with what ACME gives."""

    __pydantic_config__ = STRICT
    certificate: Annotated[
        fields.AbsolutePath | None, about("The path of the certificate and its chain on the host, as PEM.")
    ] = None
    key: Annotated[fields.AbsolutePath | None, about("The path of the private key on the host, as PEM.")] = None
    acme: Annotated[StrictBool, about("Whether certbot gets the certificate, and renews it.")] = False
    listen: Annotated[fields.Port, about("The port; the embedded profile listens on http.tlsPort of agent.yaml.")] = (
        443
    )
    redirect: Annotated[StrictBool, about("Whether plain HTTP leads to HTTPS.")] = True


@dataclass(frozen=True, slots=True)
class Nginx:
    """The site that nginx serves for the app."""

    __pydantic_config__ = STRICT
    listen: Annotated[fields.Port, about("The port; the embedded profile listens on http.port of agent.yaml.")] = 80
    server_names: Annotated[
        tuple[fields.ServerName, ...],
        about("The host names of the site; without any, it answers to every name that no other site has."),
    ] = ()
    template: Annotated[
        fields.RelativePath | None, about("A site template in the config repository's folder templates.")
    ] = None
    tls: Annotated[Tls | None, about("How the site speaks HTTPS; left out: it speaks HTTP.")] = None
    client_max_body_size: Annotated[fields.Size, about("The largest request body, such as 10m.")] = "1m"
    access_log: Annotated[StrictBool, about("Whether requests are logged.")] = True


@dataclass(frozen=True, slots=True)
class Hook:
    """One command around the switch. An ``irreversible`` one makes an automatic switch back refuse to cross it."""

    __pydantic_config__ = STRICT
    command: Annotated[fields.Command, about("A line for /bin/sh, in the release's folder and environment.")]
    timeout: Annotated[fields.Timeout, about("How long the command may take, such as 10m.")] = timedelta(minutes=10)
    irreversible: Annotated[
        StrictBool,
        about("Whether releases from before it must not come back by themselves once it has run."),
    ] = False


HookOrCommand: TypeAlias = """Annotated[
    Annotated[fields.Command, Tag(fields.TEXT_TAG)] | Annotated[Hook, Tag(fields.MAPPING_TAG)],
    Discriminator(fields.text_or_mapping),
]"""
"""A hook with its settings, or only its command."""


@dataclass(frozen=True, slots=True)
class Hooks:
    """Commands that run once per release, before and after traffic moves to it."""

    __pydantic_config__ = STRICT
    before_switch: Annotated[
        tuple[HookOrCommand, ...], about("Commands that run before traffic moves, such as migrations.")
    ] = ()
    after_switch: Annotated[tuple[HookOrCommand, ...], about("Commands that run once traffic has moved.")] = ()

    def at(self, moment: Moment) -> tuple[Hook, ...]:
        """The hooks of one moment, in order, each with its settings."""
        entries = self.before_switch if moment is Moment.BEFORE_SWITCH else self.after_switch
        return tuple(Hook(entry) if isinstance(entry, str) else entry for entry in entries)


@dataclass(frozen=True, slots=True)
class Probe:
    """A request that a release must answer as given."""

    __pydantic_config__ = STRICT
    path: Annotated[fields.RequestPath, about("The path to ask for.")] = "/"
    status: Annotated[int, Field(strict=True, ge=100, le=599), about("The status that the answer must have.")] = 200
    contains: Annotated[StrictStr | None, about("Text that the answer must contain.")] = None
    header: Annotated[
        dict[fields.HeaderName, fields.Line],
        about("Headers that the answer must have, such as content-type: text/html."),
    ] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Verify:
    """What a release must show before it gets traffic; ``timeout`` covers start and probes."""

    __pydantic_config__ = STRICT
    timeout: Annotated[
        fields.Timeout,
        about("How long the start and the probes on its own socket may take; through nginx as long again."),
    ] = timedelta(seconds=30)
    probes: Annotated[
        tuple[Probe, ...], Field(min_length=1), about("The requests that must be answered as given.")
    ] = (Probe(),)


@dataclass(frozen=True, slots=True)
class Spec:
    """All that is asked of one app."""

    __pydantic_config__ = STRICT
    source: Annotated[Source, about("Where the app's code comes from.")]
    uwsgi: Annotated[Uwsgi, about("How uWSGI runs the app.")]
    placement: Annotated[
        dict[str, fields.Line],
        about("Labels that a host must carry to run the app; without any, every host runs it."),
    ] = field(default_factory=dict)
    depends_on: Annotated[
        tuple[fields.Name, ...],
        about("Apps whose present revision must be verified before this app is changed."),
    ] = ()
    build: Annotated[Build, about("How the app's environment is made.")] = Build()
    static: Annotated[tuple[StaticFolder, ...], about("Folders of files that nginx serves by itself.")] = ()
    shared: Annotated[
        tuple[fields.RelativePath, ...], about("Paths that are kept across releases, such as media or db.sqlite3.")
    ] = ()
    nginx: Annotated[Nginx, about("The site that nginx serves for the app.")] = Nginx()
    user: Annotated[fields.Account | None, about("System profile: the account that the app runs as.")] = None
    env: Annotated[
        dict[fields.EnvironmentName, fields.EnvironmentValue], about("Environment variables of the app.")
    ] = field(default_factory=dict)
    secrets: Annotated[
        dict[fields.EnvironmentName, fields.SecretReference],
        about("Environment variables from encrypted files: NAME: secrets/blog.yaml#key."),
    ] = field(default_factory=dict)
    hooks: Annotated[Hooks, about("Commands that run once per release, around the switch.")] = Hooks()
    verify: Annotated[Verify, about("What a release must show before it gets traffic.")] = Verify()
    drift: Annotated[DriftPolicy, about("What a pass does about files that were changed behind git's back.")] = (
        DriftPolicy.HEAL
    )
    retain: Annotated[fields.Count, about("How many verified releases are kept for rollback.")] = 3
    suspend: Annotated[StrictBool, about("Whether the app is left as it is, whatever git says.")] = False


@dataclass(frozen=True, slots=True)
class Manifest:
    """One app, as the config repository describes it."""

    __pydantic_config__ = STRICT
    metadata: Annotated[Metadata, about("The name of the app, and labels for people.")]
    spec: Annotated[Spec, about("All that is asked of the app.")]
    api_version: Annotated[Literal["reconciler/v1"], about("The version of this format.")] = API_VERSION
    kind: Annotated[Literal["App"], about("What the document describes.")] = KIND

    @property
    def name(self) -> str:
        """The app's name."""
        return self.metadata.name

    def placed_on(self, labels: Mapping[str, str]) -> bool:
        """Whether a host with these labels is to run the app."""
        return all(labels.get(key) == value for key, value in self.spec.placement.items())
