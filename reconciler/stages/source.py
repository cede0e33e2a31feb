"""The source stage: the app's folder at one commit, checked out into the store."""

from __future__ import annotations

from reconciler.host.files import building
from reconciler.host.ownership import protect
from reconciler.host.shared import place_shared_links
from reconciler.model.stage import Inputs, StageName
from reconciler.stages.stage import Facts, Work
from reconciler.stages.stored import StoredStage

CHECKOUT_SECONDS = 900.0


class SourceStage(StoredStage):
    """Inputs: the git tree of the app's folder (not the commit), submodules, LFS, the shared paths.

    The app's name is an input too: one app's files must not be readable by another's account, so that a checkout is
    never shared between apps even if their trees are equal.
    """

    name = StageName.SOURCE

    def inputs(self, facts: Facts) -> Inputs:
        """Name the inputs."""
        spec = facts.manifest.spec
        submodules = {f"source.submodules.{path}": commit for path, commit in facts.source.submodules.items()}
        return Inputs(
            self.name,
            {
                "app": facts.app,
                "user": facts.account,
                "source.tree": facts.source.tree,
                "source.lfs": "true" if spec.source.lfs else "",
                "shared": " ".join(spec.shared),
                **submodules,
            },
            notes={"source.revision": facts.source.commit},
        )

    def apply(self, work: Work) -> None:
        """Check the folder out, and place links where the app keeps files that outlive a release."""
        facts = work.facts
        spec = facts.manifest.spec
        account = facts.settle()
        with building(facts.layout.output(self.name, work.desired.digest), replace=work.replace) as folder:
            protect(folder, account)
            facts.host.mirrors.checkout(
                facts.address,
                facts.source.commit,
                spec.source.directory,
                folder,
                submodules=spec.source.submodules,
                lfs=spec.source.lfs,
                timeout=CHECKOUT_SECONDS,
            )
            place_shared_links(folder, spec.shared, facts.layout.shared(facts.app), account)
