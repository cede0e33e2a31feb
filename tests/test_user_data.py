"""Proves that user-data tells a server what was asked, whatever characters that has, and refuses what fails there."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from command_line import reconciler
from reconciler.cli import first_booting, setup_package
from reconciler.cli.commands.init import command
from reconciler.cli.first_booting import Asked, make
from reconciler.cli.setup_package import SetupPackage
from reconciler.cli.user_data import KEY, SCRIPT, UNIT_FILE, USER_DATA_BYTES, FirstBoot, user_data
from reconciler.host.bootstrapping.service_environment import read_variables
from reconciler.model.errors import ConfigurationError, HostError, ReconcilerError, UsageError

URL = "git@git.example.com:deploy.git"
HOST_KEY = "git.example.com ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAjTCOqI5IMksKi8OX7oahol47C85gdQyIZvCKELajc4"
DEB = "/srv/reconciler_0.1.0_amd64.deb"
FINGERPRINT = "SHA256:" + "A" * 43
DIGEST = "sha256=" + "a" * 64
HOSTILE = 'it\'s "$(touch /pwned)" `id` \\ # : - {a: b} ; & | ü \u2028 \n- x: |\n\ttab'


@pytest.fixture
def known_hosts(tmp_path: Path) -> Path:
    (tmp_path / "known").write_text(f"# a comment\n{HOST_KEY}\n")
    return tmp_path / "known"


def files_of(text: str) -> dict[str, dict[str, str]]:
    """What cloud-init would write, by path."""
    assert text.startswith("#cloud-config\n")
    return {file["path"]: file for file in yaml.safe_load(text)["write_files"]}


def bootstrap_words(text: str) -> list[str]:
    script = files_of(text)[SCRIPT]["content"]
    return shlex.split(script[script.index("/usr/bin/reconciler bootstrap") : script.index("systemctl disable")])


def test_standard_output_is_the_document_and_nothing_else(tmp_path: Path, known_hosts: Path) -> None:
    key = tmp_path / "key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)], check=True, timeout=30)
    options = ["--repository", URL, "--package", DEB, "--deploy-key", str(key), "--known-hosts", str(known_hosts)]
    more = [
        "--label",
        "role=web",
        "--branch",
        "live",
        "--env",
        "UV_DEFAULT_INDEX=https://u:p@pypi.example.com/simple",
    ]
    ended = reconciler("init", "--cloud-init", *options, *more)
    assert ended.status == 0, ended.err
    files = files_of(ended.out)
    assert files["/etc/reconciler/ssh/known_hosts"]["content"] == f"{HOST_KEY}\n"
    assert (files[KEY]["content"], files[KEY]["permissions"]) == (key.read_text(), "0600")
    (tmp_path / "environment").write_text(files["/etc/reconciler/environment"]["content"])
    assert read_variables(tmp_path / "environment") == {"UV_DEFAULT_INDEX": "https://u:p@pypi.example.com/simple"}
    assert bootstrap_words(ended.out)[1:] == [
        "bootstrap", "--branch", "live", "--label", "role=web", "--identity", KEY, "--", URL,
    ]  # fmt: skip
    assert ended.err.startswith(f"warning: the user-data holds the private key {key}")


@pytest.mark.skipif(shutil.which("cloud-init") is None, reason="no cloud-init here: make test-system asks one")
def test_cloud_init_finds_nothing_wrong_with_it(tmp_path: Path) -> None:
    wanted = FirstBoot(URL, HOSTILE, SetupPackage.named(DEB), {"a": HOSTILE}, HOSTILE, HOSTILE, HOSTILE, HOSTILE)
    (tmp_path / "data").write_text(user_data(wanted))
    subprocess.run(["cloud-init", "schema", "--config-file", str(tmp_path / "data")], check=True, timeout=60)


def test_without_a_key_the_server_makes_one_and_the_hint_says_where_it_is_shown(known_hosts: Path) -> None:
    made = make(Asked(URL, package=DEB, known_hosts=known_hosts))
    assert KEY not in files_of(made.text)
    assert "--identity" not in bootstrap_words(made.text)
    assert made.warnings == ()
    assert "journalctl -u reconciler-setup.service" in made.hints[0]


@settings(max_examples=12, deadline=None)
@given(text=st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1, max_size=40))
def test_no_character_leaves_its_value(text: str) -> None:
    wanted = FirstBoot(text, text, SetupPackage.named(DEB), {"role": text}, text, text, text, text)
    made = user_data(wanted)
    files = files_of(made)
    assert [files[path]["content"] for path in (KEY, "/etc/reconciler/agent.yaml")] == [text, text]
    assert bootstrap_words(made)[2:6] == ["--branch", text, "--label", f"role={text}"]
    assert bootstrap_words(made)[6:] == ["--identity", KEY, "--host-key", text, "--", text]
    assert set(yaml.safe_load(made)) == {"package_update", "packages", "write_files", "runcmd"}


def test_a_real_shell_hands_over_what_was_asked(tmp_path: Path) -> None:
    stub = tmp_path / "stub"
    stub.write_text(f"#!/bin/sh\nfor word do printf '%s\\0' \"$word\"; done >> {tmp_path}/words\n")
    stub.chmod(0o755)
    (tmp_path / "systemctl").symlink_to(stub)
    (tmp_path / "rm").symlink_to(stub)
    package = SetupPackage("true", str(stub))
    script = files_of(user_data(FirstBoot(HOSTILE, HOSTILE, package, {"a": HOSTILE})))[SCRIPT]["content"]
    path = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    subprocess.run(["sh"], input=script, text=True, check=True, timeout=30, env=path, cwd=tmp_path)
    words = (tmp_path / "words").read_text().split("\0")
    assert words[:7] == ["bootstrap", "--branch", HOSTILE, "--label", f"a={HOSTILE}", "--", HOSTILE]


@pytest.mark.parametrize(
    "place", [DEB, f"https://p.example.com/r.deb#{DIGEST}", f"https://p.example.com/r.whl#{DIGEST}"]
)
def test_a_shell_understands_every_way_to_install(place: str) -> None:
    package = SetupPackage.named(place)
    subprocess.run(["sh", "-n"], input=package.installation, text=True, check=True, timeout=30)
    if place.endswith(f".deb#{DIGEST}"):
        assert f"{'a' * 64}  /var/cache/reconciler/setup.deb" in package.installation
    if ".whl" in place:
        assert f"'reconciler[system] @ https://p.example.com/r.whl#{DIGEST}'" in package.installation
        assert "python3-venv" in package.needs


@pytest.mark.parametrize(
    ("place", "sentence"),
    [
        ("reconciler", "neither an https address nor an absolute path"),
        ("ftp://p.example.com/r.deb", "neither an https address nor an absolute path"),
        ("http://p.example.com/r.deb", "anybody between could answer"),
        ("https://p.example.com/r.tar.gz", "neither a .deb nor a .whl"),
        ("https://p.example.com/r.deb#sha256=1", "no address or path"),
        ("/srv/a b.deb", "no address or path"),
        ("/srv/a\n.deb", "no address or path"),
    ],
)
def test_a_package_that_no_server_should_install_is_refused(place: str, sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence) as refused:
        SetupPackage.named(place)
    assert refused.value.hint


def test_the_package_is_that_of_this_installation_where_it_came_from_an_address(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def installed(url: str) -> Any:
        origin = {"url": url, "archive_info": {"hashes": {"sha256": "b" * 64}}}
        return lambda name: SimpleNamespace(read_text=lambda file: json.dumps(origin))

    monkeypatch.setattr(setup_package, "distribution", installed("https://p.example.com/reconciler-1.whl"))
    assert f"reconciler-1.whl#sha256={'b' * 64}" in SetupPackage.like_this_one().installation
    monkeypatch.setattr(setup_package, "distribution", installed("file:///srv/checkout"))
    with pytest.raises(UsageError, match="nobody has said where the new server gets the reconciler from"):
        SetupPackage.like_this_one()


def test_user_data_that_providers_do_not_take_is_refused(tmp_path: Path, known_hosts: Path) -> None:
    known_hosts.write_text(f"{HOST_KEY}\n" * 200)
    with pytest.raises(UsageError, match=f"providers take {USER_DATA_BYTES}"):
        make(Asked(URL, package=DEB, known_hosts=known_hosts))


def test_a_whole_agent_yaml_goes_along(tmp_path: Path) -> None:
    agent = tmp_path / "agent.yaml"
    agent.write_text(
        "profile: system\nrepository: {url: https://git.example.com/d.git, branch: live, interval: 5m}\n"
    )
    made = make(Asked(agent=agent, package=DEB))
    assert files_of(made.text)["/etc/reconciler/agent.yaml"]["content"] == agent.read_text()
    assert bootstrap_words(made.text)[1:] == ["bootstrap", "--branch", "live", "--", "https://git.example.com/d.git"]
    with pytest.raises(UsageError, match="says which repository the server follows"):
        make(Asked(URL, agent=agent, package=DEB))
    agent.write_text("root: /srv/r\nrepository: {url: https://git.example.com/d.git}\n")
    with pytest.raises(UsageError, match="of the embedded profile"):
        make(Asked(agent=agent, package=DEB))


@pytest.mark.parametrize(
    ("asked", "kind", "sentence"),
    [
        (Asked(package=DEB), UsageError, "nobody has said which config repository"),
        (Asked("http://git.example.com/d.git", package=DEB), UsageError, "only https, ssh and file"),
        (Asked("https://git.example.com/\nd.git", package=DEB), UsageError, "is not a repository address"),
        (Asked("https://g.example.com/d.git", branch="a..b", package=DEB), ConfigurationError, "repository.branch"),
        (Asked(URL, package=DEB), UsageError, "nobody has said yet which key the ssh server git.example.com has"),
        (Asked("https://g.example.com/d", package=DEB, host_key=FINGERPRINT), UsageError, "is not reached with ssh"),
        (
            Asked(URL, package=DEB, host_key=FINGERPRINT, variables={"LD_PRELOAD": "x"}),
            UsageError,
            "no variable of the",
        ),
        (
            Asked(URL, package=DEB, host_key=FINGERPRINT, variables={"UV_INDEX": "a\nb"}),
            UsageError,
            "no file of variab",
        ),
        (Asked(URL, package=DEB, host_key=FINGERPRINT, deploy_key=Path(__file__)), HostError, "no private key"),
        (
            Asked(URL, package=DEB, host_key=FINGERPRINT, deploy_key=Path("/nowhere/key")),
            UsageError,
            "cannot be read",
        ),
        (Asked(URL, package=DEB, host_key="SHA256:x"), UsageError, "is no fingerprint"),
        (
            Asked(URL, package=DEB, known_hosts=Path("/nowhere/known")),
            UsageError,
            "known cannot be read: No such file",
        ),
    ],
)
def test_what_would_fail_on_the_server_is_refused_here(
    asked: Asked, kind: type[ReconcilerError], sentence: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(first_booting, "KNOWN_HOSTS", "/nowhere/known_hosts")
    monkeypatch.setattr(first_booting, "OTHER_KNOWN_HOSTS", ())
    with pytest.raises(kind, match=sentence):
        make(asked)


def test_a_password_in_the_address_is_warned_of_and_not_shown() -> None:
    made = make(Asked("https://bot:hunter2@git.example.com/d.git", package=DEB))
    assert "holds the password of https://***@git.example.com/d.git" in made.warnings[0]
    assert "hunter2" not in "".join((*made.warnings, *made.hints))


def test_options_that_do_not_fit_together_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--cloud-init makes no folder"):
        command(tmp_path / "new", cloud_init=True, repository=URL)
    with pytest.raises(UsageError, match="--package is for user-data"):
        command(tmp_path / "new", package=DEB)
    with pytest.raises(UsageError, match="missing argument 'DIR'"):
        command()
    assert not (tmp_path / "new").exists()


def test_the_unit_runs_again_until_it_has_done_its_work(known_hosts: Path) -> None:
    unit = files_of(make(Asked(URL, package=DEB, known_hosts=known_hosts)).text)[UNIT_FILE]["content"]
    assert "\nRestart=on-failure\n" in unit
    assert "\nStartLimitIntervalSec=0\n" in unit
