"""Proves that one server runs apps on three Pythons: the distribution's, one from a mirror, one built from source.

It goes on with the server that ``test_server.py`` leaves, which has no compiler. The build is a real one, of CPython
and of uWSGI against it, but for a compiler that is told not to optimize, which takes a third of the time.
"""

from __future__ import annotations

import hashlib
import json

import pytest

from container import Container, wait_for
from image import COMPILERS, WHEELS
from pythons import PYTHONS, SOURCE_MINOR, mirrored
from story import CONFIG, Developer, Operator, programs
from visiting import ask, wait_for_page

BUILD_SECONDS = 900.0
SETTLED_SECONDS = 60.0
STORE = "/var/lib/reconciler/store"
COMPILER = '#!/bin/sh\nexec /usr/bin/gcc "$@" -O0 -g0\n'

PAGE = """import os, sys

def app(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return ["{}.{} of {} as {}".format(*sys.version_info[:2], sys.base_prefix, os.getuid()).encode()]
"""
MANIFEST = """apiVersion: reconciler/v1
kind: App
metadata: {{name: {name}}}
spec:
  source: {{repository: ".", directory: apps/python}}
  build: {build}
  uwsgi: {{module: "wsgi:app", processes: 1}}
  nginx: {{serverNames: [{name}.example.com]}}
"""


@pytest.mark.timeout(1000)
def test_three_apps_on_three_pythons(container: Container, developer: Developer, operator: Operator) -> None:
    configure(container, operator)
    sha256 = hashlib.sha256(container.path(f"{PYTHONS}/source.tar.xz").read_bytes()).hexdigest()
    python = {"source": f"file://{PYTHONS}/source.tar.xz", "sha256": sha256, "optimize": False}
    builds = {
        "distributed": {"python": "3.11"},
        "mirrored": {"python": mirrored().minor},
        "compiled": {"python": python, "systemPackages": list(COMPILERS)},
    }
    manifests = {
        f"manifests/{name}.yaml": MANIFEST.format(name=name, build=json.dumps(build))
        for name, build in builds.items()
    }
    developer.commit(CONFIG, {"apps/python/wsgi.py": PAGE, **manifests})
    assert operator.reconciler("sync", "--no-wait").status == 0
    wait_for_page(container, "distributed.example.com", "3.11 of /usr", BUILD_SECONDS)
    wait_for_page(container, "mirrored.example.com", f"{mirrored().minor} of {STORE}/interpreter/", BUILD_SECONDS)
    compiled = f"{SOURCE_MINOR} of {STORE}/interpreter/"
    wait_for("the compiled Python", lambda: failed(operator) or asked(container, compiled), BUILD_SECONDS, every=1)
    assert asked(container, compiled), failed(operator)
    pages = [ask(container, f"{name}.example.com").text for name in builds]
    accounts = {page.rpartition(" ")[2] for page in pages}
    assert len({page.split()[0] for page in pages}) == len(accounts) == len(builds), pages


def asked(container: Container, text: str) -> bool:
    """Whether the app on the compiled Python answers."""
    return text in ask(container, "compiled.example.com").text


def failed(operator: Operator) -> str:
    """Why the app on the compiled Python does not come."""
    error = operator.status().get("compiled", {}).get("last_error")
    return json.dumps(error) if error else ""


def test_uwsgi_was_compiled_against_it(container: Container) -> None:
    # the wheel of it runs as a module of the interpreter
    assert programs(container, "app-compiled") == {"uwsgi"}
    assert container.must("id", "-gn", "reconciler-build") == "reconciler-build"


def test_what_it_was_built_with_came_from_apt(container: Container) -> None:
    for package in COMPILERS:
        assert "install ok installed" in container.must("dpkg-query", "--show", "--showformat=${Status}", package)


def test_the_interpreters_belong_to_nobody_who_runs_them(container: Container) -> None:
    programs = container.must("sh", "-c", f"ls -d {STORE}/interpreter/*/python/bin/python3.[0-9]*").splitlines()
    own = [path for path in programs if not path.endswith("-config")]
    assert len(own) == 2, programs
    for path in own:
        assert container.must("stat", "--format=%U:%G %a", path) == "root:root 755", path
    writable = f"find {STORE}/interpreter ! -type l \\( ! -user root -o -perm /022 \\) | head -3"
    assert container.must("sh", "-c", writable) == ""
    assert container.must("sh", "-c", "ls /var/cache/reconciler/interpreters") == ""


def test_a_second_run_of_everything_changes_nothing(container: Container, operator: Operator) -> None:
    wait_for("a quiet server", lambda: set(outcomes(operator)) == {"unchanged"}, SETTLED_SECONDS, every=1)
    releases, deploys = operator.releases(), operator.deploys()
    packages = container.must("dpkg-query", "--show")
    interpreters = container.must("sh", "-c", f"ls -ld --time-style=full-iso {STORE}/interpreter/*")
    container.must("systemctl", "restart", "reconciler.service")
    operator.wait_until_active("reconciler.service")
    synced = operator.reconciler("sync", "--timeout", f"{SETTLED_SECONDS:g}")
    assert synced.status == 0, str(synced)
    assert operator.reconciler("drift").status == 0
    assert set(outcomes(operator)) == {"unchanged"}
    assert (operator.releases(), operator.deploys()) == (releases, deploys)
    assert container.must("dpkg-query", "--show") == packages
    assert container.must("sh", "-c", f"ls -ld --time-style=full-iso {STORE}/interpreter/*") == interpreters


def configure(container: Container, operator: Operator) -> None:
    """Let apps have a uWSGI each again, and the agent a mirror."""
    container.write("/usr/local/bin/gcc", COMPILER, mode=0o755)
    file = container.path("/etc/reconciler/agent.yaml")
    lines = [line for line in file.read_text().splitlines() if not line.startswith("uwsgi:")]
    file.write_text("\n".join([*lines, f"python: {{mirror: 'file://{PYTHONS}/mirror'}}", ""]))
    environment = container.path("/etc/reconciler/environment")
    known = environment.read_text() if environment.exists() else ""
    more = f"UV_PYTHON_DOWNLOADS_JSON_URL={PYTHONS}/builds.json\nUV_FIND_LINKS={WHEELS},{PYTHONS}/wheels\n"
    environment.write_text(f"{known}\n{more}")
    container.must("systemctl", "restart", "reconciler.service")
    operator.wait_until_active("reconciler.service")


def outcomes(operator: Operator) -> list[str]:
    """How every app stands, by a plan."""
    planned = operator.reconciler("plan", "--json")
    return [app["outcome"] for app in json.loads(planned.out)["apps"]]
