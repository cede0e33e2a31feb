"""The same six things done by the reconciler, ``ansible-pull`` and pyinfra, in turn, and the floors below them."""

from __future__ import annotations

import shutil
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import examples
from bench.hand_made import HandMade, hand_made
from bench.measuring import Action, command, in_turn, to_live
from bench.others import AnsiblePull, Pyinfra
from bench.reconciling import HOST, app_files, app_manifest, once
from bench.rows import Row, bounded, faster, slower
from bench.tools import environment_of_tools
from reconciler.cli.wiring import Installation
from reconciler.engine.engine import Engine
from reconciler.host.locking import state_lock
from world import World, new_world

FLOOR_RUNS = 30
RUNS = 5
ROUNDS_SECONDS = 30.0
"""After so long two rounds of a comparison are enough: one with the other tools takes up to a quarter minute."""
PAST_IMPORT_SECONDS = 1.5
"""What a deploy may take beside the import of the app."""
ANSIBLE, PYINFRA = "ansible-pull", "pyinfra"
WARM, COLD = "warm", "cold"


@dataclass
class Contest:
    """The three servers, with one app each that has the same code and the same settings."""

    world: World
    ansible: AnsiblePull
    pyinfra: Pyinfra
    runs: int
    budget: float
    number: int = field(default=0)

    def texts(self) -> Iterator[str]:
        """Pages that were never served before."""
        while True:
            self.number += 1
            yield f"page {self.number:04}"

    def actions(
        self, ours: Mapping[str, Action], others: Callable[[AnsiblePull | Pyinfra], float | None]
    ) -> dict[str, Action]:
        """Our actions, and the same one for both other tools."""
        return {**ours, ANSIBLE: lambda: others(self.ansible), PYINFRA: lambda: others(self.pyinfra)}

    def measure(self, actions: Mapping[str, Action], warm: int = 0) -> dict[str, list[float]]:
        """Rounds of them all."""
        return in_turn(actions, self.runs, warm=warm, budget=self.budget)


def rows(quick: bool) -> Iterator[Row]:
    """All rows of this part."""
    with _contest(quick) as contest:
        yield from _first_deploy(contest)
        if quick:
            return
        yield from _nothing_to_do(contest)
        yield from _change(contest)
        yield from _site(contest)
        yield from _rollback(contest)


@contextmanager
def _contest(quick: bool) -> Iterator[Contest]:
    programs = environment_of_tools()
    files = app_files("app", "page 0000")
    with new_world() as world, hand_made(files) as first, hand_made(files) as second:
        world.commit({**app_files("apps/blog", "page 0000"), "manifests/blog.yaml": app_manifest()})
        runs, budget = (1, 1.0) if quick else (RUNS, ROUNDS_SECONDS)
        yield Contest(world, AnsiblePull(first, programs), Pyinfra(second, programs), runs, budget)


def _first_deploy(contest: Contest) -> Iterator[Row]:
    """Ours has to start nginx and the Emperor as well, which run already for the others."""
    world = contest.world

    def ours() -> float:
        world.end()
        shutil.rmtree(world.root, ignore_errors=True)
        return to_live(world.port, HOST, "page 0000", lambda: once(world))

    def theirs(tool: AnsiblePull | Pyinfra) -> float:
        tool.server.forget()
        return _live(tool, "page 0000")

    # one round that is not counted fills the caches of pip and uv
    found = contest.measure(contest.actions({COLD: ours}, theirs), warm=0 if contest.runs == 1 else 1)
    for name in (ANSIBLE, PYINFRA):
        yield faster("first deploy to live, `once`", found[COLD], name, found[name])


def _nothing_to_do(contest: Contest) -> Iterator[Row]:
    """A warm engine and the command in the same rounds: each holds the state folder while it works."""
    world, pull = contest.world, contest.ansible
    installation = Installation.load(world.agent_file)
    with installation.engine() as engine:

        def warm(trigger: str) -> None:
            with state_lock(installation.layout):
                _unchanged(engine, trigger)

        with state_lock(installation.layout):
            engine.reconcile("bench")
        floor: dict[str, Action] = {WARM: lambda: warm("poll"), "floor": lambda: _quietly(*_ls_remote(world))}
        found = in_turn(floor, FLOOR_RUNS)
        yield slower("poll with nothing new, warm agent", found[WARM], "`git ls-remote`", found["floor"], most=3)
        found = contest.measure({WARM: lambda: warm("poll"), ANSIBLE: lambda: pull.deploy("-o")})
        yield faster("poll with nothing new, warm agent", found[WARM], "ansible-pull -o", found[ANSIBLE], least=None)
        ours: dict[str, Action] = {WARM: lambda: warm("bench"), COLD: lambda: once(world)}
        found = contest.measure(contest.actions(ours, lambda tool: tool.deploy()), warm=1)
    for name, least in ((ANSIBLE, 100), (PYINFRA, 20)):
        yield faster("pass with nothing to do, warm agent", found[WARM], name, found[name], least)
    for name, least in ((ANSIBLE, 10), (PYINFRA, 1)):
        yield faster("`once` with nothing to do, cold", found[COLD], name, found[name], least)


def _ls_remote(world: World) -> tuple[str, ...]:
    return ("git", "ls-remote", str(world.config))


