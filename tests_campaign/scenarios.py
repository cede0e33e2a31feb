"""What an agent is killed in: changes that follow each other in a circle, and the commands for them."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import canary
from campaign import Host
from world import manifest, wsgi_app

ONCE = ("once", "--json")
HOOKS = {
    "beforeSwitch": ["true"],
    "afterSwitch": ["true"],
}
STATIC = [{"source": "static", "url": "/static/", "fingerprint": True, "precompress": ["gzip"]}]
QUICK = {"processes": 1, "threads": 2, "drain": "2s"}
PAGE = "blog"
PLAIN = {"uwsgi": QUICK, "static": STATIC, "shared": ["media"], "secrets": canary.REFERENCES}


@dataclass(frozen=True)
class Step:
    """A change, and the command after which it has to be carried out."""

    name: str
    change: Callable[[Host], None]
    command: tuple[str, ...] = ONCE


@dataclass(frozen=True)
class Scenario:
    """Steps in a circle: the last leads back to where the first begins.

    ``bodies`` are the pages that visitors of the blog may see; without them it comes and goes, and only the answers
    of its neighbour count. With ``history`` earlier releases stay known, so that going back builds nothing. What
    ``damages`` the blog itself says nothing about whole outputs until a pass has healed it.
    """

    name: str
    steps: tuple[Step, ...]
    bodies: tuple[str, ...] = ()
    path: str = "/"
    history: bool = False
    damages: bool = False
    start: Mapping[str, str] = field(default_factory=dict)


def blog(greeting: str = PAGE, **spec: object) -> dict[str, str]:
    """The files of the blog, which has the secret that is searched for everywhere."""
    return {
        "apps/blog/wsgi.py": wsgi_app(greeting),
        "apps/blog/static/site.css": "body { color: #00ff00 }\n",
        "apps/blog/requirements.txt": "# nothing\n",
        "manifests/blog.yaml": manifest("blog", **{**PLAIN, **spec}),
    }


def committing(files: Mapping[str, str | None]) -> Callable[[Host], None]:
    """A change in git."""
    return lambda host: _commit(host, files)


def _commit(host: Host, files: Mapping[str, str | None]) -> None:
    host.world.commit(files)


def _between(name: str, one: Mapping[str, str], other: Mapping[str, str], **more: object) -> Scenario:
    steps = (Step("there", committing(other)), Step("back", committing(one)))
    return Scenario(name, steps, start=dict(one), **more)  # type: ignore[arg-type]


def _drift(name: str, damage: Callable[[Host], None]) -> Step:
    return Step(name, damage)


def _site(host: Host) -> None:
    site = host.root / "nginx" / "sites" / "blog.conf"
    site.write_text(site.read_text() + "# edited\n")


def _site_mode(host: Host) -> None:
    (host.root / "nginx" / "sites" / "blog.conf").chmod(0o600)


def _vassal(host: Host) -> None:
    for file in (host.root / "vassals").glob("blog.*.ini"):
        file.write_text(file.read_text() + "# edited\n")


def _environment(host: Host) -> None:
    for file in (host.root / "vassals").glob("blog.*.env"):
        file.unlink()


def _public(host: Host) -> None:
    link = host.root / "public" / "blog"
    link.unlink()
    link.symlink_to("../releases/blog/nowhere")


def _extra(host: Host) -> None:
    (host.root / "public" / "blog" / "app" / "extra.py").write_text("x = 1\n")


def _code(host: Host) -> None:
    file = host.root / "public" / "blog" / "app" / "wsgi.py"
    file.write_text(file.read_text() + "# edited\n")


def _static(host: Host) -> None:
    os.unlink(host.root / "public" / "blog" / "static" / "0" / "site.css")


def _package(host: Host) -> None:
    for file in (host.root / "store" / "build").glob("*/environment/bin/activate"):
        file.unlink()


def _nginx_gone(host: Host) -> None:
    (host.root / "nginx" / "sites" / "blog.conf").unlink()


def _release_folder(host: Host) -> None:
    for link in (host.root / "releases" / "blog").glob("*/static"):
        link.unlink()


DRIFTS = (
    _drift("an edited site", _site),
    _drift("the mode of a site", _site_mode),
    _drift("a site that is gone", _nginx_gone),
    _drift("an edited vassal", _vassal),
    _drift("an environment file that is gone", _environment),
    _drift("a public link that leads nowhere", _public),
    _drift("a link of the release that is gone", _release_folder),
    _drift("a module that nobody applied", _extra),
    _drift("edited code", _code),
    _drift("a static file that is gone", _static),
    _drift("a file of the environment that is gone", _package),
)

CIRCLE = (
    Step("first deploy", committing(blog(hooks=HOOKS))),
    Step("prune", committing(dict.fromkeys(blog()))),
    Step("forget", lambda host: None, ("forget", "blog", "--shared", "--yes")),
)

SITE = _between("site", blog(), blog(nginx={"clientMaxBodySize": "2m"}), bodies=(PAGE,))
REVERT = _between("revert", blog("one"), blog("two"), bodies=("one", "two"), history=True)
ONE_LINE = _between("one line", blog("one", hooks=HOOKS), blog("two", hooks=HOOKS), bodies=("one", "two"))
TOUCH = _between(
    "touch",
    blog("one", uwsgi={**QUICK, "strategy": "touch"}),
    blog("two", uwsgi={**QUICK, "strategy": "touch"}),
    bodies=("one", "two"),
)
STATIC_FILES = _between(
    "static",
    blog(),
    {**blog(), "apps/blog/static/site.css": "body { color: red }\n"},
    bodies=("body{color:#0f0}", "body{color:red}"),
    path="/static/site.css",
)
ENVIRONMENT = _between(
    "environment", blog(), {**blog(), "apps/blog/requirements.txt": "# nothing yet\n"}, bodies=(PAGE,)
)
DRIFT = Scenario("drift", DRIFTS, start=blog(), damages=True)
COMING_AND_GOING = Scenario("first deploy, prune, forget", CIRCLE)

SCENARIOS = (SITE, DRIFT, COMING_AND_GOING, REVERT, STATIC_FILES, ONE_LINE, TOUCH, ENVIRONMENT)
"""Those whose steps cost the least come first: a point is killed at in the first scenario that comes to it."""
