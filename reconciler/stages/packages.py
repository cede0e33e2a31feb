"""The packages stage: the system packages that an app needs are installed."""

from __future__ import annotations

from collections.abc import Mapping

from reconciler.host.observing import Observer
from reconciler.model.stage import (
    AppliedStage,
    DesiredStage,
    Difference,
    DifferenceKind,
    Inputs,
    Observation,
    StageName,
)
from reconciler.stages.stage import Facts, Work

INPUT = "build.systemPackages"
CERTBOT = "certbot"


class PackagesStage:
    """Inputs: the names of the packages. Only for apps that ask for some; nothing is ever taken away."""

    name = StageName.PACKAGES

    def inputs(self, facts: Facts) -> Inputs | None:
        """Name the inputs."""
        asked = packages_of(facts)
        return Inputs(self.name, {INPUT: " ".join(sorted(asked))}) if asked else None

    def files(self, _facts: Facts, _digest: str) -> Mapping[str, str]:
        """Nothing of the reconciler's own."""
        return {}

    def observe(
        self, _app: str, applied: AppliedStage | None, desired: AppliedStage | DesiredStage, observer: Observer
    ) -> Observation:
        """Whether dpkg has them all; one that was installed and is gone is drift."""
        missing = observer.packages.missing(desired.declared[INPUT].split())
        if applied is None or applied.digest != desired.digest:
            return Observation(not missing, detail=(f"to install: {', '.join(missing)}",) if missing else ())
        return Observation(output_exists=True, differences=tuple(map(_gone, missing)))

    def apply(self, work: Work) -> None:
        """Install what is missing, in one transaction with what other apps are about to ask for."""
        names = work.desired.declared[INPUT].split()
        work.facts.host.packages.install(work.facts.app, names, work.say)


def packages_of(facts: Facts) -> frozenset[str]:
    """The packages that an app needs: those of its manifest, and in the system profile certbot where it has ACME."""
    spec = facts.manifest.spec
    acme = spec.nginx.tls is not None and spec.nginx.tls.acme
    in_system = facts.host.port is None
    return frozenset(spec.build.system_packages) | ({CERTBOT} if acme and in_system else frozenset())


def _gone(name: str) -> Difference:
    diff = f"--- system package {name}\n+++ /dev/null\n-installed\n+not installed"
    undo = f"--- /dev/null\n+++ system package {name}\n-not installed\n+installed"
    return Difference(f"system package {name}", DifferenceKind.MISSING, diff, undo)
