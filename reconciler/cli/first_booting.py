"""``init --cloud-init``: from options to user-data, with everything checked here that would fail on the server."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from reconciler.cli.setup_package import SetupPackage
from reconciler.cli.user_data import AGAIN_SECONDS, UNIT, FirstBoot, user_data
from reconciler.host.bootstrapping import service_environment
from reconciler.host.bootstrapping.configuration_files import AgentConfiguration
from reconciler.host.bootstrapping.ssh_access import (
    OTHER_KNOWN_HOSTS,
    SshServer,
    known_keys,
    public_half,
    refuse_no_fingerprint,
)
from reconciler.host.git_addresses import masked, parse_address
from reconciler.model.configuration import Profile
from reconciler.model.configuration_reading import read_configuration
from reconciler.model.errors import ConfigurationError, RepositoryRefused, UsageError

KNOWN_HOSTS = "~/.ssh/known_hosts"


@dataclass(frozen=True, slots=True)
class Asked:
    """The options, as they were given."""

    repository: str | None = None
    branch: str = "main"
    labels: Mapping[str, str] | None = None
    agent: Path | None = None
    package: str | None = None
    deploy_key: Path | None = None
    known_hosts: Path | None = None
    host_key: str | None = None
    variables: Mapping[str, str] | None = None


@dataclass(frozen=True, slots=True)
class Made:
    """The user-data, and what the person who makes a server of it has to know."""

    text: str
    warnings: tuple[str, ...]
    hints: tuple[str, ...]


def make(asked: Asked) -> Made:
    """The user-data for what was asked; raises the errors that the server would meet with it."""
    url, branch, labels, agent = _followed(asked)
    over_ssh = parse_address(url).protocol == "ssh"
    if not over_ssh and (asked.deploy_key or asked.known_hosts or asked.host_key):
        raise UsageError(
            f"{masked(url)} is not reached with ssh, which keys and known hosts are for",
            hint="leave out --deploy-key, --known-hosts and --host-key",
        )
    refuse_no_fingerprint(asked.host_key)
    package = SetupPackage.like_this_one() if asked.package is None else SetupPackage.named(asked.package)
    wanted = FirstBoot(
        url,
        branch,
        package,
        labels,
        agent,
        _deploy_key(asked.deploy_key),
        _known_hosts(asked, SshServer.of(url)) if over_ssh else None,
        asked.host_key,
        _variables(asked.variables or {}),
    )
    return Made(user_data(wanted), tuple(_warnings(asked, wanted)), tuple(_hints(wanted, over_ssh=over_ssh)))


def _followed(asked: Asked) -> tuple[str, str, Mapping[str, str], str | None]:
    """The repository's address and branch, the labels, and the text of an agent.yaml where one was given."""
    if asked.agent is not None:
        if asked.repository is not None or asked.labels or asked.branch != "main":
            raise UsageError(
                f"{asked.agent} says which repository the server follows",
                hint="leave out --repository, --branch and --label, or leave out --agent",
            )
        text = _read(asked.agent)
        configuration = read_configuration(text.encode(), file=str(asked.agent))
        if configuration.profile is not Profile.SYSTEM:
            raise UsageError(
                f"{asked.agent} is of the {configuration.profile.value} profile, and a server has `profile: system`",
                hint="change its profile, or leave out --agent to have a file written",
            )
        return configuration.repository.url, configuration.repository.branch, {}, text
    if asked.repository is None:
        raise UsageError(
            "nobody has said which config repository the server follows", hint="name it: --repository ADDRESS"
        )
    try:
        parse_address(asked.repository)
    except RepositoryRefused as error:
        raise UsageError(f"--repository {error.message}", hint=error.hint) from None
    labels = asked.labels or {}
    written = AgentConfiguration(Path("agent.yaml"), asked.repository, asked.branch, labels, secret=False).text()
    # what the agent would refuse on the server is refused here
    try:
        read_configuration(written.encode(), file="the server's agent.yaml")
    except ConfigurationError as error:
        raise ConfigurationError(error.message, hint="correct --repository, --branch or --label") from None
    return asked.repository, asked.branch, labels, None


def _deploy_key(file: Path | None) -> str | None:
    if file is None:
        return None
    text = _read(file)
    public_half(file)
    return text


def _known_hosts(asked: Asked, server: SshServer) -> str | None:
    """Lines for the server's known hosts: those of a file that was given, else what this account trusts."""
    if asked.known_hosts is not None:
        lines = _read(asked.known_hosts).splitlines()
        if not known_keys(server, asked.known_hosts):
            raise UsageError(
                f"{asked.known_hosts} has no key of {server.name}",
                hint=f"add a line of `ssh-keyscan {server.host}`, compared with what its owner publishes",
            )
        return "".join(f"{line}\n" for line in lines if line.strip() and not line.startswith("#"))
    if asked.host_key is not None:
        return None
    for file in (Path(KNOWN_HOSTS).expanduser(), *OTHER_KNOWN_HOSTS):
        if found := known_keys(server, file):
            return found
    raise UsageError(
        f"nobody has said yet which key the ssh server {server.name} has",
        hint="name what its owner publishes with --host-key SHA256:…, or a file that has it with --known-hosts",
    )


def _variables(given: Mapping[str, str]) -> Mapping[str, str]:
    for name, value in given.items():
        if name not in service_environment.NAMES:
            raise UsageError(
                f"--env {name} is no variable of the service",
                hint=f"it takes proxies and package indexes: {', '.join(service_environment.NAMES)}",
            )
        if not value.isprintable() or not value:
            raise UsageError(f"--env {name} has a value that no file of variables can hold", hint="write one line")
    return given


def _read(file: Path) -> str:
    try:
        return file.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        cause = error.strerror if isinstance(error, OSError) else "it is no text"
        raise UsageError(f"{file} cannot be read: {cause}", hint="check the name, and its rights") from error


def _warnings(asked: Asked, wanted: FirstBoot) -> Iterable[str]:
    seen = "everything on the server, its apps too, can read user-data at the provider's metadata address"
    if asked.deploy_key is not None:
        yield f"the user-data holds the private key {asked.deploy_key}, and {seen}: let that key only read"
    if parse_address(wanted.url).authorization is not None:
        yield f"the user-data holds the password of {masked(wanted.url)}, and {seen}"


def _hints(wanted: FirstBoot, *, over_ssh: bool) -> Iterable[str]:
    if over_ssh and wanted.deploy_key is None:
        yield (
            f"the server makes a deploy key and shows its public half at its console and in `journalctl -u {UNIT}`; "
            f"{AGAIN_SECONDS} s after the repository's server lets it in, it goes on by itself"
        )
    yield "check it with `cloud-init schema --config-file FILE`, and give it to the provider as user data"
