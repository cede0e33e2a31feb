"""Random sequences of commits, reverts, drifts, faults, deaths and passes keep the invariants of the design.

What holds which of them:

| invariant | check |
|---|---|
| 1 serving never depends on the agent | ``visited``: the blog answers at any time, with the agent dead or at work |
| 2 the public path leads to a proven release | ``Onlooker``, and the bodies of the visits |
| 3 killed anywhere, the next pass converges | ``killed_pass``, then ``a_pass`` |
| 4 what cannot be read is not "nothing desired" | ``git_server_is_away``, ``commit_an_unreadable_manifest`` |
| 5 nothing to do, nothing written | ``a_pass_at_rest`` |
| 6 applied means verified | ``_applied_is_what_serves`` |
| 7 outputs are visible only whole | ``outputs_are_whole`` |
| 8 every action has its reasons, every drift a difference | ``a_pass``, ``drift`` |
| 9 a secret is nowhere but in the app | ``nobody_wrote_the_secret_down`` |
| 10 an app has none of the agent's rights | not here: the embedded profile has one account; ``make test-system`` |
| 11 an upgrade redeploys nothing | ``upgraded_pass`` |
| 12 history moves forward; a revert is always legal | ``force_push``, ``revert`` |
"""

from __future__ import annotations

import copy
import json
import os
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import pytest
from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

import examples
from campaign import Host, Onlooker, Pass, new_host, visited
from sops_program import Keeper
from world import manifest, wsgi_app

SECRET = "canary-91c4-of-the-campaign"
SECRET_FILE = "secrets/blog.yaml"
BROKEN = "raise RuntimeError('this release must never be seen')\n"
NAMES = ("blog", "shop", "wiki")
LASTING = "blog"
"""The app that is never removed: its visitors must get an answer at any time."""
EXAMPLES, STEPS = 3, 14
"""The first sequence that hypothesis makes is always the shortest."""
MANY_EXAMPLES, MANY_STEPS = 40, 50


@dataclass
class App:
    """What git asks of an app, and the page that the model expects it to serve."""

    number: int = 0
    colour: str = "red"
    size: int = 1
    css: int = 0
    good: bool = True
    readable: bool = True

    @property
    def page(self) -> str:
        return f"{self.number} {self.colour}"

    def files(self, name: str) -> dict[str, str]:
        """What is in git."""
        strategy = {"strategy": "touch"} if name == "shop" else {}
        spec: dict[str, Any] = {
            "uwsgi": {"processes": 1, "threads": 2, "drain": "1s", **strategy},
            "nginx": {"clientMaxBodySize": f"{self.size}m"},
            "env": {"COLOUR": self.colour},
            "static": [{"source": "static", "url": "/static/"}],
            "verify": {"timeout": "10s"},
        }
        if name == LASTING:
            spec["secrets"] = {"TOKEN": f"{SECRET_FILE}#token"}
        text = manifest(name, **spec)
        return {
            f"apps/{name}/wsgi.py": wsgi_app(str(self.number)) if self.good else BROKEN,
            f"apps/{name}/static/site.css": f"a {{ margin: {self.css + 1}px }}\n",
            f"manifests/{name}.yaml": text if self.readable else text.replace("processes: 1", "processes: none"),
        }


@dataclass
class Commit:
    """One commit, and what git asks of every app with it."""

    id: str
    apps: dict[str, App] = field(default_factory=dict)


