"""Proves that whatever goes wrong in a stage fails its own app with a clear sentence; what served serves on."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

import examples
from breaking import Breakage, Town, blog, plain, prove_side_by_side
from reconciler.model.plan import Outcome
from world import World, of, wsgi_app

HANG_SECONDS = 60
HANGING = f"import time\n\ntime.sleep({HANG_SECONDS})\n{wsgi_app('late')}"
FAILING = wsgi_app("fails").replace('"/missing"', '"/"').replace("404 Not Found", "500 Internal Server Error")
NO_CALLABLE = wsgi_app("x").replace("def app(", "def application(")
SITE = """server {
    listen {{ listen[0] | nginx_quote }};
    server_name {{ server_names[0] }};
    location / { uwsgi_pass {{ ("unix:" ~ uwsgi_socket) | nginx_quote }}; }
}
"""


def _manifest(says: str, **spec: object) -> Breakage:
    return Breakage(lambda name: {f"manifests/{name}.yaml": plain(name, **spec)}, says)


def _files(says: str, files: Mapping[str, str | None], **spec: object) -> Breakage:
    def made(name: str) -> Mapping[str, str | None]:
        own = {f"apps/{name}/{path}": text for path, text in files.items()}
        return {**own, f"manifests/{name}.yaml": plain(name, **spec)}

    return Breakage(made, says)


def _template(says: str, text: str) -> Breakage:
    def made(name: str) -> Mapping[str, str | None]:
        site = {"template": f"{name}.j2"}
        return {f"templates/{name}.j2": text, f"manifests/{name}.yaml": plain(name, nginx=site)}

    return Breakage(made, says)


def _static(source: str) -> list[dict[str, object]]:
    return [{"source": source, "url": "/static/"}]


BUILDS = {
    "no-package": _files(r"^requirements\.txt cannot be resolved: .*flask", {"requirements.txt": "flask==99.0\n"}),
    "no-sentence": _files(
        r"^requirements\.txt cannot be installed: .*flask === == 1$", {"requirements.txt": "flask === == 1\n"}
    ),
    "no-python": _manifest(r"Python 3\.5", build={"python": "3.5"}),
    "no-requirements": _manifest(r"needs\.txt", build={"requirements": "needs.txt"}),
    "build-command": _manifest(
        r"^the build command `echo no compiler; exit 3` ended with status 3: no compiler",
        build={"commands": ["echo no compiler; exit 3"]},
    ),
    "static-file": _manifest(r"^static folder wsgi\.py is a file", static=_static("wsgi.py")),
    "static-gone": _manifest(r"nowhere is not in the repository", static=_static("nowhere")),
    "stylesheet": _files(r"^static/site\.css:2: ", {"static/site.css": "body {}\na { color: }}}\n"}),
    "static-command": _manifest(
        r"^the static command `echo no settings >&2; exit 1` ended with status 1: no settings",
        static=[{"source": "x", "url": "/static/", "command": "echo no settings >&2; exit 1"}],
    ),
    "no-folder": _manifest(r"has no folder apps/nowhere at", source={"directory": "apps/nowhere"}),
    "no-branch": _manifest(r"has no branch, tag or commit 'nowhere'", source={"revision": "nowhere"}),
    "no-commit": _manifest(r"has no branch, tag or commit 'a{40}'", source={"revision": "a" * 40}),
    "no-version": _manifest(r"has no version tag that matches '\^1\.4'", source={"revision": "^1.4"}),
    "gone": _manifest(r"^/nowhere/app\.git cannot be read", source={"repository": "/nowhere/app.git"}),
}
STARTS = {
    "no-module": _files(r"No module named 'nothing_like_this'", {"wsgi.py": "import nothing_like_this\n"}),
    "syntax": _files(r"does not start: SyntaxError: .* \(wsgi\.py, line 1\)", {"wsgi.py": "def app(:\n"}),
    "no-callable": _files(r"its module has no such callable", {"wsgi.py": NO_CALLABLE}),
    "hangs": _files(r"is not ready in time: it is loading the app", {"wsgi.py": HANGING}, verify={"timeout": "3s"}),
    "status-500": _files(
        r"^GET / on its own socket: status 500 instead of 200, the body begins 'nothing here'", {"wsgi.py": FAILING}
    ),
    "uwsgi-option": _manifest(
        r"unknown config directive: no-such-option", uwsgi={"options": {"no-such-option": True}}
    ),
    "hook": _files(
        r"^the beforeSwitch hook `echo not today; exit 7` ended with status 7: not today",
        {"wsgi.py": wsgi_app("new")},
        hooks={"beforeSwitch": ["echo not today; exit 7"]},
    ),
    "late-hook": _files(
        r"^the afterSwitch hook `exit 8` ended with status 8",
        {"wsgi.py": wsgi_app("new")},
        hooks={"afterSwitch": ["exit 8"]},
    ),
    "jinja": _template(r"^the template templates/jinja\.j2, line 3: ", "server {\n\n{% if %}\n}\n"),
    "jinja-name": _template(
        r"templates/jinja-name\.j2, line 2: 'sever_names' is undefined", "server {\n{{ sever_names }}\n}\n"
    ),
    "refused": _template(
        r"^nginx refuses the configuration: unknown directive .liste. \(sites/refused\.conf, line 2\)",
        "server {\n    liste 80;\n}\n",
    ),
    "no-template": _manifest(r"nginx\.template nowhere\.j2 is not in", nginx={"template": "nowhere.j2"}),
    "deaf": _template(r"^GET / through nginx: status 404", SITE.replace("server_names[0]", "'deaf.invalid'")),
}


@pytest.mark.long
def test_each_failing_source_build_and_static_stage_fails_its_own_app(world: World) -> None:
    prove_side_by_side(world, BUILDS)


@pytest.mark.long
def test_each_failing_start_hook_probe_and_site_fails_its_own_app(world: World) -> None:
    result = prove_side_by_side(world, STARTS)
    tails = {name: getattr(of(result, name).error, "tail", "") for name in STARTS}
    assert "nothing_like_this" in tails["no-module"]
    assert "last lines of the app's log" in tails["status-500"]


def test_a_link_to_a_file_of_the_host_is_never_published(town: Town) -> None:
    link = town.world.config / "apps" / "blog" / "static" / "shadow.txt"
    link.symlink_to("/etc/shadow")
    failed = town.pass_with_broken_blog(says=r"static/shadow\.txt is a link that leads out .*")
    assert "/etc/shadow" in str(failed.error) or "etc" in str(failed.error)
    assert town.world.get("/static/shadow.txt", "blog.example.com").status_code == 404
    link.unlink()


def test_a_failed_release_is_tried_again_when_its_probes_are_corrected(town: Town) -> None:
    """The release is the same one, so that only the way it is proven differs."""
    strict = blog(verify={"timeout": "20s", "probes": [{"path": "/", "contains": "tea"}]})
    tea = {"apps/blog/wsgi.py": wsgi_app("coffee"), "manifests/blog.yaml": strict}
    town.break_blog(tea, says=r"^GET / on its own socket: the body does not contain 'tea', it begins 'coffee'")
    assert of(town.world.once(), "blog").outcome is Outcome.QUARANTINED
    town.world.commit({"manifests/blog.yaml": blog()})
    assert of(town.world.once(), "blog").outcome is Outcome.CHANGED
    assert town.pages()[0] == "coffee"


def test_touch_goes_back_to_the_old_release_when_the_new_one_hangs_or_fails_its_probes(world: World) -> None:
    """The one vassal is down while a release loads, and no longer: what failed never stays."""
    spec = {"uwsgi": {"strategy": "touch"}, "verify": {"timeout": "2s"}}
    world.add_app("hangs", "before", **spec)
    world.add_app("fails", "before", **spec)
    assert not world.once().failed
    world.commit({"apps/hangs/wsgi.py": HANGING, "apps/fails/wsgi.py": FAILING})
    result = world.once()
    assert {app.outcome for app in result.apps} == {Outcome.FAILED}
    for name in ("hangs", "fails"):
        assert world.text(f"{name}.example.com") == "before"


def test_a_failing_first_release_leaves_nothing_behind(town: Town) -> None:
    world = town.world
    new = {"manifests/new.yaml": plain("new"), "apps/new/wsgi.py": "raise SystemExit(3)\n", "apps/new/static/a": "a"}
    world.commit(new)
    assert of(world.once(), "new").outcome is Outcome.FAILED
    folders = [world.root / name for name in ("vassals", "nginx/sites", "public", "run")]
    assert [path for folder in folders for path in folder.glob("new*")] == []
    assert world.get("/", "new.example.com").status_code == 404
    examples.git(world.config, "rm", "-q", "-r", "manifests/new.yaml", "apps/new")
    world.commit({})
    gone = world.once()
    assert not gone.failed
    assert "new" not in {app.app for app in gone.apps}
