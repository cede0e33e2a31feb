"""Proves that a blank Debian becomes a server that deploys, survives reboots and upgrades, and stays as it is.

One story, told in order: every test goes on where the one before it ended.
"""

from __future__ import annotations

import re
import time

from container import Container, wait_for
from image import WHEELS
from story import BLOG, CONFIG, GIT_USER, SHOP, SHOP_APP, SHOP_MANIFEST, URL, Developer, Operator, page, programs
from visiting import Visitor, ask, wait_for_page

BLOG_HOST, SHOP_HOST = "blog.example.com", "shop.example.com"
SERVICES = ("nginx.service", "reconciler-emperor.service", "reconciler.service")
INSTALL_SECONDS = 240.0
SYNC_SECONDS = 120.0
HEAL_SECONDS = 20.0
END_SECONDS = 10.0
WATCHDOG_SECONDS = 2
MOST_EXPOSED = 4.0


def test_a_wheel_is_installed(container: Container) -> None:
    container.must("python3", "-m", "venv", "/opt/reconciler", seconds=INSTALL_SECONDS)
    wheel = next(path.name for path in container.path("/srv/reconciler").glob("*.whl") if "999" not in path.name)
    offline = ("--quiet", "--no-index", f"--find-links={WHEELS}", "--disable-pip-version-check")
    wanted = f"reconciler[system] @ file:///srv/reconciler/{wheel}"
    container.must("/opt/reconciler/bin/pip", "install", *offline, wanted, seconds=INSTALL_SECONDS)
    container.must("ln", "-s", "/opt/reconciler/bin/reconciler", "/usr/local/bin/reconciler")


def test_git_is_served_by_sshd(container: Container, developer: Developer) -> None:
    container.must("useradd", "--create-home", "--home-dir=/srv/git", "--shell=/usr/bin/git-shell", GIT_USER)
    developer.start(CONFIG, {"manifests/blog.yaml": BLOG, "apps/blog/wsgi.py": page("first")})
    developer.start(SHOP, {"requirements.txt": "flask\n", "shop.py": SHOP_APP.format(greeting="open")})
    container.must("systemctl", "is-active", "ssh.service")


def test_bootstrap_refuses_before_it_changes_anything(container: Container, operator: Operator) -> None:
    away = operator.bootstrap(url="ssh://git@localhost:2/srv/git/deploy.git")
    assert away.status == 1
    assert "no ssh server answers at localhost port 2" in away.err, str(away)
    unknown = operator.bootstrap()
    assert unknown.status == 1
    assert "--host-key SHA256:" in unknown.err, str(unknown)
    plain = container.run("/opt/reconciler/bin/reconciler", "bootstrap", URL, user="nobody")
    assert "takes root" in plain.err, str(plain)
    wrong = operator.bootstrap("--host-key", "SHA256:" + "A" * 43)
    assert "does not show the key" in wrong.err, str(wrong)
    assert not container.path("/etc/reconciler").exists()


def test_bootstrap_says_what_it_would_do(container: Container, operator: Operator) -> None:
    planned = operator.bootstrap("--dry-run", "--host-key", host_key(container))
    assert planned.status == 0, str(planned)
    for phrase in (
        "make a deploy key",
        "install nginx",
        "write /etc/reconciler/agent.yaml",
        "start reconciler.service",
    ):
        assert f"+ {phrase}" in planned.out, str(planned)
    assert not container.path("/etc/reconciler").exists()
    assert not container.path("/usr/sbin/nginx").exists()


def test_bootstrap_makes_a_key_that_the_owner_has_to_let_in(container: Container, operator: Operator) -> None:
    asked = operator.bootstrap("--host-key", host_key(container))
    assert asked.status == 1, str(asked)
    assert "does not let the key of this server in yet" in asked.err, str(asked)
    key = container.path("/etc/reconciler/ssh/id_ed25519.pub").read_text()
    assert key.strip() in asked.err
    assert not container.path("/usr/sbin/nginx").exists()
    container.write("/srv/git/.ssh/authorized_keys", key)
    container.must("chown", "-R", f"{GIT_USER}:{GIT_USER}", "/srv/git/.ssh")


def test_bootstrap_makes_the_server_ready(container: Container, operator: Operator) -> None:
    done = operator.bootstrap()
    assert done.status == 0, str(done)
    assert "This server is ready." in done.out
    for service in SERVICES:
        container.must("systemctl", "is-active", service)
        container.must("systemctl", "is-enabled", service)
    assert ask(container, BLOG_HOST).text.startswith("first from ")
    assert operator.agent("Type") == "notify"
    assert "agent_started" in container.must("journalctl", "--unit=reconciler", "--output=cat")


def test_bootstrap_again_changes_nothing(container: Container, operator: Operator) -> None:
    before = everything(container)
    again = operator.bootstrap()
    assert again.status == 0, str(again)
    assert "Nothing to do: this server is ready." in again.out
    assert "+ " not in again.out
    assert everything(container) == before


