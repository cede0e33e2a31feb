"""The agent's configuration, as validated values.

Like the manifest's, these classes are the schema that pydantic reads at the edge
(:mod:`reconciler.model.configuration_reading`). A relative ``root`` or repository path is kept as it is written: the
caller knows which folder it starts at. Only type checkers and that edge import pydantic, which takes a while.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

from reconciler.model.values import STRICT, size_in_bytes

if TYPE_CHECKING:
    from pydantic import StrictBool

    from reconciler.model import fields
    from reconciler.model.fields import about

DEFAULT_ROOT = "./var"
"""The state folder, beside agent.yaml."""
DEFAULT_PORT = 8080
DEFAULT_TLS_PORT = 8443


class Profile(StrEnum):
    """Where everything lies, and who runs nginx and the Emperor."""

    EMBEDDED = "embedded"
    SYSTEM = "system"


class LogLevel(StrEnum):
    """From which level on the agent logs."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


class Uwsgi(StrEnum):
    """Whose uWSGI runs the apps."""

    ENVIRONMENT = "environment"
    DISTRIBUTION = "distribution"


@dataclass(frozen=True, slots=True)
class Repository:
    """The config repository. ``url`` is an address, or a path for development; ``path`` is the manifests' folder."""

    __pydantic_config__ = STRICT
    url: Annotated[fields.ConfigRepository, about("The config repository: an https, ssh or file address, or a path.")]
    branch: Annotated[fields.Revision, about("The branch that is deployed.")] = "main"
    path: Annotated[fields.RelativePath, about("The folder of the manifests in the config repository.")] = "manifests"
    interval: Annotated[fields.Interval, about("How often the repositories are polled, at least 1s.")] = timedelta(
        seconds=60
    )
    fast_forward_only: Annotated[
        StrictBool, about("Whether a branch that was force-pushed is refused and reported.")
    ] = True
    allowed_signers: Annotated[
        fields.FilePath | None, about("A file of keys; when set, only commits that they signed are deployed.")
    ] = None


@dataclass(frozen=True, slots=True)
class Host:
    """How manifests see this host; without ``name`` it is the host's own name."""

    __pydantic_config__ = STRICT
    name: Annotated[fields.HostName | None, about("The name of this host; left out: its host name.")] = None
    labels: Annotated[dict[str, fields.Line], about("Labels that spec.placement of a manifest asks for.")] = field(
        default_factory=dict
    )


@dataclass(frozen=True, slots=True)
class Http:
    """Where nginx listens in the embedded profile, in place of what every manifest says."""

    __pydantic_config__ = STRICT
    address: Annotated[fields.ListenAddress, about("The address that nginx listens on.")] = "127.0.0.1"
    port: Annotated[fields.Port, about("The port that nginx listens on.")] = DEFAULT_PORT
    tls_port: Annotated[fields.Port, about("The port of sites with TLS; nothing listens on it without any.")] = (
        DEFAULT_TLS_PORT
    )


@dataclass(frozen=True, slots=True)
class Drift:
    """When the host is compared with what was applied although git did not change."""

    __pydantic_config__ = STRICT
    interval: Annotated[fields.Interval, about("How often the host is looked over for drift, at least 1s.")] = (
        timedelta(minutes=5)
    )


@dataclass(frozen=True, slots=True)
class Prune:
    """Whether apps without a manifest are removed; ``limit`` is the largest share (0 to 1) removed at once."""

    __pydantic_config__ = STRICT
    enabled: Annotated[StrictBool, about("Whether an app without a manifest is removed from this host.")] = True
    limit: Annotated[fields.Share, about("The largest share of the apps, 0 to 1, that may be removed at once.")] = 0.5


@dataclass(frozen=True, slots=True)
class Store:
    """How large the store of outputs may grow; without ``limit`` only ``spec.retain`` of the apps counts."""

    __pydantic_config__ = STRICT
    limit: Annotated[
        fields.Size | None, about("The largest size of the store, such as 20g; beyond it old releases are collected.")
    ] = None

    @property
    def limit_bytes(self) -> int | None:
        """The limit in bytes."""
        return None if self.limit is None else size_in_bytes(self.limit)


@dataclass(frozen=True, slots=True)
class Secrets:
    """How the encrypted files of the config repository are read."""

    __pydantic_config__ = STRICT
    age_key: Annotated[
        fields.FilePath,
        about("The file with the age key of this host; a relative path starts at agent.yaml's folder."),
    ] = "age.key"


