"""Proves on real git, uv, nginx and uWSGI that many kinds of apps are deployed, changed, migrated and rolled back."""

from __future__ import annotations

import json
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import examples
from reconciler.engine.results import AppResult, PassResult
from reconciler.host.interpreters import Interpreters, uv_binary
from reconciler.model.errors import StageFailed
from reconciler.model.plan import Outcome
from world import World, manifest, new_world, of, ran, wsgi_app

UV_SECONDS = 60.0
OTHER_PYTHONS = ("3.13", "3.12", "3.14")

VISITS_WITH_A_NOTE = '''"""The page that counts, and a health check that tells the notes."""

from django.http import HttpRequest, HttpResponse, JsonResponse

from visits.models import Page


def index(request: HttpRequest) -> HttpResponse:
    visits = Page.visit(request.path)
    Page.objects.filter(path=request.path).update(note="seen")
    return HttpResponse(f"Visits: {visits}, noted")


def health(_request: HttpRequest) -> JsonResponse:
    return JsonResponse({"status": "ok", "notes": list(Page.objects.values_list("note", flat=True))})
'''
ADD_A_NOTE = '''"""The old code can go on working with this: the column may be empty."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("visits", "0001_initial")]
    operations = [migrations.AddField("page", "note", models.CharField(max_length=50, null=True))]
'''


@pytest.fixture
def worked(request: pytest.FixtureRequest) -> Iterator[World]:
    """A host whose config repository has the worked examples that the test names."""
    with new_world() as made:
        examples.make_config_repository(made.config, only=request.param)
        yield made


def deployed(world: World) -> PassResult:
    """One pass in which nothing may fail."""
    result = world.once()
    assert not result.failed, [
        f"{app.error} {getattr(app.error, 'tail', '')}" for app in result.apps if app.error is not None
    ] or result.problems
    return result


def changed(result: PassResult) -> dict[str, set[str]]:
    """The apps that had work, with the stages that ran."""
    return {app.app: ran(app) for app in result.apps if app.outcome is not Outcome.UNCHANGED}


def details(app: AppResult) -> list[str]:
    """What the plan says about every changed input."""
    return [line for change in app.plan.changes for line in change.detail]


def count(page: str) -> int:
    """The number on Django's page."""
    return int(page.partition("Visits: ")[2].split("<")[0].split(",")[0])


def uv(folder: Path, *arguments: str) -> None:
    """Run uv in an app's folder, as its author would."""
    command = [str(uv_binary()), *arguments, "--quiet", "--python", sys.executable]
    done = subprocess.run(command, cwd=folder, check=False, capture_output=True, text=True, timeout=UV_SECONDS)
    assert done.returncode == 0, done.stderr


def installed(world: World, package: str) -> set[str]:
    """The versions of a package in all environments of the store."""
    infos = (world.root / "store" / "build").glob(f"*/environment/lib/python*/site-packages/{package}-*.dist-info")
    return {path.name.removesuffix(".dist-info").partition("-")[2] for path in infos}


# the worked manifests


@pytest.mark.parametrize("worked", [["flask"]], indirect=True)
def test_the_flask_app_is_served_with_small_static_files_and_a_new_greeting_is_only_a_new_vassal(
    worked: World,
) -> None:
    deployed(worked)
    assert "<h1>Hello, world!</h1>" in worked.text("flask.localhost")
    assert "<h1>Hello, you!</h1>" in worked.text("flask.localhost", "/?name=you")
    original = (worked.config / "examples/flask/static/site.css").read_text()
    stylesheet = worked.get("/static/site.css", "flask.localhost")
    assert stylesheet.headers["Content-Type"].startswith("text/css")
    assert "--ink:#1d2a35" in stylesheet.text
    assert len(stylesheet.text) < len(original) * 0.8
    assert "\n" not in stylesheet.text.strip()

    text = (worked.config / "manifests/flask.yaml").read_text()
    text = text.replace("GREETING: Hello", "GREETING: Servus").replace('"Hello, world!"', '"Servus, world!"')
    worked.commit({"manifests/flask.yaml": text})
    assert changed(deployed(worked)) == {"flask": {"vassal"}}
    assert "<h1>Servus, world!</h1>" in worked.text("flask.localhost")


