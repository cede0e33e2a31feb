"""Where an app's files and environment lie in the store, from the digests of its stages."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from reconciler.host.layout import Layout
from reconciler.model.manifest import Spec
from reconciler.model.stage import StageName

ENVIRONMENT = "environment"
TREE = "tree"


def app_folder(layout: Layout, spec: Spec, digests: Mapping[StageName, str]) -> Path:
    """The folder that the app runs in: what its build commands left, or the checkout when there are none."""
    if spec.build.commands:
        return layout.output(StageName.BUILD, digests[StageName.BUILD]) / TREE
    return layout.output(StageName.SOURCE, digests[StageName.SOURCE])


def environment_folder(layout: Layout, digests: Mapping[StageName, str]) -> Path:
    """The app's virtual environment."""
    return layout.output(StageName.BUILD, digests[StageName.BUILD]) / ENVIRONMENT