def test_the_agent_is_confined(container: Container) -> None:
    told = container.must("systemd-analyze", "security", "--no-pager", "reconciler.service")
    exposure = re.search(r"Overall exposure level for reconciler\.service: ([0-9.]+)", told)
    assert exposure is not None, told
    assert float(exposure[1]) <= MOST_EXPOSED, told
    container.must("systemd-analyze", "verify", *(f"/etc/systemd/system/{name}" for name in SERVICES[1:]))


def test_a_second_app_from_a_repository_of_its_own(
    container: Container, developer: Developer, operator: Operator
) -> None:
    developer.commit(CONFIG, {"manifests/shop.yaml": SHOP_MANIFEST})
    sync(operator)
    wait_for_page(container, SHOP_HOST, "open")
    blog = ask(container, BLOG_HOST).text
    assert blog.startswith("first from ")
    assert not blog.endswith(" 0"), "the app runs as root"


def test_every_app_has_an_account_that_sees_nothing_of_the_other(container: Container) -> None:
    for app in ("blog", "shop"):
        name, _, uid, _, comment, home, shell = container.must("getent", "passwd", f"app-{app}").strip().split(":")
        assert (comment, home) == (f"reconciler app {app}", f"/var/lib/reconciler/shared/{app}")
        assert (shell, int(uid) < 1000) == ("/usr/sbin/nologin", True)
        assert container.must("stat", "--format=%U", home).strip() == name
    assert ask(container, BLOG_HOST).text.endswith(f" {container.must('id', '-u', 'app-blog').strip()}")
    release = container.must("readlink", "--canonicalize", "/var/lib/reconciler/public/blog").strip()
    vassal = f"/var/lib/reconciler/vassals/blog.{release.rpartition('/')[2]}"
    for path in (f"{vassal}.env", f"{release}/app/wsgi.py"):
        assert container.run("cat", path, user="app-blog").status == 0, path
        assert container.run("cat", path, user="app-shop").status != 0, path
    for path in ("/etc/nginx/conf.d/reconciler.conf", "/var/lib/reconciler/journal.sqlite3", "/etc/reconciler/ssh"):
        assert container.run("test", "-r", path, user="app-shop").status != 0, path


def test_merging_deploys_and_reverting_goes_back(
    container: Container, developer: Developer, operator: Operator
) -> None:
    with Visitor(container, SHOP_HOST) as other:
        developer.commit(CONFIG, {"apps/blog/wsgi.py": page("second")})
        sync(operator)
        wait_for_page(container, BLOG_HOST, "second")
        developer.revert(CONFIG)
        sync(operator)
        wait_for_page(container, BLOG_HOST, "first")
        other.must_be_content("open")


def test_drift_is_healed(container: Container, operator: Operator) -> None:
    site = container.path("/etc/nginx/reconciler/sites/blog.conf")
    before = site.read_text()
    site.write_text(before + "# changed by hand\n")
    wait_for("the healed site", lambda: site.read_text() == before, HEAL_SECONDS)
    assert ask(container, BLOG_HOST).text.startswith("first from ")
    wait_for("the agent's word", lambda: settled(operator), HEAL_SECONDS)


def test_sites_serve_on_without_the_agent(container: Container, operator: Operator) -> None:
    with Visitor(container, BLOG_HOST) as visitor:
        pid = operator.agent("MainPID")
        container.must("kill", "-KILL", pid)
        wait_for("the next agent", lambda: operator.agent("MainPID") not in ("0", pid), HEAL_SECONDS)
        operator.wait_until_active("reconciler.service")
        started = time.monotonic()
        container.must("systemctl", "stop", "reconciler.service")
        assert time.monotonic() - started < END_SECONDS
        assert operator.agent("Result") == "success"
        time.sleep(0.5)
        container.must("systemctl", "start", "reconciler.service")
        visitor.must_be_content("first from ")


def test_a_hung_agent_is_replaced(container: Container, operator: Operator) -> None:
    dropin = "/run/systemd/system/reconciler.service.d/watchdog.conf"
    container.write(dropin, f"[Service]\nWatchdogSec={WATCHDOG_SECONDS}\nTimeoutAbortSec=1\nRestartSec=0\n")
    container.must("systemctl", "daemon-reload")
    container.must("systemctl", "restart", "reconciler.service")
    pid = operator.agent("MainPID")
    time.sleep(2 * WATCHDOG_SECONDS)
    assert operator.agent("MainPID") == pid, "the loop does not say that it goes on"
    with Visitor(container, BLOG_HOST) as visitor:
        container.must("kill", "-STOP", pid)
        wait_for("the next agent", lambda: operator.agent("MainPID") not in ("0", pid), HEAL_SECONDS)
        visitor.must_be_content("first from ")
    container.path(dropin).unlink()
    container.must("systemctl", "daemon-reload")
    container.must("systemctl", "restart", "reconciler.service")


