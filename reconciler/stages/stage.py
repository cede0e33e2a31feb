"""What every stage offers to the engine, and what it is handed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from reconciler.host.confinement import Confinement
from reconciler.host.layout import Layout
from reconciler.host.observing import Observer
from reconciler.host.processes import Account
from reconciler.host.services import Host
from reconciler.model.manifest import Manifest
from reconciler.model.secret import Secret
from reconciler.model.source_view import SourceView
from reconciler.model.stage import AppliedStage, DesiredStage, Inputs, Observation, StageName


@dataclass(frozen=True, slots=True)
class Facts:
    """All that a stage may look at to name its inputs.

    ``upstream`` has the digests of the stages before it, ``template`` reads a file of the config repository's
    ``templates/`` folder (``None`` when it is not there), ``secrets`` has the variables of ``spec.secrets``.
    """

    manifest: Manifest
    source: SourceView
    address: str
    host: Host
    template: Callable[[str], str | None]
    secrets: Mapping[str, Secret] = field(default_factory=dict)
    upstream: Mapping[StageName, str] = field(default_factory=dict)

    @property
    def app(self) -> str:
        """The app's name."""
        return self.manifest.name

    @property
    def layout(self) -> Layout:
        """Where everything lies."""
        return self.host.layout

    @property
    def account(self) -> str:
        """The name of the account that the app runs as; empty where that is the agent's own."""
        return self.host.tenants.account_of(self.app, self.manifest.spec.user)

    @property
    def uwsgi(self) -> str:
        """``distribution`` where that brings the app's uWSGI; empty where its environment does."""
        return "distribution" if self.host.distribution_uwsgi is not None else ""

    def settle(self) -> Account | None:
        """The app's account with its own places, made where they are missing; ``None``: the agent's own account."""
        return self.host.tenants.settle(self.app, self.manifest.spec.user)

    def confine(self, account: Account | None, *writable: Path) -> Confinement:
        """What a command of the app that runs as ``account`` may have and touch; it may write to ``writable``."""
        layout = self.layout
        hidden = (layout.vassals, layout.mirrors, layout.journal, layout.indexes)
        return Confinement(account, self.host.allowance, writable, hidden, layout.commands)


@dataclass(frozen=True, slots=True)
class Work:
    """What a stage is handed to make its output; ``say`` reports progress, one line at a time.

    With ``replace`` an output of the store that is there is not whole, and the new one takes its place; ``damaged``
    are the files of it that somebody changed.
    """

    facts: Facts
    desired: DesiredStage
    say: Callable[[str], None]
    replace: bool = False
    damaged: tuple[Path, ...] = ()


class Stage(Protocol):
    """One step with declared inputs and one output."""

    name: StageName

    def inputs(self, facts: Facts) -> Inputs | None:
        """Name the inputs. Reads git and the host's facts, writes nothing. ``None``: the app asks for none."""

    def files(self, facts: Facts, digest: str) -> Mapping[str, str]:
        """The texts that this stage puts on disk, by logical name; empty for outputs of the store."""

    def observe(
        self, app: str, applied: AppliedStage | None, desired: AppliedStage | DesiredStage, observer: Observer
    ) -> Observation:
        """Look at what is on disk; cheap, because every pass does it for every app."""

    def apply(self, work: Work) -> None:
        """Make the output, aside first, visible only when it is whole."""