@pytest.mark.parametrize("worked", [["django"]], indirect=True)
@pytest.mark.long
def test_the_django_project_keeps_its_data_over_a_deploy_a_migration_and_a_rollback(worked: World) -> None:
    deployed(worked)
    database = worked.root / "shared/django/data/db.sqlite3"
    first = count(worked.text("django.localhost"))
    assert count(worked.text("django.localhost")) == first + 1
    assert "visits/visits.css" in worked.text("django.localhost")
    # nobody but nginx serves these: Django leaves static files alone unless DEBUG is set
    admin = worked.get("/static/admin/css/base.css", "django.localhost", **{"Accept-Encoding": "gzip"})
    assert (admin.status_code, admin.headers["Content-Encoding"]) == (200, "gzip")
    assert "--primary:" in admin.text
    assert worked.get("/static/visits/visits.css", "django.localhost").status_code == 200
    before = count(worked.text("django.localhost"))

    models = (worked.config / "examples/django/visits/models.py").read_text()
    field = "    note = models.CharField(max_length=50, null=True)\n\n    def __str__"
    worked.commit(
        {
            "examples/django/visits/models.py": models.replace("\n    def __str__", field),
            "examples/django/visits/migrations/0002_page_note.py": ADD_A_NOTE,
            "examples/django/visits/views.py": VISITS_WITH_A_NOTE,
        },
        "Note what was seen",
    )
    assert changed(deployed(worked)) == {"django": {"source", "static", "vassal"}}
    page = worked.text("django.localhost")
    assert page.endswith("noted")
    assert count(page) > before
    assert json.loads(worked.text("django.localhost", "/healthz"))["notes"] == ["seen"]
    assert applied_migrations(database) == ["0001_initial", "0002_page_note"]

    examples.revert(worked.config)
    assert changed(deployed(worked)) == {"django": {"vassal"}}
    reverted = worked.text("django.localhost")
    assert "<h1>" in reverted
    assert count(reverted) > count(page)
    assert json.loads(worked.text("django.localhost", "/healthz"))["status"] == "ok"
    # the data is newer than the code, which the migration allowed for
    assert applied_migrations(database) == ["0001_initial", "0002_page_note"]
    assert changed(deployed(worked)) == {}


def applied_migrations(database: Path) -> list[str]:
    """The project's own migrations that the database has."""
    connection = sqlite3.connect(database)
    try:
        rows = connection.execute("SELECT name FROM django_migrations WHERE app = 'visits' ORDER BY id").fetchall()
    finally:
        connection.close()
    return [name for (name,) in rows]


@pytest.mark.parametrize("worked", [["monorepo"]], indirect=True)
def test_a_commit_to_one_app_of_the_monorepo_leaves_the_other_alone(worked: World) -> None:
    assert set(changed(deployed(worked))) == {"api", "web"}
    assert json.loads(worked.text("api.localhost"))["service"] == "api"
    assert "Two apps, one repository" in worked.text("web.localhost")
    bundle = worked.text("web.localhost", "/assets/web.css")
    assert bundle.index("max-width:40rem") < bundle.index("#7a1f5c")
    newest = installed(worked, "humanize")

    view = (worked.config / "examples/monorepo/web/views/index.tpl").read_text()
    worked.commit({"examples/monorepo/web/views/index.tpl": view.replace("This page is one", "This is one")})
    assert changed(deployed(worked)) == {"web": {"source", "vassal"}}
    assert "This is one of them" in worked.text("web.localhost")

    project = (worked.config / "examples/monorepo/api/pyproject.toml").read_text()
    worked.commit({"examples/monorepo/api/pyproject.toml": project.replace(">=4.9,<5", "==4.9.0")})
    assert changed(deployed(worked)) == {"api": {"source", "build", "vassal"}}
    assert installed(worked, "humanize") == {"4.9.0", *newest}
    assert json.loads(worked.text("api.localhost"))["service"] == "api"

    # a lock is found before the pyproject.toml that it belongs to, and wins
    folder = worked.config / "examples/monorepo/api"
    (folder / "pyproject.toml").write_text(project)
    uv(folder, "lock", "--upgrade", "--upgrade-package", "humanize==4.10.0")
    examples.commit(worked.config, "Lock")
    result = deployed(worked)
    assert changed(result) == {"api": {"source", "build", "vassal"}}
    assert "build.requirements: pyproject.toml -> uv.lock" in details(of(result, "api"))
    assert "4.10.0" in installed(worked, "humanize")
    assert json.loads(worked.text("api.localhost"))["service"] == "api"


# other ways to say what an app needs


