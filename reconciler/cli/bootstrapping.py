"""What ``bootstrap`` does, step by step, and what it says of it."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import typer

from reconciler.cli.invocation import Invocation, invocation_of
from reconciler.cli.output import write_lines, write_notes
from reconciler.cli.views.failures import warning_line
from reconciler.cli.views.lines import Line, Part, Style, line, styled
from reconciler.cli.views.words import counted
from reconciler.cli.wiring import DEFAULT_CONFIGURATION, Installation
from reconciler.host.bootstrapping.plan import Wanted, steps
from reconciler.host.bootstrapping.server import refuse_unfit
from reconciler.host.bootstrapping.service_environment import read_variables
from reconciler.host.bootstrapping.ssh_access import SshAccess, use
from reconciler.host.bootstrapping.step import Step
from reconciler.host.bootstrapping.units import AGENT, EMPEROR, NGINX, Services, is_
from reconciler.host.git_addresses import masked, parse_address
from reconciler.model.configuration import Profile
from reconciler.model.errors import ConfigurationError, UsageError

FOLDER = DEFAULT_CONFIGURATION.parent
READABLE = 0o022


def bootstrap(context: typer.Context, wanted: Wanted, *, dry_run: bool) -> int:
    """Make this server follow a config repository; returns the exit status."""
    if invocation_of(context).config is not None:
        raise UsageError(f"bootstrap configures {DEFAULT_CONFIGURATION} and no other file", hint="leave out -c")
    refuse_unfit()
    # a stricter one would hide files from the accounts that have to read them; secrets get a mode of their own
    os.umask(READABLE)
    parse_address(wanted.url)
    kept = _kept_configuration(wanted)
    for name, value in read_variables(FOLDER / "environment").items():
        os.environ.setdefault(name, value)
    work = _Work(dry_run)
    work.take(steps(wanted, FOLDER))
    work.take([Services((NGINX, EMPEROR))])
    status = 0
    if not is_(AGENT, "active"):
        status = work.first_pass(context)
    work.take([Services((AGENT,))])
    write_lines([*work.conclusion(), *_next(wanted, kept, dry_run=dry_run)])
    return status


@dataclass(slots=True)
class _Work:
    dry_run: bool
    number: int = 0

    def take(self, all_steps: Iterable[Step]) -> None:
        """Say what each step lacks, and provide it."""
        use(FOLDER / "ssh/config")
        for step in all_steps:
            phrases = step.missing()
            self._say(phrases)
            if not phrases or self.dry_run:
                continue
            step.provide()
            if isinstance(step, SshAccess):
                use(step.configuration)
                write_lines(
                    [
                        line("  its public key, to be let in by the servers of your repositories:"),
                        line(f"  {step.public_key}"),
                    ]
                )

    def first_pass(self, context: typer.Context) -> int:
        """A pass in the foreground, before the agent takes over: what goes wrong with the apps shows here."""
        from reconciler.cli.commands.once import command  # noqa: PLC0415  brings the engine

        self._say(("run the first pass",))
        if self.dry_run:
            return 0
        context.obj = Invocation(DEFAULT_CONFIGURATION, invocation_of(context).debug)
        return command(context)

    def conclusion(self) -> list[Line]:
        """How much there was to do."""
        if self.number == 0:
            return [styled("Nothing to do: this server is ready.", Style.HEADING)]
        if self.dry_run:
            return [styled(f"Nothing was changed. Without --dry-run: {counted(self.number, 'step')}.", Style.HEADING)]
        return [styled("This server is ready.", Style.HEADING)]

    def _say(self, phrases: tuple[str, ...]) -> None:
        self.number += len(phrases)
        write_lines([line(Part("+ ", Style.ADDED), phrase) for phrase in phrases])


def _kept_configuration(wanted: Wanted) -> bool:
    """Whether there is an agent.yaml, which stays as it is. Says what it has that was not asked for.

    Raises :class:`ConfigurationError` for one that is wrong, or of the embedded profile.
    """
    if not DEFAULT_CONFIGURATION.exists():
        return False
    configuration = Installation.load(Path(DEFAULT_CONFIGURATION)).configuration
    if configuration.profile is not Profile.SYSTEM:
        raise ConfigurationError(
            f"{DEFAULT_CONFIGURATION} is of the {configuration.profile.value} profile, and bootstrap sets up system",
            hint="move the file away, or keep this server as it is",
        )
    repository = configuration.repository
    has, asked = (repository.url, repository.branch), (wanted.url, wanted.branch)
    differs = has != asked or (wanted.labels and dict(configuration.host.labels) != dict(wanted.labels))
    if differs:
        follows = f"{masked(repository.url)}, branch {repository.branch}"
        write_notes(
            [warning_line(f"{DEFAULT_CONFIGURATION} is there already and stays as it is: it follows {follows}")]
        )
    return True


def _next(wanted: Wanted, kept: bool, *, dry_run: bool) -> list[Line]:
    if dry_run:
        return []
    follows = [] if kept else [line(f"It follows {masked(wanted.url)}, branch {wanted.branch}.")]
    return [
        *follows,
        line("See what serves with ", Part("reconciler status", Style.HINT), ", and what the agent does with ",
             Part(f"journalctl -u {AGENT.removesuffix('.service')}", Style.HINT), "."),
    ]  # fmt: skip
