"""User-data for cloud-init: what a new server needs to install the reconciler and to run ``bootstrap``.

cloud-init puts a script and a unit there and starts the unit, which runs again until the server is ready: a mirror
that does not answer yet, or a deploy key that nobody has let in yet, needs no hand on the machine.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from reconciler.cli.setup_package import SetupPackage
from reconciler.host.bootstrapping.service_environment import ServiceEnvironment
from reconciler.model.errors import UsageError

USER_DATA_BYTES = 16 * 1024
"""What the strictest of the large providers takes."""
FOLDER = "/etc/reconciler"
SCRIPT = f"{FOLDER}/setup"
UNIT = "reconciler-setup.service"
UNIT_FILE = f"/etc/systemd/system/{UNIT}"
KEY = f"{FOLDER}/setup-key"
AGAIN_SECONDS = 15
"""The pause before the unit runs again."""
SECRET, PROGRAM = "0600", "0700"

SETUP_UNIT = f"""\
[Unit]
Description=Makes this server follow its config repository; goes when it does
Wants=network-online.target
After=network-online.target
StartLimitIntervalSec=0

[Service]
Type=oneshot
ExecStart=/bin/sh {SCRIPT}
EnvironmentFile=-{FOLDER}/environment
Environment=HOME=/root
# the public half of a key that is made here is to be seen at the provider's console
StandardOutput=journal+console
StandardError=journal+console
Restart=on-failure
RestartSec={AGAIN_SECONDS}

[Install]
WantedBy=multi-user.target
"""


@dataclass(frozen=True, slots=True)
class FirstBoot:
    """What the server is told: ``agent`` is the text of an agent.yaml, ``deploy_key`` the text of a private key.

    ``known_hosts`` are lines of ssh's file of that name, ``host_key`` a fingerprint for ``bootstrap`` in their place.
    """

    url: str
    branch: str
    package: SetupPackage
    labels: Mapping[str, str] = field(default_factory=dict)
    agent: str | None = None
    deploy_key: str | None = None
    known_hosts: str | None = None
    host_key: str | None = None
    environment: Mapping[str, str] = field(default_factory=dict)


def user_data(wanted: FirstBoot) -> str:
    """The document, which begins with ``#cloud-config``.

    Raises :class:`UsageError` when it is longer than providers take.
    """
    document = {
        "package_update": True,
        "packages": list(wanted.package.needs),
        "write_files": list(_files(wanted)),
        "runcmd": [["systemctl", "daemon-reload"], ["systemctl", "enable", "--now", UNIT]],
    }
    text = "#cloud-config\n" + yaml.dump(document, Dumper=_Dumper, sort_keys=False, width=1000)
    size = len(text.encode())
    if size > USER_DATA_BYTES:
        raise UsageError(
            f"the user-data has {size} bytes, and providers take {USER_DATA_BYTES}",
            hint="shorten what it embeds: an ed25519 key has 400 bytes, and each ssh server needs one line",
        )
    return text


def _files(wanted: FirstBoot) -> list[dict[str, str]]:
    files = []
    if wanted.known_hosts is not None:
        files.append(_file(f"{FOLDER}/ssh/known_hosts", wanted.known_hosts, "0644"))
    if wanted.deploy_key is not None:
        files.append(_file(KEY, wanted.deploy_key, SECRET))
    if wanted.agent is not None:
        files.append(_file(f"{FOLDER}/agent.yaml", wanted.agent, SECRET))
    if wanted.environment:
        variables = ServiceEnvironment(Path(FOLDER) / "environment", wanted.environment)
        files.append(_file(str(variables.file), variables.text(), SECRET))
    files.append(_file(SCRIPT, script(wanted), PROGRAM))
    files.append(_file(UNIT_FILE, SETUP_UNIT, "0644"))
    return files


def _file(path: str, content: str, mode: str) -> dict[str, str]:
    return {"path": path, "owner": "root:root", "permissions": mode, "content": content}


def script(wanted: FirstBoot) -> str:
    """The script that the unit runs: every step of it can be run again."""
    return "\n".join(
        (
            "#!/bin/sh",
            "# made by `reconciler init --cloud-init`: installs the reconciler and lets it make the server ready",
            "set -eu",
            "umask 022",
            "export DEBIAN_FRONTEND=noninteractive",
            wanted.package.installation.rstrip("\n"),
            shlex.join((wanted.package.program, *_bootstrap(wanted))),
            f"systemctl disable {UNIT}",
            f"rm -f {UNIT_FILE} {KEY} {SCRIPT}",
            "systemctl daemon-reload",
            "",
        )
    )


def _bootstrap(wanted: FirstBoot) -> tuple[str, ...]:
    options = ["--branch", wanted.branch]
    for name, value in wanted.labels.items():
        options += ["--label", f"{name}={value}"]
    if wanted.deploy_key is not None:
        options += ["--identity", KEY]
    if wanted.host_key is not None:
        options += ["--host-key", wanted.host_key]
    return ("bootstrap", *options, "--", wanted.url)


class _Dumper(yaml.SafeDumper):
    """Texts of several lines as people write them, where YAML can; everything else quoted as it has to be."""

    def ignore_aliases(self, data: Any) -> bool:
        """Repeat a value that occurs twice."""
        del data
        return True


def _represent(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


_Dumper.add_representer(str, _represent)
