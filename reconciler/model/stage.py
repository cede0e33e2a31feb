"""What a stage is made of, as values: its name, its declared inputs and their digest, what was seen of its output."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property

DIGEST_FORMAT = 1
"""Part of every digest; a release that reads inputs in another way raises it and keeps reading the old one."""


class StageName(StrEnum):
    """The stages, in the order in which they run."""

    PACKAGES = "packages"
    SOURCE = "source"
    INTERPRETER = "interpreter"
    BUILD = "build"
    STATIC = "static"
    NGINX = "nginx"
    VASSAL = "vassal"


SECRET_PREFIX = "secrets."  # noqa: S105  no password: the beginning of a name
"""Inputs whose name begins so are keyed hashes: that one changed may be told, its value means nothing to anybody."""

STORED = frozenset({StageName.SOURCE, StageName.INTERPRETER, StageName.BUILD, StageName.STATIC})
"""Stages whose outputs are immutable folders of the store."""

OPTIONAL = frozenset({StageName.PACKAGES, StageName.INTERPRETER})
"""Stages that only some apps ask for; of the others no plan and no digest knows them."""


class Action(StrEnum):
    """What a pass does about one stage."""

    NONE = "none"
    CREATE = "create"
    UPDATE = "update"
    DELETE = "delete"


class Reason(StrEnum):
    """Why a stage runs."""

    NEVER_APPLIED = "never_applied"
    INPUT_CHANGED = "input_changed"
    UPSTREAM_CHANGED = "upstream_changed"
    OUTPUT_MISSING = "output_missing"
    DRIFTED = "drifted"
    REMOVED = "removed"
    FORCED = "forced"


class DifferenceKind(StrEnum):
    """In what way something on disk is not what was applied."""

    MODIFIED = "modified"
    MISSING = "missing"
    EXTRA = "extra"
    MODE = "mode"
    LINK = "link"


@dataclass(frozen=True)
class Inputs:
    """The declared inputs of a stage.

    ``declared`` decides: when it is equal to what was applied, the stage has nothing to do. ``tools`` are versions of
    the programs that make the output; they are part of the digest, but a new version alone never makes a stage run,
    because upgrading the reconciler must not redeploy anything. ``upstream`` are the digests of stages that this one
    reads. ``notes`` are shown beside a change and decide nothing.
    """

    stage: StageName
    declared: Mapping[str, str]
    upstream: Mapping[StageName, str] = field(default_factory=dict)
    tools: Mapping[str, str] = field(default_factory=dict)
    notes: Mapping[str, str] = field(default_factory=dict)

    @cached_property
    def key(self) -> str:
        """The digest without the tools: equal keys ask for the same thing."""
        return digest_of(self.stage, self._decisive())

    @cached_property
    def digest(self) -> str:
        """The digest under which a new output is stored: 64 hexadecimal digits."""
        return digest_of(self.stage, {**self._decisive(), **{f"tool.{name}": v for name, v in self.tools.items()}})

    def _decisive(self) -> dict[str, str]:
        return {**self.declared, **{f"stage.{name}": digest for name, digest in self.upstream.items()}}


def digest_of(stage: StageName, values: Mapping[str, str]) -> str:
    """sha256 over a stage's name and inputs; inputs with an empty value count as left out.

    Leaving them out lets a later release declare a further input without changing the digest of every app that does
    not use it.
    """
    present = {name: value for name, value in values.items() if value}
    text = json.dumps([DIGEST_FORMAT, stage, present], sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


@dataclass(frozen=True, slots=True)
class AppliedStage:
    """What was last put in place and verified for one stage of one app.

    ``files`` are the texts that were written, by logical name, such as ``blog.conf``; empty for stored outputs.
    """

    stage: StageName
    digest: str
    key: str
    declared: Mapping[str, str]
    upstream: Mapping[StageName, str] = field(default_factory=dict)
    tools: Mapping[str, str] = field(default_factory=dict)
    notes: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)


AppliedApp = Mapping[StageName, AppliedStage]
"""What was last put in place and verified for one app, by stage;"""
AppliedApps = Mapping[str, AppliedApp]
"""and for all apps of a host, by name."""


@dataclass(frozen=True, slots=True)
class DesiredStage:
    """What git asks of one stage: its inputs, the digest to use and the texts to write."""

    inputs: Inputs
    digest: str
    files: Mapping[str, str] = field(default_factory=dict)

    @property
    def stage(self) -> StageName:
        """The stage."""
        return self.inputs.stage

    @property
    def declared(self) -> Mapping[str, str]:
        """The declared inputs."""
        return self.inputs.declared

    def as_applied(self) -> AppliedStage:
        """The same as it is recorded once it has been verified."""
        inputs = self.inputs
        return AppliedStage(
            inputs.stage,
            self.digest,
            inputs.key,
            {name: value for name, value in inputs.declared.items() if value},
            inputs.upstream,
            inputs.tools,
            inputs.notes,
            self.files,
        )


@dataclass(frozen=True, slots=True)
class Difference:
    """One thing on disk that is not as it was applied.

    ``diff`` leads from what was applied to what was found; it is printable and never empty. ``undo`` is the way back,
    where the texts are known. ``owner`` (a name, or a number) and ``changed_at`` (seconds since 1970) are those of
    what was found; of something that is gone, ``changed_at`` is when its folder changed. A ``byproduct`` may be data
    that the app itself wrote: it is reported, and nobody takes it away.
    """

    path: str
    kind: DifferenceKind
    diff: str
    undo: str = ""
    owner: str | None = None
    changed_at: float | None = None
    byproduct: bool = False


@dataclass(frozen=True, slots=True)
class Observation:
    """What was seen of one stage: whether the output that git asks for exists, and what drifted from applied.

    ``detail`` says more about what there is to do, where the stage has work.
    """

    output_exists: bool
    differences: tuple[Difference, ...] = ()
    detail: tuple[str, ...] = ()


RELEASE_DIGITS = 12
OUTPUT_DIGITS = 32
"""How much of a digest names an output in the store: paths stay short, and 128 bits are still unique."""


def release_of(vassal_digest: str) -> str:
    """The id of a release: its vassal's digest covers source, build, static files, settings and environment."""
    return vassal_digest[:RELEASE_DIGITS]
