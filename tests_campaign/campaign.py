"""A host whose agent can be killed anywhere, who looks at it meanwhile, and the state that it ends in."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import canary
from command_line import PYTHONPATH, environment
from preloaded import Command, preloaded
from world import World, new_world

HERE = Path(__file__).parent
LOAD = HERE.parent / "tests" / "load.py"
PASS_SECONDS = 60.0
POLL_SECONDS = 0.05
LOOK_SECONDS = 0.01
VISITS_PER_SECOND = 8.0
STAGES = ("source", "build", "static")
TEMPORARY = ".tmp-"
AGENTS_PATH = f"{PYTHONPATH}:{HERE.parent / 'tests'}:{HERE}"
"""Where the processes of agents find what prepares them."""


@dataclass
class Pass:
    """How one run of an agent ended: its exit status or minus a signal, and what it printed."""

    status: int
    output: str

    @property
    def killed(self) -> bool:
        return self.status == -signal.SIGKILL

    @property
    def result(self) -> dict[str, Any]:
        """What ``once --json`` printed."""
        found: dict[str, Any] = json.loads(self.output[self.output.index("{") :])
        return found

    @property
    def outcomes(self) -> dict[str, str]:
        """The outcome of every app."""
        return {app["app"]: app["outcome"] for app in self.result["apps"]}


@dataclass
class Host:
    """One world, its agents, and those who look at it."""

    world: World
    boot: str | None = None

    @property
    def root(self) -> Path:
        return self.world.root

    def run(self, *arguments: str, seconds: float = PASS_SECONDS, **plan: object) -> Pass:
        """Run one command to its end, or to its death."""
        output = self.world.home / "output"
        command = self.start(*arguments, output=output, **plan)
        try:
            status = command.wait(seconds)
        except subprocess.TimeoutExpired:
            command.kill()
            command.wait()
            raise AssertionError(f"{arguments} did not end within {seconds:g} s") from None
        text = output.read_text("utf-8", "replace")
        canary.refuse(text, f"the output of {arguments}")
        return Pass(status, text)

    def start(self, *arguments: str, output: Path, **plan: object) -> Command:
        """Start a command, prepared as :mod:`agents` says."""
        self.scratch.mkdir(exist_ok=True)
        whole = ["-c", str(self.world.agent_file), *arguments]
        with Path(os.devnull).open("rb") as nothing, output.open("wb") as written:
            streams = (nothing.fileno(), written.fileno(), written.fileno())
            variables = environment({"TMPDIR": str(self.scratch)})
            return preloaded(AGENTS_PATH).start(
                whole, None, variables, streams, ("agents", {"boot": self.boot, **plan})
            )

    @property
    def scratch(self) -> Path:
        """Where programs put temporary files, in place of the host's own folder for them."""
        return self.world.home / "t"

    def lose_power(self) -> None:
        """End everything, and start the host anew."""
        self.world.end()
        boot = self.world.home / "boot"
        boot.write_text(f"{os.urandom(8).hex()}\n")
        self.boot = str(boot)

    def once(self, **plan: object) -> Pass:
        """One pass."""
        return self.run("once", "--json", **plan)

    def converge(self, *arguments: str) -> Pass:
        """An undisturbed command, which has to end well."""
        done = self.run(*(arguments or ("once", "--json")))
        assert done.status == 0, done.output
        return done

    def points(self, *arguments: str) -> list[tuple[str, str]]:
        """Every point that an undisturbed command comes to, in order, with what it is about."""
        record = self.world.home / "points"
        done = self.run(*(arguments or ("once", "--json")), record=str(record))
        assert done.status == 0, done.output
        return [tuple(json.loads(line)) for line in record.read_text().splitlines()]

    def forget_history(self) -> None:
        """Empty what the journal keeps of earlier attempts: the next one is the first of its release again."""
        with sqlite3.connect(self.root / "journal.sqlite3", timeout=10) as connection:
            for table in ("releases", "hooks", "events", "passes", "drift"):
                connection.execute(f"DELETE FROM {table}")
        connection.close()

    def forget_drift(self) -> None:
        """Empty what the journal keeps of heals: what comes back too often would be held."""
        with sqlite3.connect(self.root / "journal.sqlite3", timeout=10) as connection:
            connection.execute("DELETE FROM drift")
        connection.close()

    # what is there

    def outputs(self) -> dict[str, str]:
        """Every visible output of the store, and a hash over all that is in it."""
        found = {}
        for stage in STAGES:
            with suppress(FileNotFoundError):
                for entry in os.scandir(self.root / "store" / stage):
                    if not entry.name.startswith(TEMPORARY):
                        found[f"{stage}/{entry.name}"] = fingerprint(Path(entry.path), exact=stage != "build")
        return found

    def state(self) -> dict[str, object]:
        """All that a pass leaves behind and that is no log, no cache, no time and no process."""
        root, found = self.root, {}
        for folder in ("public", "releases", "vassals", "nginx", "assets", "shared", "store", "run"):
            for path, what in tree(root / folder, contents=folder not in ("store", "run")):
                # a vassal that starts or ends makes and removes its own
                if what != "socket":
                    found[f"{folder}/{path}"] = what
        for name in ("generation.conf", "generation"):
            found.pop(f"nginx/{name}", None)
        found = {path: what for path, what in found.items() if not _is_of_the_moment(path)}
        found["outputs"] = self.outputs()
        found["scratch"] = sorted(os.listdir(self.scratch))
        found["top"] = sorted(name for name in os.listdir(root) if not name.startswith("journal.sqlite3-"))
        found["journal"] = self.journal()
        return found

    def journal(self) -> dict[str, list[tuple[object, ...]]]:
        """What the journal says of the present, without times."""
        statements = {
            "apps": "SELECT app, release, last_error, quarantined_key, suspended_reason, waiting_reason FROM apps",
            "applied": "SELECT app, stage, digest, key FROM applied",
            "outputs": "SELECT stage, digest, key FROM outputs",
            "suspensions": "SELECT app, reason FROM suspensions",
            "failed": "SELECT app, release, error FROM releases WHERE state <> 'verified'",
        }
        connection = sqlite3.connect(f"file:{self.root}/journal.sqlite3?mode=ro", uri=True, timeout=10)
        try:
            return {name: sorted(connection.execute(text).fetchall(), key=repr) for name, text in statements.items()}
        finally:
            connection.close()


