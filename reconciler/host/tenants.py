"""The apps as tenants of the host: whose account each runs as."""

from __future__ import annotations

import os
import pwd
from pathlib import Path
from typing import Protocol

from reconciler.host.processes import Account
from reconciler.model.errors import StageFailed


class Tenants(Protocol):
    """Who runs an app."""

    def account_of(self, app: str, user: str | None) -> str:
        """The name of the account that the app runs as; empty where that is the agent's own.

        Raises :class:`StageFailed` when this host cannot run it as ``user`` (``spec.user``).
        """

    def settle(self, app: str, user: str | None) -> Account | None:
        """Make the account and its places where they are missing; ``None`` where it is the agent's own."""

    def builder(self, home: Path) -> Account | None:
        """The account that builds what apps have in common, and nothing else; ``None``: the agent's own.

        It is made where it is missing, with ``home`` as its home, which is not made.
        """

    def leave(self, app: str) -> None:
        """Take away what an app that is gone needs no more; its account and its files stay."""


class OwnAccount:
    """The embedded profile: the agent and all apps run as one account."""

    def account_of(self, app: str, user: str | None) -> str:
        """No other account; ``user`` may only be the agent's own."""
        if user is not None and user != _own_name():
            raise StageFailed(
                f"{app} is to run as {user}, and in the embedded profile every app runs as {_own_name()}",
                hint="leave spec.user out, or set `profile: system` in agent.yaml",
            )
        return ""

    def settle(self, app: str, user: str | None) -> Account | None:
        """Nothing to make."""
        del app, user
        return None

    def builder(self, home: Path) -> Account | None:
        """Nobody else."""
        del home
        return None

    def leave(self, app: str) -> None:
        """Nothing to take away."""


def _own_name() -> str:
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return str(os.geteuid())
