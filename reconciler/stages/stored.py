"""What the stages of the store have in common: their output is one folder, and nothing of it lies elsewhere."""

from __future__ import annotations

from collections.abc import Mapping

from reconciler.host.observing import Observer
from reconciler.host.store import observe_output
from reconciler.model.stage import AppliedStage, DesiredStage, Observation, StageName
from reconciler.stages.stage import Facts


class StoredStage:
    """A stage whose output is an immutable folder of the store; a subclass names its inputs and makes the folder."""

    name: StageName

    def files(self, _facts: Facts, _digest: str) -> Mapping[str, str]:
        """Nothing outside the store."""
        return {}

    def observe(
        self, _app: str, applied: AppliedStage | None, desired: AppliedStage | DesiredStage, observer: Observer
    ) -> Observation:
        """Whether the output is in the store, whole."""
        return observe_output(self.name, applied, desired.digest, observer.layout, observer.contents)
