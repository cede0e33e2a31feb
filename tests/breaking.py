"""A host with two apps, one of which gets broken in many ways while the other must go on being deployed."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

import canary
import examples
from reconciler.cli.views.once import summary_lines
from reconciler.engine.results import AppResult, PassResult
from reconciler.model.errors import ReconcilerError
from reconciler.model.plan import Outcome
from world import World, manifest, new_world, of, wsgi_app

CSS = ".blog { color: #00ff00 }\n"
PLAIN: dict[str, object] = {
    "static": [{"source": "static", "url": "/static/"}],
    "uwsgi": {"threads": 1},
    "verify": {"timeout": "20s"},
}
SENTENCE_CHARACTERS = 400
INTERNALS = re.compile(r"Traceback|<class|\.tmp-|/store/|object at 0x|reconciler\.(model|host|engine|stages)")


def plain(name: str, **spec: object) -> str:
    """The manifest of an app that gets broken; ``spec`` replaces its keys."""
    return manifest(name, **{**PLAIN, "secrets": canary.REFERENCES, **spec})


def blog(**spec: object) -> str:
    """The manifest of the blog."""
    return plain("blog", **spec)


def show(result: PassResult) -> None:
    """Print what a person sees of a pass, so that a failing test (or ``-rP``) shows it."""
    print("\n".join("".join(str(getattr(part, "text", part)) for part in line) for line in summary_lines(result, {})))


def well_said(error: ReconcilerError) -> None:
    """One sentence of a length that people read, without what only a programmer knows, and with a next action."""
    text = str(error)
    assert len(text) <= SENTENCE_CHARACTERS, text
    assert "\n" not in text, text
    assert not INTERNALS.search(f"{text} {error.hint}"), f"{text} {error.hint}"
    assert error.hint, text


@dataclass
class Town:
    """The two apps, ``blog`` and ``other``, in one world."""

    world: World
    other: str = "other 0"
    numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    def settle(self) -> None:
        """Commit a correction of everything, with a blog that is new; both apps must converge in one pass."""
        number = next(self.numbers)
        examples.git(self.world.config, "rm", "-r", "-q", "--ignore-unmatch", ".")
        self.world.commit(
            {
                **canary.provide(self.world.home),
                "apps/blog/wsgi.py": wsgi_app(f"blog {number}"),
                "apps/blog/static/site.css": CSS,
                "manifests/blog.yaml": blog(),
                "apps/other/wsgi.py": wsgi_app(self.other),
                "manifests/other.yaml": manifest("other", uwsgi={"threads": 1}),
            }
        )
        result = self.world.once()
        show(result)
        assert not result.failed
        assert self.pages() == (f"blog {number}", self.other)

    def pages(self) -> tuple[str, str]:
        """What visitors see of the two apps."""
        return self.world.text("blog.example.com"), self.world.text("other.example.com")

    def break_blog(self, bad: Mapping[str, str | None], *, says: str) -> AppResult:
        """Commit something bad for ``blog`` and a change of ``other``: the one fails as ``says`` (a pattern of the
        sentence), serving what it served, and the other one is deployed in the same pass.
        """
        examples.write_and_commit(self.world.config, bad, "Break the blog")
        return self.pass_with_broken_blog(says=says)

    def pass_with_broken_blog(self, *, says: str) -> AppResult:
        """The same for what is broken already; ``other`` gets a change."""
        page, stylesheet = self.pages()[0], self.stylesheet()
        number = next(self.numbers)
        self.other = f"other {number}"
        self.world.commit({"apps/other/wsgi.py": wsgi_app(self.other)})
        result = self.world.once()
        show(result)
        failed = of(result, "blog")
        assert failed.outcome is Outcome.FAILED
        assert failed.error is not None
        assert re.search(says, str(failed.error)), str(failed.error)
        well_said(failed.error)
        assert of(result, "other").outcome is Outcome.CHANGED
        assert self.pages() == (page, self.other)
        assert self.stylesheet() == stylesheet
        return failed

    def stylesheet(self) -> tuple[int, str]:
        """The static file of the blog."""
        answer = self.world.get("/static/site.css", "blog.example.com")
        return answer.status_code, answer.text


@dataclass(frozen=True)
class Breakage:
    """What is committed to break an app (given its name), and a pattern of the sentence that tells it."""

    files: Callable[[str], Mapping[str, str | None]]
    says: str


def prove_side_by_side(world: World, breakages: Mapping[str, Breakage]) -> PassResult:
    """Break many apps in one commit, each in its own way and named after it: each fails with its own sentence and
    serves what it served, an app beside them is deployed in the same pass, and all converge once they are corrected.
    """
    _commit_street(world, breakages, "before")
    first = world.once()
    assert not first.failed, [str(app.error) for app in first.apps if app.error]
    bad: dict[str, str | None] = {"apps/other/wsgi.py": wsgi_app("moved on")}
    for name, breakage in breakages.items():
        bad |= breakage.files(name)
    world.commit(bad, "Break everything")
    result = world.once()
    show(result)
    wrong = [
        f"{name}: {complaint}"
        for name, breakage in breakages.items()
        for complaint in _complaints(world, result, name, breakage)
    ]
    assert not wrong, "\n".join(wrong)
    assert of(result, "other").outcome is Outcome.CHANGED
    assert world.text("other.example.com") == "moved on"
    assert {app.app for app in result.apps} == {*breakages, "other"}
    _commit_street(world, breakages, "after")
    mended = world.once()
    assert not mended.failed, [f"{app.app}: {app.error}" for app in mended.apps if app.error]
    assert {world.text(f"{name}.example.com") for name in breakages} == {"after"}
    return result


def _commit_street(world: World, names: Iterable[str], greeting: str) -> None:
    files = canary.provide(world.home)
    for name in (*names, "other"):
        files[f"manifests/{name}.yaml"] = plain(name)
        files[f"apps/{name}/wsgi.py"] = wsgi_app(greeting)
        files[f"apps/{name}/static/site.css"] = CSS
    examples.git(world.config, "rm", "-r", "-q", "--ignore-unmatch", ".")
    world.commit(files)


def _complaints(world: World, result: PassResult, name: str, breakage: Breakage) -> Iterator[str]:
    app = of(result, name)
    if app.outcome is not Outcome.FAILED or app.error is None:
        yield f"{app.outcome.value}: {app.error or app.note}"
        return
    if not re.search(breakage.says, str(app.error)):
        yield str(app.error)
    try:
        well_said(app.error)
    except AssertionError as error:
        yield f"badly said: {error}"
    if world.text(f"{name}.example.com") != "before":
        yield "it does not serve what it served"
    if world.get("/static/site.css", f"{name}.example.com").status_code != 200:
        yield "it does not serve its stylesheet"


@contextmanager
def new_town() -> Iterator[Town]:
    """A town that ends with everything in it."""
    with new_world(settled=True) as world:
        yield Town(world)