@pytest.mark.parametrize("worked", [["flask"]], indirect=True)
def test_requirements_with_hashes_are_installed_and_a_wrong_hash_stops_the_release(worked: World) -> None:
    folder = worked.config / "examples/flask"
    shutil.move(folder / "requirements.txt", folder / "requirements.in")
    uv(folder, "pip", "compile", "--generate-hashes", "requirements.in", "--output-file", "requirements.txt")
    examples.commit(worked.config, "Pin and hash")
    deployed(worked)
    assert "Hello, world!" in worked.text("flask.localhost")

    lines = (folder / "requirements.txt").read_text().splitlines()
    wrong = ["    --hash=sha256:" + "0" * 64 if "--hash=" in line else line for line in lines]
    worked.commit({"examples/flask/requirements.txt": "\n".join(_without_continuations(wrong)) + "\n"})
    failed = of(worked.once(), "flask")
    assert failed.outcome is Outcome.FAILED
    assert "hash" in str(failed.error).lower()
    assert "Hello, world!" in worked.text("flask.localhost")


def _without_continuations(lines: list[str]) -> list[str]:
    """Every requirement with one hash: the last line of a requirement must not end in a backslash."""
    kept: list[str] = []
    for line in lines:
        if line.lstrip().startswith("--hash=") and kept and kept[-1].lstrip().startswith("--hash="):
            continue
        kept.append(line)
    return kept


def test_an_app_that_is_a_package_of_its_own_is_built_and_installed(world: World) -> None:
    project = """
[project]
name = "greeter"
version = "1.0"
dependencies = []

[build-system]
requires = ["hatchling"]
build-backend = "hatchling.build"
"""
    package = {"pyproject.toml": project, "src/greeter/__init__.py": wsgi_app("packed")}
    world.add_app("pack", files=package, uwsgi={"module": "greeter:app"})
    deployed(world)
    assert world.text("pack.example.com") == "packed"
    world.commit({"apps/pack/src/greeter/__init__.py": wsgi_app("packed again")})
    assert changed(deployed(world)) == {"pack": {"source", "build", "vassal"}}
    assert world.text("pack.example.com") == "packed again"


def test_what_build_commands_make_is_imported_and_served(world: World) -> None:
    files = {
        "wsgi.py": wsgi_app("x").replace("GREETING = 'x'", "from generated import GREETING"),
        "make.py": "import pathlib, sys\n"
        "pathlib.Path('generated.py').write_text(f'GREETING = {sys.argv[1]!r}\\n')\n"
        "pathlib.Path('out').mkdir()\n"
        "pathlib.Path('out/made.css').write_text('p {\\n  color: #ff0000;\\n}\\n')\n",
    }
    static = [{"source": "out", "url": "/static/"}]
    spec = {"static": static, "shared": ["data"]}
    world.add_app("made", files=files, build={"commands": ["python make.py one", "test ! -e data"]}, **spec)
    deployed(world)
    assert world.text("made.example.com") == "one"
    assert "color:red" in world.text("made.example.com", "/static/made.css")

    world.commit({"manifests/made.yaml": manifest("made", build={"commands": ["python make.py two"]}, **spec)})
    assert changed(deployed(world)) == {"made": {"build", "static", "vassal"}}
    assert world.text("made.example.com") == "two"

    broken = manifest("made", build={"commands": ["echo what went wrong; exit 3"]}, **spec)
    world.commit({"manifests/made.yaml": broken})
    failed = of(world.once(), "made")
    assert failed.outcome is Outcome.FAILED
    assert "what went wrong" in str(failed.error)
    assert world.text("made.example.com") == "two"


def test_two_versions_of_python_serve_side_by_side(world: World) -> None:
    own = f"{sys.version_info.major}.{sys.version_info.minor}"
    other = next((version for version in OTHER_PYTHONS if version != own and _is_here(version)), None)
    if other is None:
        pytest.skip(f"no interpreter besides {own} on this host")
    wsgi = wsgi_app("x").replace("GREETING = 'x'", "import sys\nGREETING = '%d.%d' % sys.version_info[:2]")
    for name, version in (("own", own), ("other", other)):
        world.add_app(name, files={"wsgi.py": wsgi, "requirements.txt": "humanize\n"}, build={"python": version})
    deployed(world)
    assert (world.text("own.example.com"), world.text("other.example.com")) == (own, other)
    # moving an app to a version that another app has is no build: they share an environment from then on
    world.commit({"manifests/own.yaml": manifest("own", build={"python": other})})
    assert changed(deployed(world)) == {"own": {"vassal"}}
    assert world.text("own.example.com") == other