def _change(contest: Contest) -> Iterator[Row]:
    world, texts = contest.world, contest.texts()
    of_import = _import_seconds(contest)

    def ours(action: Callable[[], object]) -> float:
        text = next(texts)
        world.commit({"apps/blog/wsgi.py": app_files("a", text)["a/wsgi.py"]})
        return to_live(world.port, HOST, text, action)

    def theirs(tool: AnsiblePull | Pyinfra) -> float:
        text = next(texts)
        tool.server.commit({"app/wsgi.py": app_files("a", text)["a/wsgi.py"]})
        return _live(tool, text)

    with_commands = contest.measure(contest.actions({COLD: lambda: ours(lambda: once(world))}, theirs))
    with world.engine() as engine:
        engine.reconcile("bench")
        warm = in_turn({WARM: lambda: ours(lambda: engine.reconcile("bench"))}, contest.runs)[WARM]
    bar = of_import + PAST_IMPORT_SECONDS
    yield bounded("one-line change to live, warm agent", warm, bar, f"import + 1.5 s = {bar:.2f} s")
    for name in (ANSIBLE, PYINFRA):
        yield faster("one-line change to live, `once`", with_commands[COLD], name, with_commands[name])


def _site(contest: Contest) -> Iterator[Row]:
    world = contest.world
    sizes = iter(range(2, 10000))

    def ours() -> None:
        world.commit({"manifests/blog.yaml": app_manifest(f"{next(sizes)}m")})
        once(world)

    def theirs(tool: AnsiblePull | Pyinfra) -> None:
        tool.server.commit({"site.yml": f"client_max_body_size: {next(sizes)}m\n"})
        tool.deploy()

    found = contest.measure(contest.actions({COLD: ours}, theirs))
    for name in (ANSIBLE, PYINFRA):
        yield faster("change of the site alone, `once`", found[COLD], name, found[name], least=None)


def _rollback(contest: Contest) -> Iterator[Row]:
    """From the revert to the answer of the release before."""
    world, texts = contest.world, contest.texts()

    def there_and_back(folder: Path, path: str, live: Callable[[str], float]) -> float:
        old, new = _committed(folder / path), next(texts)
        examples.write_and_commit(folder, {path: app_files("a", new)["a/wsgi.py"]}, new)
        # the other tools end before the app has loaded its new code
        live(new)
        examples.revert(folder)
        return live(old)

    def theirs(tool: AnsiblePull | Pyinfra) -> float:
        return there_and_back(tool.server.origin, "app/wsgi.py", lambda text: _live(tool, text))

    of_import = _import_seconds(contest)
    with world.engine() as engine:

        def deploy() -> object:
            return engine.reconcile("bench")

        def ours() -> float:
            return there_and_back(
                world.config, "apps/blog/wsgi.py", lambda text: to_live(world.port, HOST, text, deploy)
            )

        deploy()
        warm = in_turn({WARM: ours, "floor": lambda: _linked_copy(world)}, contest.runs, warm=0)
    bar = of_import + PAST_IMPORT_SECONDS
    yield bounded("rollback to live, warm agent", warm[WARM], bar, f"import + 1.5 s = {bar:.2f} s")
    yield slower("rollback to live, warm agent", warm[WARM], "`cp -al` of the release", warm["floor"])
    others = in_turn(contest.actions({}, theirs), min(contest.runs, len(warm[WARM]), 2), warm=0)
    for name in (ANSIBLE, PYINFRA):
        ours_as_often = warm[WARM][: len(others[name])]
        yield faster("rollback to live, warm agent", ours_as_often, name, others[name], least=None)


def _committed(file: Path) -> str:
    """The page that an app's source says."""
    return next(line for line in file.read_text().splitlines() if "return" in line).split("'")[1]


def _live(tool: AnsiblePull | Pyinfra, text: str) -> float:
    server: HandMade = tool.server
    # the Emperor compares whole seconds, and a change within the second of the one before would not be seen
    if server.vassal.exists():
        time.sleep(max(0.0, 1.0 - (time.time() - server.vassal.stat().st_mtime)))
    return to_live(server.port, HOST, text, tool.deploy)


def _unchanged(engine: Engine, trigger: str) -> None:
    result = engine.reconcile(trigger)
    if result.failed or any(app.outcome.value != "unchanged" for app in result.apps):
        raise RuntimeError(f"the pass was to have nothing to do: {result}")


def _quietly(*arguments: str) -> None:
    command(arguments)


def _import_seconds(contest: Contest) -> float:
    """The app's own import, in the environment that it runs in."""
    layout = contest.world.root
    python = next((layout / "store" / "build").glob("*/environment/bin/python"), Path(sys.executable))
    folder = layout / "public" / "blog" / "app"
    action: dict[str, Action] = {"import": lambda: _import(python, folder)}
    return statistics.median(in_turn(action, 3)["import"])


def _import(python: Path, folder: Path) -> None:
    command((python, "-c", "import wsgi"), cwd=folder.resolve())


def _linked_copy(world: World) -> float:
    """What a copy of a whole release by hard links takes."""
    target = world.home / "copy"
    started = time.perf_counter()
    for name in ("source", "build"):
        newest = max((world.root / "store" / name).iterdir(), key=lambda path: path.stat().st_mtime)
        command(("cp", "-al", newest, target / name if target.exists() else _made(target) / name))
    taken = time.perf_counter() - started
    shutil.rmtree(target)
    return taken


def _made(folder: Path) -> Path:
    folder.mkdir()
    return folder
