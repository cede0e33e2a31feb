"""Proves what bootstrap decides without changing a server: what it refuses, trusts, writes and leaves alone."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from command_line import reconciler
from reconciler.host.bootstrapping import server, ssh_access
from reconciler.host.bootstrapping.configuration_files import AgentConfiguration, OwnFile
from reconciler.host.bootstrapping.debian_site import ExampleSite
from reconciler.host.bootstrapping.packages import missing_packages
from reconciler.host.bootstrapping.reaching import Reaching
from reconciler.host.bootstrapping.service_environment import ServiceEnvironment, read_variables
from reconciler.host.bootstrapping.ssh_access import HostKey, SshAccess, SshServer
from reconciler.host.bootstrapping.units import ACCOUNTS, FOLDERS_AT_BOOT, UNITS, Files, unit_file
from reconciler.host.system_layout import SystemLayout
from reconciler.model.configuration_reading import read_configuration
from reconciler.model.errors import HostError, RepositoryUnreachable
from world import free_port

DEBIAN = 'ID=debian\nPRETTY_NAME="Debian GNU/Linux 12"\n'


def refusal(tmp_path: Path, os_release: str, *, systemd: bool = True, prefix: Path = Path("/opt/reconciler")) -> str:
    (tmp_path / "os-release").write_text(os_release)
    (tmp_path / "systemd").mkdir()
    with pytest.raises(HostError) as refused:
        server.refuse_unfit(tmp_path / "os-release", tmp_path / ("systemd" if systemd else "nowhere"), prefix)
    return str(refused.value)


def test_another_system_is_refused_by_its_name(tmp_path: Path) -> None:
    told = refusal(tmp_path, 'ID=fedora\nPRETTY_NAME="Fedora Linux 40"\n')
    assert told == "bootstrap knows Debian and Ubuntu, and this host runs Fedora Linux 40"


def test_a_system_without_systemd_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.which", lambda name: f"/usr/bin/{name}")
    assert "systemd does not run this host" in refusal(tmp_path, "ID=mint\nID_LIKE='ubuntu debian'\n", systemd=False)


def test_without_root_it_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.which", lambda name: f"/usr/bin/{name}")
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    assert "takes root" in refusal(tmp_path, DEBIAN)


def test_an_installation_that_the_service_cannot_see_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shutil.which", lambda name: f"/usr/bin/{name}")
    monkeypatch.setattr("os.geteuid", lambda: 0)
    monkeypatch.setattr(server, "HIDDEN", (tmp_path / "root",))
    told = refusal(tmp_path, DEBIAN, prefix=tmp_path / "root/venv")
    assert told == f"the reconciler is installed in {tmp_path}/root/venv, which its service does not see"


def test_an_installation_behind_a_closed_folder_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.which", lambda name: f"/usr/bin/{name}")
    monkeypatch.setattr("os.geteuid", lambda: 0)
    monkeypatch.setattr(server, "HIDDEN", ())
    (tmp_path / "closed/venv").mkdir(parents=True)
    (tmp_path / "closed").chmod(0o700)
    assert "the accounts of apps cannot enter" in refusal(tmp_path, DEBIAN, prefix=tmp_path / "closed/venv")


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("git@git.example.com:deploy.git", ("git.example.com", 22, "git.example.com")),
        ("ssh://git@git.example.com/deploy.git", ("git.example.com", 22, "git.example.com")),
        ("ssh://git@git.example.com:2222/deploy.git", ("git.example.com", 2222, "[git.example.com]:2222")),
        ("git@[2001:db8::1]:deploy.git", ("2001:db8::1", 22, "2001:db8::1")),
    ],
)
def test_the_server_of_an_ssh_address(url: str, expected: tuple[str, int, str]) -> None:
    found = SshServer.of(url)
    assert (found.host, found.port, found.name) == expected


class TestSsh:
    """The deploy key, with a server whose keys are known."""

    LINE = "git.example.com ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAjTCOqI5IMksKi8OX7oahol47C85gdQyIZvCKELajc4"

    @pytest.fixture(autouse=True)
    def known(self, monkeypatch: pytest.MonkeyPatch) -> None:
        shown = (HostKey(self.LINE, "ssh-ed25519", "SHA256:ours"),)
        monkeypatch.setattr(ssh_access, "scan", lambda server: shown)
        monkeypatch.setattr(ssh_access, "OTHER_KNOWN_HOSTS", ())

    def access(self, tmp_path: Path, **more: object) -> SshAccess:
        return SshAccess(tmp_path / "ssh", SshServer("git.example.com", 22), **more)  # type: ignore[arg-type]

    def test_nobody_is_trusted_unseen(self, tmp_path: Path) -> None:
        with pytest.raises(HostError) as refused:
            self.access(tmp_path).missing()
        assert refused.value.hint is not None
        assert "--host-key SHA256:ours" in refused.value.hint
        assert not (tmp_path / "ssh").exists()

    def test_another_key_than_the_one_that_was_named_is_an_error(self, tmp_path: Path) -> None:
        with pytest.raises(HostError, match="does not show the key SHA256:theirs"):
            self.access(tmp_path, trusted="SHA256:theirs").missing()

    def test_a_key_is_made_once(self, tmp_path: Path) -> None:
        access = self.access(tmp_path, trusted="SHA256:ours")
        assert len(access.missing()) == 3
        access.provide()
        assert access.key.stat().st_mode & 0o777 == 0o600
        assert access.folder.stat().st_mode & 0o777 == 0o700
        key = access.key.read_bytes()
        assert self.access(tmp_path).missing() == ()
        access.provide()
        assert access.key.read_bytes() == key
        assert access.known_hosts.read_text() == f"{self.LINE}\n"

    def test_ssh_reads_the_settings(self, tmp_path: Path) -> None:
        access = self.access(tmp_path, trusted="SHA256:ours")
        access.provide()
        told = subprocess.run(
            ["ssh", "-G", "-F", access.configuration, "git.example.com"], capture_output=True, text=True, check=True
        ).stdout
        assert f"identityfile {access.key}\n" in told
        assert f"userknownhostsfile {access.known_hosts}\n" in told

    def test_a_key_is_taken_over(self, tmp_path: Path) -> None:
        own = tmp_path / "own"
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", own], check=True)
        access = self.access(tmp_path, trusted="SHA256:ours", identity=own)
        access.provide()
        assert access.key.read_bytes() == own.read_bytes()
        assert access.public_key.split()[:2] == own.with_suffix(".pub").read_text().split()[:2]

    @pytest.mark.parametrize("passphrase", ["secret", None])
    def test_a_key_that_cannot_be_used_is_refused(self, tmp_path: Path, passphrase: str | None) -> None:
        own = tmp_path / "own"
        own.write_text("no key")
        if passphrase:
            own.unlink()
            subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", passphrase, "-f", own], check=True)
        access = self.access(tmp_path, trusted="SHA256:ours", identity=own)
        with pytest.raises(HostError, match="no private key that can be used without a passphrase"):
            access.provide()
        assert not access.key.exists()


def test_a_server_that_does_not_answer_is_told_before_anything_is_changed(tmp_path: Path) -> None:
    port = free_port()
    access = SshAccess(tmp_path, SshServer("localhost", port))
    with pytest.raises(RepositoryUnreachable, match=f"localhost port {port}"):
        Reaching(f"ssh://git@localhost:{port}/deploy.git", "main", access).missing()


def test_the_configuration_that_is_written_can_be_read(tmp_path: Path) -> None:
    written = AgentConfiguration(
        tmp_path / "r/agent.yaml", "git@git.example.com:d.git", "live", {"role": "web"}, False
    )
    assert written.missing() == (f"write {tmp_path}/r/agent.yaml",)
    written.provide()
    assert written.missing() == ()
    read = read_configuration(written.file.read_bytes(), file="agent.yaml")
    assert (read.profile, read.repository.branch, dict(read.host.labels)) == ("system", "live", {"role": "web"})
    assert read.repository.url == "git@git.example.com:d.git"


def test_a_password_in_an_address_is_for_root_only(tmp_path: Path) -> None:
    written = AgentConfiguration(tmp_path / "agent.yaml", "https://a:b@git.example.com/d.git", "main", {}, True)
    written.provide()
    assert written.file.stat().st_mode & 0o777 == 0o600


def test_variables_come_back_as_they_went(tmp_path: Path) -> None:
    values = {"HTTPS_PROXY": 'http://user:a\\b"c$d e@proxy.example.com', "UV_OFFLINE": "1", "PATH": "/bin"}
    written = ServiceEnvironment(tmp_path / "environment", values)
    assert written.missing() == (f"write {tmp_path}/environment with HTTPS_PROXY, UV_OFFLINE",)
    written.provide()
    assert written.missing() == ()
    assert written.file.stat().st_mode & 0o777 == 0o600
    assert read_variables(written.file) == {name: values[name] for name in ("HTTPS_PROXY", "UV_OFFLINE")}


def test_no_variables_no_file(tmp_path: Path) -> None:
    assert ServiceEnvironment(tmp_path / "environment", {"HOME": "/"}).missing() == ()
    assert read_variables(tmp_path / "environment") == {}


def test_units_start_what_is_installed(tmp_path: Path) -> None:
    files = Files(UNITS, (("true",),), {"reconciler": "/srv/r/bin/reconciler", "pyuwsgi": "/usr/bin/uwsgi"}, tmp_path)
    assert len(files.missing()) == len(UNITS)
    files.provide()
    assert files.missing() == ()
    units = tmp_path / "systemd/system"
    assert "\nExecStart=/srv/r/bin/reconciler run\n" in (units / "reconciler.service").read_text()
    assert " /usr/bin/uwsgi --ini " in (units / "reconciler-emperor.service").read_text()
    (units / "reconciler.service").write_text("changed")
    assert files.missing() == (f"replace {units / 'reconciler.service'}",)


def test_what_the_debian_package_has_brought_is_not_covered_by_a_file_of_our_own(tmp_path: Path) -> None:
    programs = {"reconciler": "/usr/lib/reconciler/bin/reconciler", "pyuwsgi": "/usr/lib/reconciler/bin/pyuwsgi"}
    by_hand = Files(UNITS, (("true",),), {}, tmp_path / "etc", tmp_path / "usr")
    by_hand.provide()
    Files(UNITS, (), programs, tmp_path / "usr", tmp_path / "nowhere").provide()
    # an installation that is not the package's keeps its own
    assert by_hand.missing() == ()
    packaged = Files(UNITS, (("true",),), programs, tmp_path / "etc", tmp_path / "usr")
    units = [place for name, place in UNITS.items() if "/" not in name]
    assert packaged.missing() == tuple(
        f"remove {tmp_path}/etc/{place}, which covers the package's" for place in units
    )
    packaged.provide()
    assert packaged.missing() == ()
    assert not [place for place in units if (tmp_path / "etc" / place).exists()]


@pytest.mark.parametrize("name", [*UNITS, *ACCOUNTS, *FOLDERS_AT_BOOT])
def test_no_unit_names_what_is_not_there(name: str) -> None:
    assert "{" not in unit_file(name)


def test_the_boot_makes_the_folders_that_services_need_before_the_agent_runs() -> None:
    layout, text = SystemLayout.at(), unit_file("tmpfiles.d/reconciler.conf")
    for folder in (layout.run, layout.app_runs, layout.vassals, layout.logs):
        assert f"\nd {folder} " in text


class TestExampleSite:
    """Debian's site on port 80."""

    @pytest.fixture
    def site(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ExampleSite:
        available, enabled = tmp_path / "nginx/sites-available/default", tmp_path / "nginx/sites-enabled/default"
        available.parent.mkdir(parents=True)
        enabled.parent.mkdir()
        available.write_text("server {}\n")
        enabled.symlink_to(available)
        (tmp_path / "pages").mkdir()
        (tmp_path / "pages/index.nginx-debian.html").touch()
        program = tmp_path / "bin/dpkg-query"
        program.parent.mkdir()
        digest = subprocess.run(["md5sum", available], capture_output=True, text=True, check=True).stdout.split()[0]
        program.write_text(f"#!/bin/sh\necho ' {available} {digest}'\n")
        program.chmod(0o755)
        monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
        return ExampleSite(tmp_path, tmp_path / "pages")

    def test_an_untouched_one_goes(self, tmp_path: Path, site: ExampleSite) -> None:
        assert len(site.missing()) == 1
        site.provide()
        assert site.missing() == ()
        assert (tmp_path / "nginx/sites-available/default").exists()

    def test_a_changed_one_stays(self, tmp_path: Path, site: ExampleSite) -> None:
        (tmp_path / "nginx/sites-available/default").write_text("server { listen 80; }\n")
        assert site.missing() == ()

    def test_one_with_somebodys_page_stays(self, tmp_path: Path, site: ExampleSite) -> None:
        (tmp_path / "pages/index.html").touch()
        assert site.missing() == ()


def test_the_emperors_file_follows_the_package(tmp_path: Path) -> None:
    file = OwnFile(tmp_path / "r/emperor.ini", "[uwsgi]\n")
    assert file.missing() == (f"write {file.file}",)
    file.provide()
    assert file.missing() == ()
    assert OwnFile(file.file, "[uwsgi]\nnew\n").missing() == (f"replace {file.file}",)


def test_packages_that_are_not_installed_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "dpkg-query"
    program.write_text(
        "#!/bin/sh\nprintf 'git\\tinstall ok installed\\nold\\tdeinstall ok config-files\\n'; exit 1\n"
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    assert missing_packages(("git", "old", "nginx")) == ("old", "nginx")


def test_a_label_without_a_value_is_a_mistake() -> None:
    ended = reconciler("bootstrap", "https://git.example.com/d.git", "--label", "web")
    assert (ended.status, "--label web is no KEY=VALUE" in ended.err) == (2, True)


def test_another_configuration_file_is_refused(tmp_path: Path) -> None:
    ended = reconciler("-c", str(tmp_path / "agent.yaml"), "bootstrap", "https://git.example.com/d.git")
    assert (ended.status, "no other file" in ended.err) == (2, True)