def _is_here(version: str) -> bool:
    try:
        Interpreters(None).find(version)
    except StageFailed:
        return False
    return True


# other places for an app's code


def test_a_version_range_follows_the_tags_of_the_apps_own_repository(world: World) -> None:
    code = examples.new_repository(world.home / "code")
    examples.write_and_commit(code, {"wsgi.py": wsgi_app("one")}, "One")
    examples.git(code, "tag", "v1.0.0")
    source = {"repository": code.as_uri(), "revision": "^1.0", "directory": "."}
    world.commit({"manifests/blog.yaml": manifest("blog", source=source)})
    deployed(world)
    examples.write_and_commit(code, {"wsgi.py": wsgi_app("not released")}, "Unreleased")
    assert changed(deployed(world)) == {}
    assert world.text("blog.example.com") == "one"

    commit = examples.write_and_commit(code, {"wsgi.py": wsgi_app("one one")}, "One one")
    examples.git(code, "tag", "--annotate", "--message=1.1", "v1.1.0")
    moved = deployed(world)
    assert changed(moved) == {"blog": {"source", "vassal"}}
    assert of(moved, "blog").revision == commit
    assert world.text("blog.example.com") == "one one"

    examples.write_and_commit(code, {"wsgi.py": wsgi_app("two")}, "Two")
    examples.git(code, "tag", "v2.0.0")
    assert changed(deployed(world)) == {}
    # a tag that is taken back, such as a bad version, is a way back
    examples.git(code, "tag", "--delete", "v1.1.0")
    assert changed(deployed(world)) == {"blog": {"vassal"}}
    assert world.text("blog.example.com") == "one"


def test_submodules_are_part_of_the_source_where_the_manifest_asks_for_them(world: World) -> None:
    words, code = (examples.new_repository(world.home / name) for name in ("words", "code"))
    examples.write_and_commit(words, {"__init__.py": "GREETING = 'from below'\n", "s/w.css": "a{b:c}"}, "Words")
    wsgi = wsgi_app("x").replace("GREETING = 'x'", "from words import GREETING")
    examples.write_and_commit(code, {"wsgi.py": wsgi}, "App")
    allow = ("-c", "protocol.file.allow=always")
    examples.git(code, *allow, "submodule", "--quiet", "add", words.as_uri(), "words")
    examples.commit(code, "Add the words")
    spec = {
        "source": {"repository": code.as_uri(), "revision": "main", "directory": ".", "submodules": True},
        "static": [{"source": "words/s", "url": "/static/"}],
    }
    world.commit({"manifests/blog.yaml": manifest("blog", **spec)})
    deployed(world)
    assert world.text("blog.example.com") == "from below"
    assert world.get("/static/w.css", "blog.example.com").status_code == 200

    examples.write_and_commit(words, {"__init__.py": "GREETING = 'from below again'\n"}, "Other words")
    assert changed(deployed(world)) == {}
    examples.git(code / "words", *allow, "pull", "--quiet", "origin", "main")
    examples.commit(code, "Take the other words")
    assert {"source", "vassal"} <= changed(deployed(world))["blog"]
    assert world.text("blog.example.com") == "from below again"


@pytest.mark.skipif(shutil.which("git-lfs") is None, reason="git-lfs is not installed")
def test_large_files_are_served_as_what_they_stand_for(world: World) -> None:
    code = examples.new_repository(world.home / "code")
    examples.git(code, "lfs", "install", "--local")
    examples.git(code, "lfs", "track", "*.bin")
    files: dict[str, str | None] = {"wsgi.py": wsgi_app("large"), "static/big.bin": "many bytes " * 1000}
    examples.write_and_commit(code, files, "A large file")
    assert examples.git(code, "show", "HEAD:static/big.bin").startswith("version https://git-lfs")
    spec = {
        "source": {"repository": code.as_uri(), "revision": "main", "directory": ".", "lfs": True},
        "static": [{"source": "static", "url": "/static/"}],
    }
    world.commit({"manifests/blog.yaml": manifest("blog", **spec)})
    deployed(world)
    assert world.text("blog.example.com", "/static/big.bin") == "many bytes " * 1000
    examples.write_and_commit(code, {"static/big.bin": "other bytes " * 1000}, "Another large file")
    deployed(world)
    assert world.text("blog.example.com", "/static/big.bin") == "other bytes " * 1000