def _is_of_the_moment(path: str) -> bool:
    return path.endswith((".pid", "control.sock", ".daemon", ".starting", "-wal", "-shm")) or path.startswith(
        "store/index"
    )


def tree(folder: Path, *, contents: bool) -> Iterator[tuple[str, str]]:
    """What is in a folder: links with their targets, files with modes and, where asked, a hash of their content."""
    if not folder.is_dir():
        return
    for place, folders, files in os.walk(folder):
        for name in sorted([*folders, *files]):
            path = os.path.join(place, name)
            shown = os.path.relpath(path, folder)
            if not contents and shown.count(os.sep) > 1:
                continue
            yield shown, describe(path, contents=contents)


def describe(path: str, *, contents: bool) -> str:
    """One file, folder or link in a word."""
    try:
        status = os.lstat(path)
        if os.path.islink(path):
            return f"-> {os.readlink(path)}"
        if os.path.isdir(path):
            return f"folder {status.st_mode:o}"
        if not os.path.isfile(path):
            return "socket"
        return f"file {status.st_mode:o} {_hash(path) if contents else ''}"
    except FileNotFoundError:
        return "gone"


def _hash(path: str) -> str:
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()[:16]


def fingerprint(folder: Path, *, exact: bool) -> str:
    """A hash over the names, kinds and modes in a tree; with ``exact`` over the contents too."""
    digest = hashlib.sha256()
    for path, what in sorted(tree_of(folder, exact=exact)):
        digest.update(f"{path}\0{what}\0".encode("utf-8", "surrogateescape"))
    return digest.hexdigest()[:16]


