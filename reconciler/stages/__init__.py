"""The stages, in the order in which they run. A new stage is one file beside these and one entry in ``STAGES``."""

from __future__ import annotations

from reconciler.stages.build import BuildStage
from reconciler.stages.interpreter import InterpreterStage
from reconciler.stages.nginx import NginxStage
from reconciler.stages.packages import PackagesStage
from reconciler.stages.source import SourceStage
from reconciler.stages.stage import Facts, Stage, Work
from reconciler.stages.static import StaticStage
from reconciler.stages.vassal import VassalStage

STAGES: tuple[Stage, ...] = (
    PackagesStage(),
    SourceStage(),
    InterpreterStage(),
    BuildStage(),
    StaticStage(),
    NginxStage(),
    VassalStage(),
)

__all__ = ["STAGES", "Facts", "Stage", "Work"]
