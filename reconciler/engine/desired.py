"""Desired state: what the manifests at one commit ask of this host, resolved to commits, trees and digests."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Protocol

from reconciler.model.errors import ReconcilerError
from reconciler.model.manifest import Manifest
from reconciler.model.stage import AppliedApp, DesiredStage, StageName, release_of
from reconciler.stages import STAGES, Facts


@dataclass(frozen=True, slots=True)
class DesiredApp:
    """One app as git asks for it."""

    manifest: Manifest
    commit: str
    facts: Facts
    stages: tuple[DesiredStage, ...]

    @property
    def name(self) -> str:
        """The app's name."""
        return self.manifest.name

    @property
    def release(self) -> str:
        """The id of the release that these stages make."""
        return release_of(self.stage(StageName.VASSAL).digest)

    def stage(self, name: StageName) -> DesiredStage:
        """One stage that every app has, or that this one asks for."""
        return next(stage for stage in self.stages if stage.stage is name)

    @property
    def stages_by_name(self) -> Mapping[StageName, DesiredStage]:
        """The stages that the app asks for."""
        return {stage.stage: stage for stage in self.stages}

    @property
    def digests(self) -> Mapping[StageName, str]:
        """The digest of every stage."""
        return {stage.stage: stage.digest for stage in self.stages}


@dataclass(frozen=True, slots=True)
class Desired:
    """What git asks of this host. ``held`` are apps that must be left as they are, each with the reason.

    ``unreadable`` are files that may describe any app: while there are some, nothing may be removed.
    """

    revision: str
    apps: Mapping[str, DesiredApp]
    held: Mapping[str, ReconcilerError]
    problems: tuple[str, ...] = ()
    unreadable: tuple[str, ...] = ()


class MadeOutputs(Protocol):
    """The digest of every output that was ever made, by the key of its inputs."""

    def get(self, key: str, default: str, /) -> str:
        """The digest, or ``default`` where no output was made from these inputs."""


def resolve_stages(facts: Facts, applied: AppliedApp, outputs: MadeOutputs) -> tuple[Facts, tuple[DesiredStage, ...]]:
    """Name the inputs of every stage, in order, and choose the digest of each.

    An output that was made from equal inputs before keeps its digest, whatever versions of the tools made it: so an
    upgrade of the reconciler moves nothing, and going back to an earlier release finds its outputs. Texts that were
    applied for equal inputs are kept word by word for the same reason.
    """
    digests: dict[StageName, str] = {}
    stages: list[DesiredStage] = []
    for stage in STAGES:
        facts = replace(facts, upstream=dict(digests))
        inputs = stage.inputs(facts)
        if inputs is None:
            continue
        before = applied.get(stage.name)
        if before is not None and before.key == inputs.key:
            desired = DesiredStage(inputs, before.digest, before.files)
        else:
            digest = outputs.get(inputs.key, inputs.digest)
            desired = DesiredStage(inputs, digest, stage.files(facts, digest))
        digests[stage.name] = desired.digest
        stages.append(desired)
    return replace(facts, upstream=digests), tuple(stages)