def tree_of(folder: Path, *, exact: bool) -> Iterator[tuple[str, str]]:
    """Every path of an output; bytecode and what compresses with a time in it counts by its name alone."""
    for place, folders, files in os.walk(folder):
        for name in (*folders, *files):
            path = os.path.join(place, name)
            yield os.path.relpath(path, folder), describe(path, contents=exact)


# those who look


class Onlooker:
    """Looks at the public links all the time: none may ever lead to something that is not whole.

    ``besides`` are apps whose links someone else damages.
    """

    def __init__(self, world: World, besides: tuple[str, ...] = ()) -> None:
        self._world = world
        self._besides = besides
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self.complaints: list[str] = []
        self.looks = 0

    def __enter__(self) -> Onlooker:
        self._thread = threading.Thread(target=self._look_on, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        if self._thread is not None:
            self._thread.join()

    def _look_on(self) -> None:
        while not self._stop.wait(LOOK_SECONDS):
            self.look()

    def look(self) -> None:
        """One look at every public link."""
        self.looks += 1
        public = self._world.root / "public"
        try:
            names = [name for name in os.listdir(public) if not name.startswith(".") and name not in self._besides]
        except FileNotFoundError:
            return
        for name in names:
            wrong = self._wrong(public / name)
            # it may have moved on between two questions: only a link that stands counts
            if wrong and self._wrong(public / name) == wrong:
                self.complaints.append(wrong)

    @staticmethod
    def _wrong(link: Path) -> str:
        try:
            target = os.readlink(link)
        except OSError:
            return ""
        release = os.path.normpath(os.path.join(link.parent, target))
        for part in ("static", "app", "web"):
            path = os.path.join(release, part)
            if not os.path.islink(path):
                return f"{link} leads to {target}, which has no {part}"
            if part != "web" and not os.path.isdir(path):
                return f"{link} leads to {target}, whose {part} leads nowhere"
        return ""


@dataclass
class Visit:
    """One request and its answer."""

    at: float
    seconds: float
    status: int
    body: str


@contextmanager
def visited(world: World, app: str, path: str = "/", rate: float = VISITS_PER_SECOND) -> Iterator[list[Visit]]:
    """Visitors who do not wait for each other come to an app while the block runs; the visits are there after it."""
    result = world.home / f"visits-{app}-{abs(hash(path)) % 10000}"
    arguments = [str(world.port), f"{app}.example.com", path, str(rate), "3600", str(result)]
    process = subprocess.Popen([sys.executable, LOAD, *arguments], stdin=subprocess.PIPE)
    visits: list[Visit] = []
    try:
        yield visits
    finally:
        process.communicate(timeout=30)
    visits += [Visit(*entry) for entry in json.loads(result.read_text())]


def refused(visits: list[Visit], bodies: Mapping[str, object] | set[str] | tuple[str, ...]) -> list[str]:
    """What visitors met that was no answer of an old or a new release, a sentence each."""
    return [
        f"status {visit.status} after {visit.seconds:.2f} s: {visit.body[:120]!r}"
        for visit in visits
        if visit.status != 200 or visit.body not in bodies
    ]


@contextmanager
def new_host() -> Iterator[Host]:
    """A host that ends with everything in it."""
    with new_world() as world:
        yield Host(world)


def differences(expected: Mapping[str, object], found: Mapping[str, object]) -> list[str]:
    """What differs between two states, a line each."""
    lines = []
    for key in sorted({*expected, *found}):
        one, other = expected.get(key), found.get(key)
        if one != other:
            if isinstance(one, dict) and isinstance(other, dict):
                lines += [f"{key}.{line}" for line in differences(one, other)]
            else:
                lines.append(f"{key}: expected {one!r}, found {other!r}")
    return lines


def until(condition: Callable[[], bool], what: str, seconds: float = 20.0) -> None:
    """Wait for a condition."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"{what} did not happen within {seconds:g} s"
        time.sleep(POLL_SECONDS)
