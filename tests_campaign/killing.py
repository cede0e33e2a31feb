"""Changes that are carried out by agents which get killed, and what is looked at after each of them."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import canary
from campaign import PASS_SECONDS, Host, Onlooker, Pass, differences, refused, until, visited
from scenarios import ONCE, Scenario, Step
from world import manifest, wsgi_app

NEIGHBOUR = "the neighbour"
QUIET = {"unchanged"}


@dataclass
class Expected:
    """What an undisturbed run of a step comes to, in order, and what it ends in."""

    points: list[str]
    state: dict[str, object]


@dataclass
class Campaign:
    """One scenario on one host; ``wrong`` are the sentences that must not be there at the end."""

    host: Host
    scenario: Scenario
    known: dict[str, str] = field(default_factory=dict)
    expected: list[Expected] = field(default_factory=list)
    killed: int = 0
    visits: int = 0
    wrong: list[str] = field(default_factory=list)

    def begin(self) -> None:
        """Add the neighbour, and go round once: what comes first of all makes what later rounds find."""
        uwsgi = {"processes": 1, "threads": 2}
        files = {"apps/other/wsgi.py": wsgi_app(NEIGHBOUR), "manifests/other.yaml": manifest("other", uwsgi=uwsgi)}
        self.host.world.commit(files | canary.provide(self.host.world.home))
        self.host.converge()
        if self.scenario.start:
            self.host.world.commit(self.scenario.start)
            self.host.converge()
        for step in self.scenario.steps:
            self.carry_out(step)

    def learn(self) -> None:
        """Go round undisturbed, and remember the points and the states."""
        for step in self.scenario.steps:
            self.change(step)
            points = [name for name, _ in self.host.points(*step.command)]
            self.known |= self.host.outputs()
            self.expected.append(Expected(points, self.host.state()))

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Visitors come while the block runs, and somebody looks at the links."""
        scenario, world = self.scenario, self.host.world
        with ExitStack() as stack:
            neighbours = stack.enter_context(visited(world, "other"))
            visits = stack.enter_context(visited(world, "blog", scenario.path)) if scenario.bodies else []
            onlooker = stack.enter_context(Onlooker(world, ("blog",) if scenario.damages else ()))
            yield
        self.visits += len(neighbours) + len(visits)
        self.wrong += refused(neighbours, {NEIGHBOUR}) + refused(visits, scenario.bodies)
        self.wrong += dict.fromkeys(onlooker.complaints)

    def change(self, step: Step) -> None:
        """Ask for something else."""
        if not self.scenario.history:
            self.host.forget_history()
        step.change(self.host)

    def carry_out(self, step: Step) -> None:
        """A step without a death."""
        self.change(step)
        self.host.converge(*step.command)

    def die(self, step: Step, where: str, **plan: object) -> bool:
        """Run the command of a step until it is killed as the plan says; returns whether it was."""
        done = self.host.run(*step.command, **plan)
        if done.killed:
            self.killed += 1
        elif done.status != 0 and not _was_done(step, done):
            self.wrong.append(f"{where}: {done.output}")
        self.look(where)
        return done.killed

    def recover(self, step: Step, expected: Expected, where: str) -> None:
        """An undisturbed run has to end where it would have without the deaths; a further one finds nothing to do."""
        again = self.host.run(*step.command)
        if again.status != 0 and not _was_done(step, again):
            self.wrong.append(f"{where}: the next run failed: {again.output}")
        self.wrong += [f"{where}: {line}" for line in differences(expected.state, self.host.state())]
        if step.command == ONCE:
            rest = self.host.once()
            if rest.status != 0 or set(rest.outcomes.values()) != QUIET:
                self.wrong.append(f"{where}: a further pass found work: {rest.output}")

    def live_and_die(self, expected: Expected, where: str, moments: list[float]) -> None:
        """Agents that stay, each killed after so many seconds: the next one has to end what they began."""
        output = self.host.world.home / "agent.log"
        for after in moments:
            self.host.start("run", output=output, after=after).wait(PASS_SECONDS)
            self.killed += 1
            self.look(where)
        second = self.host.start("run", output=output)
        try:
            until(lambda: not differences(expected.state, self.host.state()), f"{where}: convergence")
        except AssertionError as error:
            left = differences(expected.state, self.host.state())
            self.wrong.append("\n".join([str(error), *left, output.read_text()]))
        finally:
            second.kill()
            second.wait()

    def look(self, where: str) -> None:
        """No output that can be seen may be another than the whole one of its name."""
        if self.scenario.damages:
            return
        for output, found in self.host.outputs().items():
            if self.known.get(output, found) != found:
                self.wrong.append(f"{where}: {output} is visible and not whole")


def _was_done(step: Step, again: Pass) -> bool:
    """What was forgotten completely cannot be forgotten again."""
    return step.command[0] == "forget" and "knows no app" in again.output


def claim(file: Path, name: str) -> bool:
    """Whether no other process has claimed ``name`` in ``file`` yet."""
    with file.open("a+", encoding="utf-8") as known:
        fcntl.flock(known, fcntl.LOCK_EX)
        known.seek(0)
        if name in known.read().splitlines():
            return False
        known.write(f"{name}\n")
        known.flush()
    return True
