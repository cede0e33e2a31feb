"""A host with many apps whose outputs are all in place, made without starting a thousand uWSGI processes."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from unittest import mock

import examples
from reconciler.engine.desired import DesiredApp
from reconciler.engine.engine import Engine
from reconciler.engine.reading import Reader
from reconciler.engine.recording import Recorder
from reconciler.host.files import write_whole
from reconciler.host.releases import lay_out_release, switch, write_vassal
from reconciler.model.plan import AppPlan
from reconciler.model.stage import STORED, StageName
from reconciler.stages.vassal import vassal_of
from world import World, manifest, wsgi_app


class RunningEmperor:
    """Stands for an Emperor that runs: a thousand vassals would need more memory than a test may take."""

    def running(self) -> bool:
        """It does."""
        return True

    def ensure_running(self) -> bool:
        """It runs already."""
        return False


def commit_many(world: World, count: int, monorepo: Path | None = None) -> None:
    """One commit with ``count`` apps in the config repository; with ``monorepo`` they live in that repository."""
    names = [f"app-{number}" for number in range(count)]
    code = {f"apps/{name}/wsgi.py": wsgi_app(name) for name in names}
    if monorepo is None:
        world.commit({**code, **{f"manifests/{name}.yaml": manifest(name) for name in names}}, f"{count} apps")
        return
    if not monorepo.exists():
        examples.new_repository(monorepo)
    examples.write_and_commit(monorepo, code, f"{count} apps")
    source = {"repository": f"file://{monorepo}"}
    world.commit({f"manifests/{name}.yaml": manifest(name, source=source) for name in names}, f"{count} apps")


@contextmanager
def settled(world: World, count: int, monorepo: Path | None = None) -> Iterator[Engine]:
    """An engine whose journal and disk say that all of ``count`` apps were applied and verified."""
    commit_many(world, count, monorepo)
    with world.engine() as engine:
        host = replace(engine.host, emperor=RunningEmperor())  # type: ignore[arg-type]
        reader = Reader(
            engine.reader.configuration, host, engine.journal, engine.reader.config_address, engine.reader.labels
        )
        many = Engine(host, engine.journal, reader)
        desired = reader.read({}, {})
        assert len(desired.apps) == count, desired.held
        with _without_flushing(engine):
            for app in desired.apps.values():
                _put_in_place(engine, app, desired.revision)
        write_whole(host.layout.root / "made", f"{time.time()}\n")
        yield many


@contextmanager
def _without_flushing(engine: Engine) -> Iterator[None]:
    """Thousands of flushes to the disk take a quarter of a minute and prove nothing here."""
    connection = engine.journal._connection
    connection.execute("PRAGMA synchronous = OFF")
    with mock.patch("os.fsync"):
        yield
    connection.execute("PRAGMA synchronous = FULL")


def _put_in_place(engine: Engine, app: DesiredApp, revision: str) -> None:
    """All that a verified deployment leaves on disk and in the journal."""
    layout = engine.host.layout
    for stage in STORED & app.digests.keys():
        output = layout.output(stage, app.digests[stage])
        output.mkdir(parents=True, exist_ok=True)
        if stage is StageName.BUILD:
            (output / "environment" / "bin").mkdir(parents=True, exist_ok=True)
            python = output / "environment" / "bin" / "python"
            if not python.is_symlink():
                python.symlink_to(sys.executable)
    (layout.site(app.name)).write_text(app.stage(StageName.NGINX).files[f"{app.name}.conf"])
    vassal = app.stage(StageName.VASSAL)
    write_vassal(
        layout,
        vassal_of(app.name, vassal.as_applied()),
        vassal.files[f"{app.name}.ini"],
        vassal.files[f"{app.name}.env"],
    )
    lay_out_release(
        layout,
        app.name,
        app.release,
        web=layout.socket(vassal_of(app.name, vassal.as_applied()), "web"),
        static=layout.output(StageName.STATIC, app.digests[StageName.STATIC]),
        folder=layout.output(StageName.SOURCE, app.digests[StageName.SOURCE]),
    )
    switch(layout, app.name, app.release)
    Recorder(engine.journal, app, revision, AppPlan(app.name)).verified(0.0, {})