def test_a_reload_reads_the_configuration(container: Container, operator: Operator) -> None:
    pid = operator.agent("MainPID")
    file = container.path("/etc/reconciler/agent.yaml")
    text = file.read_text()
    container.must("systemctl", "reload", "reconciler.service")
    wait_for("the configuration to be read", lambda: operator.told("configuration_read"), HEAL_SECONDS)
    file.write_text(text + "nonsense: true\n")
    container.must("systemctl", "reload", "reconciler.service")
    wait_for("the configuration to be refused", lambda: operator.told("configuration_refused"), HEAL_SECONDS)
    file.write_text(text)
    assert operator.agent("MainPID") == pid
    assert operator.agent("ActiveState") == "active"


def test_an_upgrade_redeploys_nothing(container: Container, operator: Operator) -> None:
    releases, deploys = operator.releases(), operator.deploys()
    emperor = container.must("systemctl", "show", "--value", "--property=MainPID", "reconciler-emperor.service")
    offline = ("--quiet", "--no-index", f"--find-links={WHEELS}", "--disable-pip-version-check")
    with Visitor(container, BLOG_HOST) as blog, Visitor(container, SHOP_HOST) as shop:
        wanted = "reconciler[system] @ file:///srv/reconciler/reconciler-999.0.0-py3-none-any.whl"
        container.must("/opt/reconciler/bin/pip", "install", *offline, "--upgrade", wanted, seconds=INSTALL_SECONDS)
        container.must("systemctl", "restart", "reconciler.service")
        assert operator.reconciler("--version").out == "reconciler 999.0.0\n"
        again = operator.bootstrap()
        assert "Nothing to do" in again.out, str(again)
        wait_for("a pass of the new agent", lambda: settled(operator), HEAL_SECONDS)
        blog.must_be_content("first from ")
        shop.must_be_content("open")
    assert (operator.releases(), operator.deploys()) == (releases, deploys)
    assert emperor == container.must(
        "systemctl", "show", "--value", "--property=MainPID", "reconciler-emperor.service"
    )


def test_a_reboot_brings_everything_back(container: Container, developer: Developer, operator: Operator) -> None:
    releases, deploys = operator.releases(), operator.deploys()
    container.reboot()
    wait_for_page(container, BLOG_HOST, "first from ")
    wait_for_page(container, SHOP_HOST, "open")
    operator.wait_until_active(*SERVICES)
    wait_for("a pass after the boot", lambda: operator.told("nothing_to_do"), HEAL_SECONDS)
    assert (operator.releases(), operator.deploys()) == (releases, deploys)
    developer.commit(CONFIG, {"apps/blog/wsgi.py": page("after the reboot")})
    sync(operator)
    wait_for_page(container, BLOG_HOST, "after the reboot")


def test_apps_run_on_the_distributions_uwsgi_where_agent_yaml_asks_for_it(
    container: Container, operator: Operator
) -> None:
    packages = ("uwsgi-core", "uwsgi-plugin-python3")
    container.must("apt-get", "install", "--quiet", "--yes", *packages, seconds=INSTALL_SECONDS)
    file = container.path("/etc/reconciler/agent.yaml")
    file.write_text(file.read_text() + "uwsgi: distribution\n")
    with Visitor(container, BLOG_HOST) as blog:
        container.must("systemctl", "reload", "reconciler.service")
        wait_for("the distribution's uWSGI", lambda: programs(container, "app-blog") == {"uwsgi-core"}, SYNC_SECONDS)
        blog.must_be_content("after the reboot")
    wait_for("the other app", lambda: programs(container, "app-shop") == {"uwsgi-core"}, SYNC_SECONDS)
    wait_for_page(container, SHOP_HOST, "open")
    assert settled(operator)


def host_key(container: Container) -> str:
    """The fingerprint that the server's owner would publish."""
    return container.must("ssh-keygen", "-lf", "/etc/ssh/ssh_host_ed25519_key.pub").split()[1]


def sync(operator: Operator) -> None:
    """Have the agent look at git now; it would within a minute."""
    synced = operator.reconciler("sync", seconds=SYNC_SECONDS)
    assert synced.status == 0, str(synced)


def settled(operator: Operator) -> bool:
    """Whether every app serves, and nothing drifts."""
    return all(app["ready"] and not app["drifted"] for app in operator.status().values())


def everything(container: Container) -> str:
    """What bootstrap could change: files with their content, packages, services."""
    listed = "find /etc /usr/local /opt/reconciler -xdev -type f -newer /proc/1 -printf '%p %s %T@\\n' | sort"
    packages = container.must("dpkg-query", "--show")
    units = container.must("systemctl", "list-unit-files", "--no-legend", "--no-pager")
    return "\n".join((container.must("sh", "-c", listed), packages, units))