@dataclass(frozen=True, slots=True)
class Python:
    """Where interpreters come from that the host does not have; without ``mirror`` nothing is downloaded."""

    __pydantic_config__ = STRICT
    mirror: Annotated[
        fields.Mirror | None,
        about("An address, or a file: folder, with the builds of Python that uv installs."),
    ] = None


@dataclass(frozen=True, slots=True)
class Log:
    """What the agent logs; SIGUSR1 switches ``debug`` on and off while it runs."""

    __pydantic_config__ = STRICT
    level: Annotated[LogLevel, about("From which level on the agent logs: debug, info, warning or error.")] = (
        LogLevel.INFO
    )


@dataclass(frozen=True, slots=True)
class Limits:
    """How long a stage that makes an output may take, with all that it starts; then it is ended, and has failed.

    And how much a checkout may hold, with submodules and large files;
    ``memory`` and ``processes`` are what one command of an app, and in the system profile one vassal, may have.
    """

    __pydantic_config__ = STRICT
    source: Annotated[fields.Interval, about("The longest time that a checkout may take.")] = timedelta(minutes=10)
    build: Annotated[fields.Interval, about("The longest time that making an environment may take.")] = timedelta(
        hours=1
    )
    interpreter: Annotated[fields.Interval, about("The longest time that making an interpreter may take.")] = (
        timedelta(hours=2)
    )
    static: Annotated[fields.Interval, about("The longest time that making static files may take.")] = timedelta(
        minutes=15
    )
    checkout_files: Annotated[fields.FileCount, about("The most files that a checkout may hold.")] = 200_000
    checkout_size: Annotated[fields.Size, about("The most bytes that a checkout may hold, such as 4g.")] = "4g"
    memory: Annotated[
        fields.Memory | None,
        about("The most memory of one command and one vassal, such as 2g; left out: three quarters of the host's."),
    ] = None
    processes: Annotated[
        fields.Processes, about("The most processes and threads of one command and one vassal, at least 16.")
    ] = 512

    @property
    def memory_bytes(self) -> int | None:
        """The limit of memory in bytes; ``None`` leaves it to the host's memory."""
        return None if self.memory is None else size_in_bytes(self.memory)

    @property
    def checkout_bytes(self) -> int:
        """The largest checkout in bytes."""
        return size_in_bytes(self.checkout_size)


@dataclass(frozen=True, slots=True)
class Acme:
    """Who gives the certificates that manifests with ``nginx.tls.acme`` ask for."""

    __pydantic_config__ = STRICT
    server: Annotated[
        fields.HttpsAddress | None,
        about("The directory of the certificate authority; left out: certbot's own, which is Let's Encrypt."),
    ] = None
    email: Annotated[fields.Email | None, about("Whom the authority writes to before a certificate expires.")] = None


@dataclass(frozen=True, slots=True)
class Allow:
    """What manifests may ask for although it is refused by default."""

    __pydantic_config__ = STRICT
    uwsgi_options: Annotated[
        tuple[fields.AllowedOption, ...],
        about("Options of uWSGI that run commands, load code or open ways to the app, and may be set."),
    ] = ()


@dataclass(frozen=True, slots=True)
class Configuration:
    """Everything that agent.yaml says."""

    __pydantic_config__ = STRICT
    repository: Annotated[Repository, about("The config repository.")]
    profile: Annotated[
        Profile, about("embedded: everything below root, without privileges; system: the paths of the distribution.")
    ] = Profile.EMBEDDED
    uwsgi: Annotated[
        Uwsgi,
        about(
            "System profile: the uWSGI of each app's environment, or the distribution's with its plugin for Python."
        ),
    ] = Uwsgi.ENVIRONMENT
    root: Annotated[fields.RootFolder, about("The state folder of the embedded profile.")] = DEFAULT_ROOT
    host: Annotated[Host, about("How manifests see this host.")] = Host()
    http: Annotated[Http, about("Where nginx listens in the embedded profile.")] = Http()
    drift: Annotated[Drift, about("When the host is looked over for drift.")] = Drift()
    prune: Annotated[Prune, about("Whether, and how many, apps without a manifest are removed.")] = Prune()
    store: Annotated[Store, about("How large the store of outputs may grow.")] = Store()
    allow: Annotated[Allow, about("What manifests may ask for although it is refused by default.")] = Allow()
    acme: Annotated[Acme, about("Who gives certificates.")] = Acme()
    python: Annotated[Python, about("Where interpreters come from that the host does not have.")] = Python()
    secrets: Annotated[Secrets, about("How encrypted files are read.")] = Secrets()
    log: Annotated[Log, about("What the agent logs.")] = Log()
    limits: Annotated[Limits, about("What each stage, command and app may take.")] = Limits()
