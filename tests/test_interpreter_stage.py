"""An interpreter that the host lacks is built from source or installed from a mirror: once, whole, shared, resumable.

The sources here have a configure and a Makefile that take no time; a real CPython is built in ``tests_system``.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import platform
import subprocess
import sys
import sysconfig
import tarfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from reconciler.host.allowance import Allowance
from reconciler.host.confinement import Confinement
from reconciler.host.interpreter_building import Recipe, build
from reconciler.host.source_archives import fetch, unpack
from reconciler.host.stored_interpreters import open_mode
from reconciler.model.errors import HostError, ReconcilerError, StageFailed
from reconciler.model.plan import Outcome
from reconciler.model.stage import Action, Reason, StageName
from world import World, manifest, new_world, of, ran, wsgi_app

MINOR = ".".join(platform.python_version_tuple()[:2])
CONFIGURE = """#!/bin/sh
echo configure >> {home}/steps
echo "checking for gcc... gcc"
for argument; do case $argument in --prefix=*) prefix=${{argument#--prefix=}} ;; esac; done
{more}
sed "s|@prefix@|$prefix|g" {source}/Makefile.in > Makefile
"""
MAKEFILE = """.PHONY: all altinstall
all: one.o two.o
one.o two.o:
	@echo "gcc -c -o $@ $*.c"; echo $@ >> {home}/steps
	@if [ $@ = two.o ] && [ -e {home}/hang ]; then touch {home}/hanging; {home}/hang; exit 1; fi
	@touch $@
altinstall: all
	@mkdir -p $(DESTDIR)@prefix@/bin $(DESTDIR)@prefix@/lib
	@cp {executable} $(DESTDIR)@prefix@/bin/python{minor}
	@ln -s {stdlib} $(DESTDIR)@prefix@/lib/python{minor}
"""
VERSION = f'#define PY_VERSION "{platform.python_version()}"\n'
SYSCONFIG = "_sysconfigdata__linux_x86_64-linux-gnu.py"
BUILT_AS = (
    "# system configuration generated and used by the sysconfig module\nbuild_time_vars = {'prefix': '/install'}\n"
)
WHERE = """import sys
def app(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [sys.base_prefix.encode()]
"""


def pack(archive: Path, files: Mapping[str, str]) -> str:
    """Write a .tar.gz of executable files; returns its sha256."""
    with tarfile.open(archive, "w:gz", compresslevel=1) as opened:
        for name, text in files.items():
            member = tarfile.TarInfo(name)
            member.size, member.mode = len(text.encode()), 0o755
            opened.addfile(member, io.BytesIO(text.encode()))
    return hashlib.sha256(archive.read_bytes()).hexdigest()


def pack_source(home: Path, more: str = ":") -> tuple[str, str]:
    """An archive of what passes for CPython's source; its address and its sha256."""
    archive = home / "Python.tar.gz"
    base = getattr(sys, "_base_executable", None) or sys.executable
    source = '"$(dirname "$0")"'
    made = MAKEFILE.format(
        home=home, executable=Path(base).resolve(), minor=MINOR, stdlib=sysconfig.get_path("stdlib")
    )
    configure = CONFIGURE.format(home=home, more=more, source=source)
    sha256 = pack(
        archive,
        {"Python-3/configure": configure, "Python-3/Makefile.in": made, "Python-3/Include/patchlevel.h": VERSION},
    )
    return f"file://{archive}", sha256


def test_nobody_may_change_what_everybody_runs() -> None:
    before = (0o755, 0o700, 0o600, 0o4755, 0o666, 0o777, 0o400)
    assert [open_mode(mode) for mode in before] == [0o755, 0o755, 0o644, 0o755, 0o644, 0o755, 0o444]


def steps(home: Path) -> list[str]:
    return (home / "steps").read_text().split() if (home / "steps").exists() else []


@pytest.fixture
def world() -> Iterator[World]:
    with new_world() as made:
        yield made


def test_a_source_archive_is_built_once_for_all_apps_and_serves_them(world: World) -> None:
    address, sha256 = pack_source(world.home)
    python = {"source": address, "sha256": sha256, "optimize": False}
    for name in ("blog", "shop"):
        world.commit(
            {f"apps/{name}/wsgi.py": WHERE, f"manifests/{name}.yaml": manifest(name, build={"python": python})}
        )
    planned = of(world.plan(), "blog").plan.change(StageName.INTERPRETER)
    assert (planned.action, planned.reasons) == (Action.CREATE, (Reason.NEVER_APPLIED,))
    result = world.once()
    assert not result.failed, [str(app.error) for app in result.apps]
    assert sorted(steps(world.home)) == ["configure", "one.o", "two.o"]
    (output,) = (world.root / "store/interpreter").iterdir()
    assert {world.text(f"{name}.example.com") for name in ("blog", "shop")} == {str(output / "python")}
    assert list((world.root / "cache/interpreters").iterdir()) == []
    assert {app.outcome for app in world.once().apps} == {Outcome.UNCHANGED}

    # the same archive from elsewhere is the same interpreter; a damaged one is made anew from the kept archive
    moved = Path(address.removeprefix("file://")).rename(world.home / "elsewhere.tar.gz")
    world.commit({"manifests/blog.yaml": manifest("blog", build={"python": {**python, "source": f"file://{moved}"}})})
    assert of(world.once(), "blog").outcome is Outcome.UNCHANGED
    moved.unlink()
    damaged = output / f"python/bin/python{MINOR}"
    damaged.unlink()
    damaged.write_text("#!/bin/sh\nexit 1\n")
    healed = world.once()
    assert not healed.failed, [str(app.error) for app in healed.apps]
    assert Reason.DRIFTED in of(healed, "blog").plan.change(StageName.INTERPRETER).reasons
    assert steps(world.home).count("configure") == 2
    assert world.text("blog.example.com") == str(output / "python")

    # back to an interpreter of the host: the one in the store goes with the last release on it
    for name in ("blog", "shop"):
        world.commit({f"manifests/{name}.yaml": manifest(name, retain=1)})
    back = of(world.once(), "blog")
    assert back.plan.change(StageName.INTERPRETER).action is Action.DELETE
    assert {"interpreter", "build", "vassal"} == ran(back)
    assert output.exists()
    for name in ("blog", "shop"):
        world.commit({f"apps/{name}/wsgi.py": wsgi_app("later")})
    assert not world.once().failed
    assert not output.exists()


def recipe(home: Path) -> Recipe:
    nobody = Confinement(None, Allowance(8 * 1024**3, 512))
    return Recipe(
        home / "Python.tar.gz", False, None, home / "cache/work", home / "store/final", nobody, lambda _: None
    )


RESUMED = """
import sys
from pathlib import Path
sys.path[:0] = {path!r}
from reconciler.host.allowance import Allowance
from reconciler.host.confinement import Confinement
from reconciler.host.interpreter_building import Recipe, build
home = Path({home!r})
folder = home / "store/killed"
folder.mkdir(parents=True)
nobody = Confinement(None, Allowance(8 * 1024**3, 512))
places = home / "Python.tar.gz", False, None, home / "cache/work", home / "store/final"
build(Recipe(*places, nobody, lambda _: None), folder)
"""


@pytest.mark.parametrize(
    ("torn", "done"),
    [
        (None, ["configure", "one.o", "two.o", "two.o"]),
        ("Makefile", ["configure", "configure", "one.o", "one.o", "two.o", "two.o"]),
    ],
)
def test_a_killed_build_goes_on_where_it_was_unless_what_it_wrote_is_torn(
    tmp_path: Path, torn: str | None, done: list[str]
) -> None:
    pack_source(tmp_path)
    hang = tmp_path / "hang"
    hang.write_text('#!/bin/sh\ntimeout 60 sh -c "while [ -e $0 ]; do sleep 0.05; done"\n')
    hang.chmod(0o755)
    script = RESUMED.format(path=sys.path, home=str(tmp_path))
    process = subprocess.Popen([sys.executable, "-c", script])
    deadline = time.monotonic() + 30
    while not (tmp_path / "hanging").exists() and time.monotonic() < deadline:
        assert process.poll() is None
        time.sleep(0.02)
    process.kill()
    process.wait(10)
    hang.unlink()
    if torn is not None:
        (tmp_path / "cache/work/build" / torn).write_text("")
    folder = tmp_path / "store/again"
    folder.mkdir()
    build(recipe(tmp_path), folder)
    assert sorted(steps(tmp_path)) == done
    assert json.loads((folder / "interpreter.json").read_text())["version"] == platform.python_version()


def lacking(home: Path) -> None:
    pack_source(home, 'echo "checking for stdlib extension module _ssl... missing"')
    (home / "made").mkdir()
    build(recipe(home), home / "made")


def broken(home: Path) -> None:
    pack_source(home, 'echo "configure: error: no headers" >&2; exit 1')
    (home / "made").mkdir()
    build(recipe(home), home / "made")


def another(home: Path) -> None:
    address, _ = pack_source(home)
    fetch(address, "0" * 64, home / "archive", lambda _: None)


def absent(home: Path) -> None:
    fetch(f"file://{home}/absent.tar.xz", "0" * 64, home / "archive", lambda _: None)


def no_archive(home: Path) -> None:
    (home / "text").write_text("this is no archive")
    unpack(home / "text", home / "unpacked")


def no_source(home: Path) -> None:
    pack(home / "other.tar.gz", {"README": "nothing to configure"})
    unpack(home / "other.tar.gz", home / "unpacked")


def not_cpython(home: Path) -> None:
    pack(home / "Python.tar.gz", {"other-1/configure": "#!/bin/sh\n"})
    (home / "made").mkdir()
    build(recipe(home), home / "made")


def another_version(home: Path) -> None:
    pack_source(home)
    (home / "made").mkdir()
    build(replace(recipe(home), version="3.2"), home / "made")


def leading_out(home: Path) -> None:
    pack(home / "out.tar.gz", {"Python-3/configure": "", "../../outside": "stolen"})
    unpack(home / "out.tar.gz", home / "unpacked" / "deep")


@pytest.mark.parametrize(
    ("attempt", "kind", "says"),
    [
        (lacking, StageFailed, "Python built from source would lack ssl: this host has no headers for it"),
        (broken, StageFailed, "Python cannot be built from source: configure of Python ended with status 1"),
        (another, StageFailed, f"and build.python.sha256 asks for {'0' * 64}"),
        (absent, HostError, "absent.tar.xz cannot be read: No such file or directory"),
        (no_archive, StageFailed, "cannot be unpacked"),
        (no_source, StageFailed, "has no folder with a configure script"),
        (not_cpython, StageFailed, "is no source of CPython"),
        (
            another_version,
            StageFailed,
            "and build.python.version says 3.2",
        ),
        (leading_out, StageFailed, "cannot be unpacked"),
    ],
)
def test_what_cannot_be_built_is_said(
    tmp_path: Path, attempt: Callable[[Path], None], kind: type[ReconcilerError], says: str
) -> None:
    with pytest.raises(kind) as caught:
        attempt(tmp_path)
    assert says in str(caught.value)
    assert caught.value.hint
    assert not (tmp_path / "cache/work").exists()
    assert not (tmp_path / "archive").exists()
    assert not (tmp_path / "outside").exists()
    assert not (tmp_path / "unpacked").exists() or attempt is leading_out


def test_a_version_that_the_host_lacks_comes_from_the_mirror(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    base = getattr(sys, "_base_executable", None) or sys.executable
    machine = platform.machine()
    name = f"cpython-3.99.0+20250101-{machine}-unknown-linux-gnu-install_only_stripped.tar.gz"
    mirror = world.home / "mirror/20250101"
    mirror.mkdir(parents=True)
    files = {
        "python/bin/python3.99": f'#!/bin/sh\nexec {base} "$@"\n',
        f"python/lib/python3.99/{SYSCONFIG}": BUILT_AS,
    }
    sha256 = pack(mirror / name, files)
    (world.home / "list.json").write_text(
        json.dumps(
            {
                f"cpython-3.99.0-linux-{machine}-gnu": {
                    "name": "cpython",
                    "arch": {"family": machine, "variant": None},
                    "os": "linux",
                    "libc": "gnu",
                    "major": 3,
                    "minor": 99,
                    "patch": 0,
                    "prerelease": "",
                    "url": "https://github.com/astral-sh/python-build-standalone/releases/download/20250101/"
                    + name.replace("+", "%2B"),
                    "sha256": sha256,
                    "variant": None,
                    "build": "20250101",
                }
            }
        )
    )
    world.commit(
        {
            "apps/blog/wsgi.py": wsgi_app("hello"),
            "manifests/blog.yaml": manifest("blog", build={"python": "3.99"}),
        }
    )
    without = of(world.once(), "blog").error
    assert without is not None
    assert str(without) == "Python 3.99 is not on this host"
    monkeypatch.setenv("UV_PYTHON_DOWNLOADS_JSON_URL", str(world.home / "list.json"))
    world.configure(python=f"{{mirror: 'file://{world.home}/mirror'}}")
    result = of(world.once(), "blog")
    assert result.error is None, (result.error, getattr(result.error, "tail", ""))
    assert ran(result) >= {"interpreter", "build"}
    (output,) = (world.root / "store/interpreter").iterdir()
    assert os.access(output / "python/bin/python3.99", os.X_OK)
    assert f'"{output}/python"' in (output / "python/lib/python3.99" / SYSCONFIG).read_text()
    assert world.once().apps[0].outcome is Outcome.UNCHANGED