class Reconciling(RuleBasedStateMachine):
    """One host, and a model of what it has to serve."""

    told: ClassVar[list[int]] = []
    seed: ClassVar[int]

    def __init__(self) -> None:
        super().__init__()
        self._ends = ExitStack()
        self.host: Host = self._ends.enter_context(new_host())
        self.commits: list[Commit] = []
        self.serving: dict[str, App] = {}
        self.suspended: set[str] = set()
        self.drifted: set[str] = set()
        self.known: dict[str, str] = {}
        self.pages: set[str] = set()
        self.settled = False
        self.unsure = False
        self.polled = ""
        self.numbers = 0
        self.steps = 0

    @initialize()
    def begin(self) -> None:
        keeper = Keeper.new(self.host.world.home)
        self.host.world.configure(prune="{limit: 1.0}", secrets="{ageKey: ./age.key}")
        self._commit(
            {LASTING: App(), "shop": App()}, {SECRET_FILE: keeper.encrypt(SECRET_FILE, f"token: {SECRET}\n")}
        )
        self.a_pass()
        self.visits = self._ends.enter_context(visited(self.host.world, LASTING))
        self.onlooker = self._ends.enter_context(Onlooker(self.host.world))

    def teardown(self) -> None:
        """End the visits, then judge them."""
        with self._ends:
            if not self.commits:
                return
            self.nobody_wrote_the_secret_down()
        type(self).told.append(self.steps)
        wrong = [visit for visit in self.visits if visit.status != 200 or visit.body not in self.pages]
        assert not wrong, wrong[:5]
        assert not self.onlooker.complaints, self.onlooker.complaints

    # what people commit

    @property
    def wanted(self) -> dict[str, App]:
        return self.commits[-1].apps

    def _commit(self, apps: dict[str, App], more: dict[str, str] | None = None) -> None:
        files: dict[str, str | None] = dict(more or {})
        for name in self.wanted if self.commits else ():
            if name not in apps:
                files |= dict.fromkeys(App().files(name))
        for name, app in apps.items():
            files |= app.files(name)
        self.commits.append(Commit(self.host.world.commit(files), copy.deepcopy(apps)))
        self._asked()

    def _asked(self) -> None:
        self.settled = False
        self.pages |= {app.page for app in self.wanted.values() if app.good and app.readable}

    def _change(self, name: str, **values: object) -> None:
        apps = copy.deepcopy(self.wanted)
        for key, value in values.items():
            setattr(apps[name], key, value)
        self._commit(apps)

    def _number(self) -> int:
        self.numbers += 1
        return self.numbers

    names = st.sampled_from(NAMES)

    @rule(name=names, what=st.sampled_from(["number", "colour", "size", "css"]))
    def commit_a_change(self, name: str, what: str) -> None:
        self.steps += 1
        if name not in self.wanted:
            self._commit({**copy.deepcopy(self.wanted), name: App(number=self._number())})
            return
        number = self._number()
        value = {"number": number, "colour": f"blue{number}", "size": 1 + number, "css": number}[what]
        self._change(name, good=True, readable=True, **{what: value})

    @rule(name=names)
    def commit_broken_code(self, name: str) -> None:
        self.steps += 1
        if name in self.wanted and self.wanted[name].good:
            self._change(name, good=False)

    @rule(name=names)
    def commit_an_unreadable_manifest(self, name: str) -> None:
        self.steps += 1
        if name in self.wanted and self.wanted[name].readable:
            self._change(name, readable=False)

    @rule(name=st.sampled_from([name for name in NAMES if name != LASTING]))
    def commit_a_removal(self, name: str) -> None:
        self.steps += 1
        if name in self.wanted and name not in self.suspended:
            self._commit({key: app for key, app in copy.deepcopy(self.wanted).items() if key != name})

    @precondition(lambda self: len(self.commits) > 1)
    @rule()
    def revert(self) -> None:
        self.steps += 1
        before = copy.deepcopy(self.commits[-2].apps)
        if self.suspended - before.keys():
            return
        self.commits.append(Commit(examples.revert(self.host.world.config), before))
        self._asked()

    # what else happens

    @precondition(lambda self: self.polled == self.commits[-1].id)
    @rule()
    def force_push(self) -> None:
        """Refused until the old history is back; meanwhile everything serves."""
        self.steps += 1
        config = self.host.world.config
        examples.git(config, "commit", "--quiet", "--amend", "--message=Another history")
        done = self.host.once()
        assert done.status != 0, done.output
        assert "rewritten" in done.output, done.output
        self._serves_old_or_new()
        examples.git(config, "reset", "--quiet", "--hard", self.commits[-1].id)

    @rule()
    def git_server_is_away(self) -> None:
        """Nothing is known, so nothing is done."""
        self.steps += 1
        config = self.host.world.config
        config.rename(config.with_name("away"))
        try:
            done = self.host.once()
            assert done.status != 0, done.output
            self._serves_old_or_new()
        finally:
            config.with_name("away").rename(config)

    @rule(name=names, kind=st.sampled_from(["site", "mode", "extra", "code", "static", "link"]))
    def drift(self, name: str, kind: str) -> None:
        """Somebody edits what serves, without ending it."""
        self.steps += 1
        if name not in self.serving or self.unsure:
            return
        root = self.host.root
        release = root / "public" / name
        if kind == "site":
            site = root / "nginx" / "sites" / f"{name}.conf"
            site.write_text(site.read_text() + "# edited\n")
        elif kind == "mode":
            (root / "nginx" / "sites" / f"{name}.conf").chmod(0o600)
        elif kind == "extra":
            (release / "app" / "extra.py").write_text("x = 1\n")
        elif kind == "code":
            (release / "app" / "wsgi.py").write_text("# edited\n" + (release / "app" / "wsgi.py").read_text())
        elif kind == "static":
            (release / "static" / "0" / "site.css").write_text("edited")
        else:
            (release / "extra").symlink_to("nowhere")
        self.settled = False
        self.drifted.add(name)
        self.known.clear()
        self.host.forget_drift()
        found = self.host.run("drift", "--json")
        assert found.status == 3, found.output
        rows = json.loads(found.output)["drift"]
        assert any(row["app"] == name for row in rows), rows
        assert all(row["diff"] and row["path"] and row["kind"] for row in rows), rows

    @rule(name=names)
    def suspend_or_resume(self, name: str) -> None:
        self.steps += 1
        if name in self.suspended:
            assert self.host.run("resume", name).status == 0
            self.suspended.remove(name)
            self.settled = False
        elif name in self.serving and name in self.wanted:
            assert self.host.run("suspend", name, "--reason", "a test").status == 0
            self.suspended.add(name)

    # passes

    @rule(after=st.floats(0.0, 0.8))
    def killed_pass(self, after: float) -> None:
        """Whatever was reached, visitors see the old or the new release."""
        self.steps += 1
        self.host.once(after=after)
        self.unsure = not self.settled
        self._serves_old_or_new()

    @rule()
    def a_pass(self) -> None:
        """An undisturbed pass brings every app to where git wants it, or says why not."""
        self.steps += 1
        self._judge(self.host.once())

    @rule()
    def upgraded_pass(self) -> None:
        """A newer reconciler comes to the same, and redeploys nothing by itself."""
        self.steps += 1
        if self.settled:
            before = self._everything()
            done = self.host.once(module="upgrade", version=self._number())
            assert set(done.outcomes.values()) <= {"unchanged", "suspended", "quarantined"}, done.output
            assert self._everything() == before
        self._judge(self.host.once(module="upgrade", version=self._number()))

    @precondition(lambda self: self.settled)
    @rule()
    def a_pass_at_rest(self) -> None:
        """With nothing to do nothing is written, started or reloaded."""
        self.steps += 1
        before = self._everything()
        self._judge(self.host.once())
        after = self._everything()
        assert after == before, [key for key in {*before, *after} if before.get(key) != after.get(key)]

    def _judge(self, done: Pass) -> None:
        assert "{" in done.output, done.output
        result = done.result
        outcomes = done.outcomes
        errors = {app["app"]: app["error"] for app in result["apps"]}
        for app in result["apps"]:
            for stage in app["stages"]:
                assert stage["action"] == "none" or stage["reasons"], app
        for name, app in self.wanted.items():
            if name in self.suspended:
                assert outcomes[name] == "suspended" or not app.readable, (name, done.output)
            elif not app.readable:
                assert outcomes[name] == "failed", (name, done.output)
            elif not app.good:
                assert outcomes[name] in {"failed", "quarantined"}, (name, done.output)
            else:
                assert outcomes[name] in {"changed", "unchanged"}, (name, errors.get(name), done.output)
                self.serving[name] = copy.deepcopy(app)
                self.drifted.discard(name)
        for name in self.serving.keys() - self.wanted.keys():
            assert outcomes[name] == "changed", (name, done.output)
            del self.serving[name]
            self.drifted.discard(name)
        self.polled = self.commits[-1].id
        self.unsure = False
        self._serves(self.serving)
        self._applied_is_what_serves()
        self.settled = not self.drifted and "failed" not in outcomes.values()

    def _serves_old_or_new(self) -> None:
        """After a pass that did not get to its end, or that was told nothing."""
        for name in self.serving.keys() & self.wanted.keys():
            allowed = {self.serving[name].page, self.wanted[name].page}
            answer = self.host.world.get("/", f"{name}.example.com")
            assert answer.status_code == 200, (name, answer.status_code)
            assert answer.text in allowed, (name, answer.text, allowed)

    def _serves(self, apps: dict[str, App]) -> None:
        for name, app in apps.items():
            assert self.host.world.text(f"{name}.example.com") == app.page, name
            if name not in self.drifted:
                css = self.host.world.text(f"{name}.example.com", "/static/site.css")
                assert css == f"a{{margin:{app.css + 1}px}}", (name, css)
        public = {entry.name for entry in (self.host.root / "public").iterdir() if not entry.name.startswith(".")}
        assert public == apps.keys(), (public, apps.keys())

    def _applied_is_what_serves(self) -> None:
        applied = {row[0]: row[1] for row in self.host.journal()["apps"] if row[1]}
        for name in self.serving:
            link = os.readlink(self.host.root / "public" / name)
            assert Path(link).name == applied[str(name)], (name, link, applied)

    def _everything(self) -> dict[str, object]:
        """All files with their times, and the processes of nginx and uWSGI."""
        root, found = self.host.root, dict[str, object]()
        for place, folders, files in os.walk(root):
            if place == str(root):
                folders[:] = [name for name in folders if name not in ("logs", "run")]
            for name in files:
                status = os.lstat(os.path.join(place, name))
                key = os.path.relpath(os.path.join(place, name), root)
                if not key.startswith(("journal.sqlite3", "lock")):
                    found[key] = (status.st_mtime_ns, status.st_ino, status.st_size, status.st_mode)
        found["processes"] = sorted(processes_below(self.host.world.home))
        return found

    # always

    @invariant()
    def outputs_are_whole(self) -> None:
        if not self.commits or self.drifted:
            return
        found = self.host.outputs()
        wrong = {name for name, what in found.items() if self.known.get(name, what) != what}
        assert not wrong, wrong
        self.known |= found

    def nobody_wrote_the_secret_down(self) -> None:
        """Only the environment of the vassal has it."""
        for place, _, files in os.walk(self.host.world.home):
            for name in files:
                path = Path(place, name)
                if path.is_symlink() or not path.is_file() or name.endswith((".env", ".env.kept")):
                    continue
                assert SECRET.encode() not in path.read_bytes(), path


