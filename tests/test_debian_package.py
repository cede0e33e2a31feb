"""Proves that the Debian package is made of what the project requires, and says what it lacks to be built."""

from __future__ import annotations

import subprocess
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from deploy.debian import building
from deploy.debian.building import CHECKOUT, Unbuildable, refuse_places, refuse_unfit
from deploy.debian.environment import PINS, SCRIPTS, Target
from deploy.debian.texts import manual_page
from deploy.debian.tree import FOLDER, Package
from reconciler.cli.commanding import COMMANDS
from reconciler.host.bootstrapping.units import ACCOUNTS, FOLDERS_AT_BOOT, UNITS


def test_every_requirement_is_pinned_to_a_version_that_it_allows() -> None:
    lines = [line.split()[0] for line in PINS.read_text().splitlines() if "==" in line and not line.startswith("#")]
    pinned = dict(line.split("==") for line in lines)
    with (CHECKOUT / "pyproject.toml").open("rb") as file:
        project = tomllib.load(file)["project"]
    for text in (*project["dependencies"], *project["optional-dependencies"]["system"]):
        wanted = Requirement(text)
        again = f"{wanted} is not what {PINS.name} has: make it again as its first lines say"
        assert pinned.get(wanted.name) in wanted.specifier, again


def test_the_programs_of_the_environment_are_those_of_the_project() -> None:
    with (CHECKOUT / "pyproject.toml").open("rb") as file:
        scripts = tomllib.load(file)["project"]["scripts"]
    assert scripts.items() <= SCRIPTS.items()


@pytest.mark.parametrize("name", ["postinst", "prerm", "postrm"])
def test_a_shell_understands_the_maintainer_scripts(name: str) -> None:
    subprocess.run(["sh", "-n", str(FOLDER / "scripts" / name)], check=True, timeout=30)


@pytest.mark.parametrize("name", ["postinst", "postrm"])
def test_every_file_that_bootstrap_writes_for_systemd_gives_way_and_goes(name: str) -> None:
    text = (FOLDER / "scripts" / name).read_text()
    for place in {**UNITS, **ACCOUNTS, **FOLDERS_AT_BOOT}.values():
        assert place in text, place


@pytest.mark.parametrize(
    ("version", "expected"),
    [("0.1.0", "0.1.0"), ("1.0rc1", "1.0~rc1"), ("1.0.dev3", "1.0~dev3"), ("2.0a1", "2.0~a1")],
)
def test_a_version_that_comes_before_another_does_so_for_dpkg(version: str, expected: str) -> None:
    package = Package.of(Path(f"reconciler-{version}-py3-none-any.whl"), Target("3.11", "x86_64"), "")
    assert package.file_name == f"reconciler_{expected}_amd64.deb"


def test_the_manual_page_has_every_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")
    lines = manual_page("1.0").splitlines()
    for name in COMMANDS:
        sentence = lines[lines.index(f".B {name}") + 1]
        assert sentence.endswith("."), name
    assert lines[0] == '.TH RECONCILER 1 "2023-11-14" "reconciler 1.0"'


def test_what_is_missing_to_build_it_is_said_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(building.shutil, "which", lambda name: None)
    with pytest.raises(Unbuildable, match="needs binutils and dpkg") as refused:
        refuse_unfit()
    assert refused.value.hint == "apt-get install binutils dpkg"


def test_a_wheel_or_a_folder_that_is_wrong_is_said_before_anything_is_built(tmp_path: Path) -> None:
    other = tmp_path / "flask-3.0-py3-none-any.whl"
    other.touch()
    for wheel in (tmp_path / "nowhere", other):
        with pytest.raises(Unbuildable, match="is no wheel of the reconciler"):
            refuse_places(wheel, tmp_path)
    with pytest.raises(Unbuildable, match="no package can be written to"):
        refuse_places(None, other / "dist")
