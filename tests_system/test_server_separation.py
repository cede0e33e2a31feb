"""Proves that what apps bring cannot leave its confines, use up the host, or see anything of a neighbour's.

It goes on with the server that ``test_server.py`` leaves.
"""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import quote

import pytest

from container import Container, wait_for
from story import CONFIG, GIT_USER, Developer, Operator
from visiting import ask, wait_for_page

AGENT_FILE = "/etc/reconciler/agent.yaml"
NOSY_HOST, SHY_HOST, KILLED_HOST = "nosy.example.com", "shy.example.com", "killed.example.com"
SECRET = "neither-shown-nor-read"
SECRET_OF_SHY = "  secrets: {PASSWORD: secrets/shy.yaml#password}\n"
LIMITS = "limits: {build: 9s, memory: 256m, processes: 64}\n"
READ_SECONDS = 20.0
KILLED_SECONDS = 5.0
"""Sooner than the limit of a build: what ends then ends with the agent."""

MANIFEST = """apiVersion: reconciler/v1
kind: App
metadata: {{name: {name}}}
spec:
  source: {{repository: ".", directory: apps/{name}}}
  uwsgi: {{module: "wsgi:app", processes: 1}}
  nginx: {{serverNames: [{name}.example.com]}}
{more}"""

# answers with what a piece of Python comes to; nobody should ever deploy such an app
NOSY = """import json, os, socket
from urllib.parse import unquote

def app(environ, start_response):
    found = {}
    try:
        exec(unquote(environ["QUERY_STRING"]), globals(), found)
        answer = found["found"]
    except BaseException as error:
        answer = f"{type(error).__name__}: {error}"
    start_response("200 OK", [("Content-Type", "application/json")])
    return [json.dumps(answer).encode()]
"""

SHY = """import os

open("/tmp/of-shy", "w").write("a temporary file")

def app(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [f"shy with a password of {len(os.environ['PASSWORD'])} characters".encode()]
"""

COMMANDS = {
    "hungry": """python3 -c "x = bytearray(600 << 20)" """,
    # the first process is the one that is refused: how far the others get is a matter of luck
    "forker": """python3 -c "import os, time; any(os.fork() == 0 for number in range(99)) and time.sleep(60)" """,
    "escaper": "setsid sleep 4242 & setsid sh -c 'trap : TERM; sleep 4243; sleep 4243' & sleep 4244",
}


BOMB = """import time
pids = []
try:
    while True:
        pids.append(os.fork() or time.sleep(60) or os._exit(0))
finally:
    for pid in pids:
        os.kill(pid, 9)
        os.waitpid(pid, 0)
"""


@pytest.fixture(scope="module", autouse=True)
def limited(container: Container, developer: Developer, operator: Operator) -> None:
    """The server's limits, small ones, and an age key."""
    container.let_groups_limit()
    file = container.path(AGENT_FILE)
    read = operator.told("configuration_read")
    file.write_text(file.read_text() + LIMITS)
    container.must("systemctl", "reload", "reconciler.service")
    wait_for("the configuration to be read", lambda: operator.told("configuration_read") > read, READ_SECONDS)
    # as after an upgrade from before it could confine them: the operator's own step
    container.must("systemctl", "restart", "reconciler-emperor.service")
    recipient = operator.reconciler("secrets", "keygen").out.split()[-1]
    container.write("/srv/plain/secrets/shy.yaml", f"password: {SECRET}\n")
    container.write("/srv/plain/.sops.yaml", f"creation_rules:\n  - path_regex: ^secrets/\n    age: {recipient}\n")
    encrypt = "cd /srv/plain && /opt/reconciler/bin/reconciler secrets encrypt secrets/shy.yaml"
    encrypted = container.run("sh", "-c", encrypt)
    assert encrypted.status == 0, str(encrypted)
    text = container.path("/srv/plain/secrets/shy.yaml").read_text()
    assert SECRET not in text
    shy = MANIFEST.format(name="shy", more=SECRET_OF_SHY)
    files = {"secrets/shy.yaml": text, "apps/shy/wsgi.py": SHY, "manifests/shy.yaml": shy}
    files |= {"apps/nosy/wsgi.py": NOSY, "manifests/nosy.yaml": MANIFEST.format(name="nosy", more="")}
    for name, command in COMMANDS.items():
        manifest = MANIFEST.format(name=name, more=f"  build: {{commands: [{json.dumps(command)}]}}\n")
        files |= {f"apps/{name}/wsgi.py": SHY, f"manifests/{name}.yaml": manifest}
    developer.commit(CONFIG, files)
    operator.reconciler("sync", seconds=120)
    wait_for_page(container, SHY_HOST, f"a password of {len(SECRET)} characters")
    wait_for_page(container, NOSY_HOST, "KeyError")