def processes_below(home: Path) -> list[tuple[int, str]]:
    """The daemons of a world, by number and command."""
    found = []
    for process in Path("/proc").iterdir():
        if process.name.isdecimal():
            try:
                command = (process / "cmdline").read_bytes().decode("utf-8", "replace")
            except OSError:
                continue
            if f"{home}/v/" in command and "load.py" not in command:
                found.append((int(process.name), command))
    return found


class OneWay(Reconciling):
    """The sequences of one run."""

    seed = 1


class AnotherWay(Reconciling):
    """And those of another, beside it."""

    seed = 2


@pytest.mark.parametrize("machine", [OneWay, AnotherWay], ids=lambda machine: machine.__name__)
def test_any_sequence_keeps_the_invariants(
    machine: type[Reconciling], long: bool, share: float, record_property: pytest.RecordProperty
) -> None:
    machine.told = []
    number = int.from_bytes(os.urandom(4), "big") if long else machine.seed
    chosen = settings(
        max_examples=MANY_EXAMPLES if long else max(1, round(EXAMPLES * share)),
        stateful_step_count=MANY_STEPS if long else STEPS,
        deadline=None,
        derandomize=False,
        database=None,
        print_blob=True,
        # a sequence takes seconds: a shorter one that fails would take minutes to find
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    print(f"the seed is {number}")
    run_state_machine_as_test(seed(number)(machine), settings=chosen)
    steps = sum(machine.told)
    text = f"properties, {machine.__name__}: {len(machine.told)} sequences, {steps} steps, seed {number}"
    record_property("campaign", text)
