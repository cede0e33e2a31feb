"""Proves that cloud-init makes a server that serves, and that its Debian package comes, changes and goes cleanly.

One story, told in order, on a server of its own that nobody touches before it serves.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from container import Container, booted, wait_for
from first_boot import SEED, Keys, seed, serve_git, user_data
from image import CHECKOUT, WHEELS, debian_image, wheel_folder
from reconciler.cli.setup_package import SetupPackage
from story import BLOG, CONFIG, Developer, Operator, page
from visiting import Visitor, ask, wait_for_page

BLOG_HOST = "blog.example.com"
SERVICES = ("nginx.service", "reconciler-emperor.service", "reconciler.service")
PACKAGES = "/srv/debian"
FIRST_BOOT_SECONDS = 240.0
BUILD_SECONDS = 120.0
APT_SECONDS = 180.0
HEAL_SECONDS = 20.0
LINTIAN_SECONDS = 180.0
NEWER = "999.0.0"


@pytest.fixture(scope="module")
def packages(wheels: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with Debian packages of both wheels."""
    folder = tmp_path_factory.mktemp("debian")
    for wheel in wheels.glob("*.whl"):
        build(wheel, folder)
    return folder


def build(wheel: Path, folder: Path) -> Path:
    """``make deb`` of a wheel, from the wheels of the cache."""
    command = [sys.executable, "-m", "deploy.debian", "--wheel", str(wheel), "--out", str(folder)]
    index = {"UV_FIND_LINKS": str(wheel_folder()), "UV_NO_INDEX": "1", "SOURCE_DATE_EPOCH": "1700000000"}
    done = subprocess.run(
        [*command, "--compression", "none"], cwd=CHECKOUT, env={**os.environ, **index},
        capture_output=True, text=True, timeout=BUILD_SECONDS, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return Path(done.stdout.strip())


def named(packages: Path, *, newer: bool = False) -> str:
    """A package's path on the server."""
    (name,) = (file.name for file in packages.glob("*.deb") if (NEWER in file.name) == newer)
    return f"{PACKAGES}/{name}"


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Keys:
    """What the person has who makes the user-data."""
    return Keys(tmp_path_factory.mktemp("keys"), debian_image())


@pytest.fixture(scope="module")
def server(wheels: Path, packages: Path, keys: Keys) -> Iterator[Container]:
    """A server that a provider switches on for the first time."""
    image = debian_image()
    index = ("--env", f"UV_FIND_LINKS={WHEELS}", "--env", "UV_OFFLINE=1")
    data = user_data(keys, named(packages), "--label", "role=web", *index)

    def prepare(changes: Path) -> None:
        seed(changes, data)
        serve_git(changes, image, keys, {"manifests/blog.yaml": BLOG, "apps/blog/wsgi.py": page("first")})

    binds = {wheel_folder(): WHEELS, packages: PACKAGES, wheels: "/srv/reconciler"}
    with booted(image, binds, prepare, FIRST_BOOT_SECONDS) as made:
        yield made


@pytest.fixture(scope="module")
def person(server: Container) -> Operator:
    """Looks at what the server does, and upgrades it later."""
    return Operator(server, "/usr/bin/reconciler")


def test_the_first_boot_ends_with_a_page(server: Container, person: Operator) -> None:
    assert ask(server, BLOG_HOST).text.startswith("first from "), cloud_log(server)
    told = server.must("cloud-init", "status", "--long")
    assert "status: done" in told, cloud_log(server)
    assert "DataSourceNoCloud" in told
    for service in SERVICES:
        server.must("systemctl", "is-active", service)
        server.must("systemctl", "is-enabled", service)
    assert person.status()["blog"]["ready"]
    # what made it is gone, with the key that the user-data brought
    left = [name for name in ("setup", "setup-key") if server.path(f"/etc/reconciler/{name}").exists()]
    assert not left
    assert server.run("systemctl", "cat", "reconciler-setup.service").status != 0
    assert server.path("/etc/reconciler/ssh/id_ed25519").stat().st_mode & 0o777 == 0o600


def test_cloud_init_finds_nothing_wrong_with_the_user_data(server: Container) -> None:
    server.must("cloud-init", "schema", "--config-file", f"/{SEED}/user-data")


def test_a_second_boot_changes_nothing(server: Container, person: Operator) -> None:
    before, applied = everything(server), (person.releases(), person.deploys())
    server.reboot()
    wait_for_page(server, BLOG_HOST, "first from ")
    wait_for("a pass after the boot", lambda: person.told("nothing_to_do"), HEAL_SECONDS)
    assert (person.releases(), person.deploys()) == applied
    assert everything(server) == before
    assert "reload" not in server.must("journalctl", "--boot", "--unit=nginx", "--output=cat").lower()


def test_the_same_user_data_again_finds_nothing_to_do(server: Container, person: Operator) -> None:
    """As on a server that was made from an image of this one: cloud-init takes it for a new one."""
    before, applied = everything(server), person.releases()
    for file in yaml.safe_load(server.path(f"/{SEED}/user-data").read_text())["write_files"]:
        if not server.path(file["path"]).exists():
            server.write(file["path"], file["content"], mode=int(file["permissions"], 8))
    server.must("systemctl", "daemon-reload")
    server.must("systemctl", "enable", "--now", "reconciler-setup.service")
    told = server.must("journalctl", "--boot", "--unit=reconciler-setup", "--output=cat")
    assert "Nothing to do: this server is ready." in told, told
    assert (everything(server), person.releases()) == (before, applied)


def test_an_upgrade_of_the_package_is_noticed_by_nobody(server: Container, person: Operator, packages: Path) -> None:
    applied, others = (person.releases(), person.deploys()), [main(server, service) for service in SERVICES[:2]]
    with Visitor(server, BLOG_HOST) as visitor:
        install(server, named(packages, newer=True))
        assert person.reconciler("--version").out == f"reconciler {NEWER}\n"
        person.wait_until_active("reconciler.service")
        wait_for("a pass of the new agent", lambda: person.status()["blog"]["ready"], HEAL_SECONDS)
        visitor.must_be_content("first from ", least=50)
    assert (person.releases(), person.deploys()) == applied
    assert [main(server, service) for service in SERVICES[:2]] == others
    assert "Nothing to do" in person.bootstrap("--label", "role=web").out
    agent = person.agent("MainPID")
    assert "already the newest version" in install(server, named(packages, newer=True))
    assert person.agent("MainPID") == agent
    Developer(server).commit(CONFIG, {"apps/blog/wsgi.py": page("second")})
    synced = person.reconciler("sync", seconds=APT_SECONDS)
    assert synced.status == 0, str(synced)
    wait_for_page(server, BLOG_HOST, "second")


def test_the_package_is_as_debian_wants_it_and_the_same_each_time(
    server: Container, packages: Path, wheels: Path, tmp_path: Path
) -> None:
    package = named(packages)
    # those of this test are not compressed, which would take most of its time
    uncompressed = "uses-no-compression-for-data-tarball,uses-no-compression-for-control-tarball"
    checked = server.run(
        "lintian", "--fail-on=error", "--suppress-tags", uncompressed, package, seconds=LINTIAN_SECONDS
    )
    assert checked.status == 0, str(checked)
    (wheel,) = (file for file in wheels.glob("*.whl") if NEWER not in file.name)
    again = build(wheel, tmp_path)
    assert digest(again) == digest(packages / again.name)


def test_removal_keeps_sites_through_a_reboot(server: Container, packages: Path, person: Operator) -> None:
    applied = person.releases(), person.deploys()
    with Visitor(server, BLOG_HOST) as visitor:
        told = server.must("apt-get", "--yes", "remove", "reconciler", seconds=APT_SECONDS)
        visitor.must_be_content("second from ")
    assert "its sites serve on as they are, after a restart too" in told, told
    server.reboot()
    wait_for_page(server, BLOG_HOST, "second from ")
    with Visitor(server, BLOG_HOST) as visitor:
        assert not server.path("/usr/bin/reconciler").exists()
        assert not server.path("/usr/lib/reconciler").exists()
        assert server.path("/var/lib/reconciler/journal.sqlite3").exists()
        # which nginx found the folders of its sockets by
        assert "/run/reconciler" in server.path("/etc/tmpfiles.d/reconciler.conf").read_text()
        server.must("nginx", "-t")
        install(server, named(packages, newer=True))
        wait_for("a pass of the agent", lambda: person.status()["blog"]["ready"], HEAL_SECONDS)
        visitor.must_be_content("second from ", least=50)
    assert (person.releases(), person.deploys()) == applied
    for left in ("/etc/tmpfiles.d/reconciler.conf", "/etc/systemd/system/reconciler-emperor.service"):
        assert not server.path(left).exists(), left


def test_purging_leaves_the_data_of_apps_and_nothing_else(server: Container) -> None:
    server.write("/var/lib/reconciler/shared/blog/media/photo", "of a holiday")
    told = server.must("apt-get", "--yes", "purge", "reconciler", seconds=APT_SECONDS)
    assert "/var/lib/reconciler/shared has data of apps and is kept" in told, told
    left = server.must("sh", "-c", "find /etc /opt /run /usr /var -xdev -name '*reconciler*'")
    assert left.splitlines() == ["/var/lib/reconciler"]
    listed = server.must("sh", "-c", "find /var/lib/reconciler -type f")
    assert listed.splitlines() == ["/var/lib/reconciler/shared/blog/media/photo"]
    server.must("nginx", "-t")
    assert ask(server, BLOG_HOST).status != 200
    assert "rc" not in server.run("dpkg-query", "--show", "--showformat=${db:Status-Abbrev}", "reconciler").out
    assert server.run("systemctl", "is-system-running").out.strip() == "running"


def test_an_installation_by_hand_gives_way_to_the_package(
    server: Container, person: Operator, packages: Path, wheels: Path, keys: Keys
) -> None:
    (wheel,) = (file.name for file in wheels.glob("*.whl") if NEWER not in file.name)
    # the same shell commands as in user-data that names a wheel
    offline = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": WHEELS}
    by_hand = SetupPackage.named(f"/srv/reconciler/{wheel}")
    installed = server.run("sh", "-eu", "-c", by_hand.installation, env=offline, seconds=APT_SECONDS)
    assert installed.status == 0, str(installed)
    server.write("/etc/ssh/ssh_known_hosts", keys.known_hosts.read_text())
    server.write("/root/key", keys.deploy_key.read_text(), mode=0o600)
    hand = Operator(server)
    made = hand.bootstrap("--identity", "/root/key")
    assert made.status == 0, str(made)
    before, emperor = (hand.releases(), hand.deploys()), main(server, SERVICES[1])
    with Visitor(server, BLOG_HOST) as visitor:
        told = install(server, named(packages, newer=True))
        assert "the package takes the place of an installation by hand" in told
        assert "remove /usr/local/bin/reconciler" in told
        person.wait_until_active("reconciler.service")
        wait_for("a pass of the package's agent", lambda: person.status()["blog"]["ready"], HEAL_SECONDS)
        visitor.must_be_content("second from ", least=50)
    agent = server.path(f"/proc/{person.agent('MainPID')}/cmdline").read_text()
    assert agent.startswith("/usr/lib/reconciler/bin/python3\0"), agent
    assert (person.releases(), person.deploys(), main(server, SERVICES[1])) == (*before, emperor)
    again = person.bootstrap()
    assert "Nothing to do" in again.out, str(again)


def install(server: Container, package: str) -> str:
    """What apt says when an operator installs a package from a file."""
    return server.must("apt-get", "--quiet", "--yes", "install", package, seconds=APT_SECONDS)


def main(server: Container, service: str) -> str:
    """The process of a service."""
    return server.must("systemctl", "show", "--value", "--property=MainPID", service)


def digest(file: Path) -> str:
    """A file by its content."""
    return hashlib.sha256(file.read_bytes()).hexdigest()


def everything(server: Container) -> str:
    """What a boot could change: files, packages, services."""
    folders = "/etc /usr/lib/reconciler /usr/lib/systemd /var/lib/reconciler/vassals /var/lib/reconciler/public"
    listed = f"find {folders} -xdev -type f -printf '%p %s %T@\\n' | sort"
    packages = server.must("dpkg-query", "--show")
    return "\n".join((server.must("sh", "-c", listed), packages))


def cloud_log(server: Container) -> str:
    """What cloud-init and its scripts said."""
    setup = server.run("journalctl", "--unit=reconciler-setup", "--output=cat").out
    return server.run("tail", "-n", "60", "/var/log/cloud-init-output.log").out + setup