def test_doctor_says_what_holds(operator: Operator) -> None:
    rows = {row["check"]: row for row in json.loads(operator.reconciler("doctor", "--json").out)["checks"]}
    assert rows["commands"]["level"] == "ok", rows["commands"]
    assert rows["apps"]["level"] == "ok", rows["apps"]
    assert rows["limits"]["level"] == ("ok" if enforced(operator.container) else "warn"), rows["limits"]


@pytest.mark.parametrize(
    ("app", "sentence"),
    [
        ("hungry", "after it was killed for using more than 256 MiB (limits.memory)"),
        ("forker", "after it was refused more than 64 processes (limits.processes)"),
        ("escaper", "the build stage took longer than 9 s and was ended"),
    ],
)
def test_a_command_is_stopped_by_a_limit_that_its_error_names(operator: Operator, app: str, sentence: str) -> None:
    if app != "escaper" and not enforced(operator.container):
        pytest.skip("this machine's kernel does not enforce it for containers")
    error = operator.status()[app]["last_error"]
    assert sentence in json.dumps(error), error


def test_nothing_that_a_command_started_is_left(container: Container) -> None:
    assert container.run("pgrep", "--full", "sleep 424[0-9]").out == ""
    assert container.must("systemctl", "list-units", "--all", "--no-legend", "reconciler-command-*") == ""


def test_a_command_does_not_outlive_an_agent_that_is_killed(
    container: Container, developer: Developer, operator: Operator
) -> None:
    hanging = "  build: {commands: ['setsid sleep 4245 & sleep 4245']}\n"
    files = {"apps/killed/wsgi.py": SHY, "manifests/killed.yaml": MANIFEST.format(name="killed", more=hanging)}
    developer.commit(CONFIG, files)
    container.must("systemctl", "reload", "reconciler.service")

    def processes() -> list[str]:
        return container.run("pgrep", "--full", "^sleep 4245").out.split()

    wait_for("both of them", lambda: len(processes()) == 2, READ_SECONDS)
    begun = processes()
    container.must("kill", "-KILL", operator.agent("MainPID"))
    wait_for("their end", lambda: not {*begun} & {*processes()}, KILLED_SECONDS)
    more = f"  static: [{{source: static, url: /static/}}]\n{SECRET_OF_SHY}"
    corrected = MANIFEST.format(name="killed", more=more)
    developer.commit(CONFIG, {"manifests/killed.yaml": corrected, "apps/killed/static/a.css": "a { color: red }\n"})
    operator.wait_until_active("reconciler.service")
    operator.reconciler("sync", seconds=120)
    # what the next agent has begun again gives way to the correction
    wait_for_page(container, KILLED_HOST, f"a password of {len(SECRET)} characters")
    # the minifier is confined as well
    assert ask(container, KILLED_HOST, "/static/a.css").text == "a{color:red}"
    assert processes() == []


def test_an_app_is_confined(container: Container) -> None:
    status = dict(
        line.split(":\t", 1) for line in nosy(container, "found = open('/proc/self/status').read()").splitlines()
    )
    assert (status["NoNewPrivs"], int(status["CapBnd"], 16)) == ("1", 0)
    group = nosy(container, "found = open('/proc/self/cgroup').read()")
    assert "/reconciler-emperor.service/vassal-nosy." in group
    for place in ("/etc/x", "/var/lib/x", "/usr/x", "/opt/x", "/home/x"):
        assert "Read-only file system" in nosy(container, f"found = open('{place}', 'w').write('')"), place
    assert nosy(container, "found = open('/var/lib/reconciler/shared/nosy/x', 'w').write('mine')") == 4
    assert nosy(container, "found = open('/tmp/x', 'w').write('mine')") == 4
    assert nosy(container, "found = sorted(os.listdir('/tmp'))") == ["x"]
    assert not container.path("/tmp/x").exists()
    if enforced(container):
        assert "BlockingIOError" in nosy(container, BOMB)


