"""System packages are checked by dpkg's records and installed with apt: in one transaction, only what is missing."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from reconciler.cli.wiring import Installation
from reconciler.engine.results import AppResult
from reconciler.host.installed_packages import InstalledPackages
from reconciler.host.layout import Layout
from reconciler.host.package_installing import Apt, SystemPackages
from reconciler.model.plan import Outcome
from reconciler.model.stage import Action, Reason, StageName
from world import World, manifest, new_world, of, ran, wsgi_app

# knows every package but those called nonsense; fails as apt does where told to
APT = """#!/bin/sh
echo "$*" >> {home}/asked
[ "$1" = install ] || exit 0
while [ "$1" != -- ]; do shift; done
shift
for name in "$@"; do
    case $name in nonsense*) echo "E: Unable to locate package $name" >&2; exit 100 ;; esac
done
if [ -e {home}/away ]; then echo "E: Failed to fetch http://deb.example.com/x" >&2; exit 100; fi
for name in "$@"; do
    printf 'Package: %s\\nStatus: install ok installed\\n\\n' "$name" >> {home}/status
done
"""
STATUS = """Package: libc6
Status: install ok installed
Provides: libc6-virtual (= 2.36), other:any

Package: removed
Status: deinstall ok config-files

"""


class Place:
    """A world whose dpkg and apt are files of the test."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.status = world.home / "status"
        self.apt = world.home / "apt-get"
        self.asked = world.home / "asked"
        self.status.write_text(STATUS)
        self.apt.write_text(APT.format(home=world.home))
        self.apt.chmod(0o755)
        self.asked.write_text("")

    def installed(self) -> list[list[str]]:
        """The packages of every transaction so far."""
        lines = self.asked.read_text().splitlines()
        return [line.partition(" -- ")[2].split() for line in lines if line.startswith("install")]

    def packages(self, apt: bool = True) -> SystemPackages:
        return SystemPackages(self.status, Apt(None, str(self.apt), lists=self.world.home) if apt else None)


@pytest.fixture
def place(monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    with new_world() as world:
        made = Place(world)
        monkeypatch.setattr(Layout, "dpkg_status", property(lambda _: made.status))
        monkeypatch.setattr(Installation, "_packages", lambda _: made.packages())
        yield made


def change(result: AppResult) -> tuple[Action, tuple[Reason, ...], tuple[str, ...]]:
    found = result.plan.change(StageName.PACKAGES)
    return found.action, found.reasons, found.detail


def test_one_transaction_for_all_apps_and_then_nothing_to_do(place: Place) -> None:
    world = place.world
    world.add_app("blog", build={"systemPackages": ["libxml2", "libc6"]})
    world.add_app("shop", build={"systemPackages": ["imagemagick", "libc6-virtual"]})
    world.add_app("plain")
    planned = world.plan()
    assert change(of(planned, "blog")) == (Action.CREATE, (Reason.NEVER_APPLIED,), ("to install: libxml2",))
    assert StageName.PACKAGES not in {c.stage for c in of(planned, "plain").plan.changes}
    assert place.installed() == []
    assert not world.once().failed
    assert sorted(place.installed()[0]) == ["imagemagick", "libxml2"]
    assert len(place.installed()) == 1
    assert "--no-install-recommends --no-remove" in place.asked.read_text()
    assert {app.outcome for app in world.once().apps} == {Outcome.UNCHANGED}

    # what somebody removed is put back
    place.status.write_text(STATUS)
    healed = of(world.once(), "blog")
    assert change(healed)[:2] == (Action.UPDATE, (Reason.DRIFTED,))
    assert healed.plan.change(StageName.BUILD).action is Action.NONE
    assert place.installed()[1] in (["libxml2"], ["imagemagick", "libxml2"])

    # another package makes the environment anew; what is not asked for any more stays
    world.commit({"manifests/blog.yaml": manifest("blog", build={"systemPackages": ["libc6", "libxslt1.1"]})})
    moved = of(world.once(), "blog")
    assert {"packages", "build", "vassal"} == ran(moved)
    assert "build.systemPackages: libc6 libxml2 -> libc6 libxslt1.1" in change(moved)[2]
    world.commit({"manifests/blog.yaml": manifest("blog")})
    dropped = of(world.once(), "blog")
    assert change(dropped)[:2] == (Action.DELETE, (Reason.REMOVED,))
    assert {app.outcome for app in world.once().apps} == {Outcome.UNCHANGED}
    assert "libxml2" in place.status.read_text()


def test_one_apps_mistake_is_not_the_others(place: Place) -> None:
    world = place.world
    world.add_app("blog", build={"systemPackages": ["nonsense-dev"]})
    world.add_app("shop", build={"systemPackages": ["imagemagick"]})
    result = world.once()
    error = of(result, "blog").error
    assert error is not None
    assert str(error).startswith("blog asks for the system package nonsense-dev, which the package sources")
    assert of(result, "shop").outcome is Outcome.CHANGED
    assert world.text("shop.example.com") == "hello"
    (place.world.home / "away").touch()
    world.commit({"manifests/blog.yaml": manifest("blog", build={"systemPackages": ["libxml2"]})})
    away = of(world.once(), "blog").error
    assert away is not None
    assert "the package sources did not answer" in str(away)
    (place.world.home / "away").unlink()
    assert not world.once().failed


def test_without_the_right_to_install_it_says_what_to_run(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Installation, "_packages", lambda _: place.packages(apt=False))
    world = place.world
    world.commit(
        {
            "apps/blog/wsgi.py": wsgi_app("hello"),
            "manifests/blog.yaml": manifest("blog", build={"systemPackages": ["libxml2"]}),
        }
    )
    error = of(world.once(), "blog").error
    assert error is not None
    assert "not installed (libxml2), and the embedded profile has no right to install any" in str(error)
    assert error.hint == "run `sudo apt-get install libxml2`; the next pass goes on"
    with place.status.open("a") as status:
        status.write("Package: libxml2\nStatus: hold ok installed\n\n")
    installed = of(world.once(), "blog")
    assert installed.outcome is Outcome.CHANGED
    assert change(installed) == (Action.NONE, (), ("installed already",))


def test_dpkgs_records_are_read_once_and_understood(tmp_path: Path) -> None:
    status = tmp_path / "status"
    packages = InstalledPackages(status)
    assert packages.missing(["b", "a", "a"]) == ("a", "b")
    status.write_text(STATUS)
    assert packages.missing(["libc6", "libc6-virtual", "other", "removed", "absent"]) == ("absent", "removed")
    known = json.dumps(sorted(packages._known[1])) if packages._known else ""
    assert known == '["libc6", "libc6-virtual", "other"]'