def test_an_app_sees_nothing_of_its_neighbour(container: Container) -> None:
    shy = container.must("id", "-u", "app-shy")
    release = container.must("readlink", "--canonicalize", "/var/lib/reconciler/public/shy")
    vassal = f"/var/lib/reconciler/vassals/shy.{release.rpartition('/')[2]}"
    worker = container.must("pgrep", "--uid", shy).split()[0]
    places = [f"{vassal}.env", f"{vassal}.ini", f"{release}/app/wsgi.py", "/var/log/reconciler/shy.log"]
    places += ["/var/lib/reconciler/tmp/shy/of-shy", "/etc/reconciler/age.key", "/var/lib/reconciler/journal.sqlite3"]
    places += [f"/proc/{worker}/environ", f"/proc/{worker}/root/tmp/of-shy", f"/proc/{worker}/cmdline"]
    for place in places:
        assert container.run("test", "-e", place).status == 0, place
        answer = str(nosy(container, f"found = open('{place}').read()"))
        assert "PermissionError" in answer or "FileNotFoundError" in answer, (place, answer)
    for folder in ("/var/lib/reconciler/shared/shy", "/run/reconciler/apps/shy", "/var/lib/reconciler/vassals"):
        assert "PermissionError" in nosy(container, f"found = os.listdir('{folder}')"), folder
    socket = container.must("sh", "-c", "ls /run/reconciler/apps/shy/*.http")
    connect = f"found = socket.socket(socket.AF_UNIX).connect('{socket}')"
    assert "PermissionError" in nosy(container, connect)
    for path in ("/run/systemd/private", "/run/reconciler/control.sock"):
        assert "Error" in str(nosy(container, f"found = socket.socket(socket.AF_UNIX).connect('{path}')")), path


def test_a_secret_is_nowhere_in_the_clear(container: Container) -> None:
    places = ["/var/log", "/var/lib/reconciler/journal.sqlite3", "/var/lib/reconciler/store", "/run/systemd", "/etc"]
    found = container.run("grep", "--recursive", "--devices=skip", "--files-with-matches", "--text", SECRET, *places)
    assert found.out == ""
    assert SECRET not in container.must("journalctl", "--no-pager", "--output=cat")
    assert SECRET not in container.must("sh", "-c", "cat /proc/[0-9]*/cmdline 2>/dev/null | tr '\\0' ' '; true")


def test_only_signed_commits_are_deployed(container: Container, developer: Developer, operator: Operator) -> None:
    container.must("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", "/srv/git/.ssh/signing", user=GIT_USER)
    key = container.path("/srv/git/.ssh/signing.pub").read_text()
    container.write("/etc/reconciler/signers", f"developer@example.com {key}")
    file = container.path(AGENT_FILE)
    text = file.read_text()
    file.write_text(text.replace("repository:\n", "repository:\n  allowedSigners: /etc/reconciler/signers\n", 1))
    assert file.read_text() != text
    container.must("systemctl", "restart", "reconciler.service")
    operator.wait_until_active("reconciler.service")
    developer.commit(CONFIG, {"apps/shy/wsgi.py": SHY.replace("shy with", "unsigned with")})
    refused = operator.reconciler("sync")
    assert refused.status != 0, str(refused)
    assert "signed" in refused.err + refused.out, str(refused)
    signing = {"gpg.format": "ssh", "user.signingkey": "/srv/git/.ssh/signing.pub", "commit.gpgsign": "true"}
    for setting in signing.items():
        container.must("git", "-C", CONFIG.removesuffix(".git"), "config", *setting, user=GIT_USER)
    developer.commit(CONFIG, {"apps/shy/wsgi.py": SHY.replace("shy with", "signed with")})
    operator.reconciler("sync", seconds=120)
    wait_for_page(container, SHY_HOST, "signed with a password")


def enforced(container: Container) -> bool:
    """Whether the container's systemd can limit what a group has: not on every machine that boots it."""
    top = container.path("/sys/fs/cgroup")
    return all(
        (top / "system.slice" / f"{kind}.max").exists() or (top / kind / "system.slice").is_dir()
        for kind in ("memory", "pids")
    )


def nosy(container: Container, code: str) -> Any:
    """What a piece of Python comes to in the nosy app, or its error."""
    answer = ask(container, NOSY_HOST, f"/?{quote(code, safe='')}")
    assert answer.status == 200, answer
    return json.loads(answer.text)
