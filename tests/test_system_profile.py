"""Proves the system profile without systemd: accounts keep apps apart, nginx's own port, the Emperor as a tyrant."""

from __future__ import annotations

import pwd
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from reconciler.engine.drift import find_drift
from reconciler.host.distribution_uwsgi import find_distribution_uwsgi
from reconciler.host.journal import Journal
from reconciler.host.processes import Account, run
from reconciler.model.errors import CommandFailed, HostError
from reconciler.model.plan import Outcome
from system_world import SystemWorld, is_root, new_system_world
from world import free_port, of, ran, wsgi_app

pytestmark = pytest.mark.skipif(not is_root(), reason="only root can run apps as other accounts")

BLOG, SHOP = "games", "irc"
"""Accounts that every Debian has; accounts that are made are shown in a container."""
WHO = """
import os, pathlib

def app(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    path = environ["PATH_INFO"].removeprefix("/read")
    if path != environ["PATH_INFO"]:
        try:
            return ["".join(os.listdir(path)).encode() if os.path.isdir(path) else pathlib.Path(path).read_bytes()]
        except OSError as error:
            return [f"refused: {error.strerror}".encode()]
    return [f"{os.getresuid()} {os.getresgid()} {os.getgroups()} {os.environ['HOME']} {os.environ['USER']}".encode()]
"""


def account(name: str) -> Account:
    entry = pwd.getpwnam(name)
    return Account(name, entry.pw_uid, entry.pw_gid, (entry.pw_gid,), Path(entry.pw_dir))


def may(name: str, *command: str) -> bool:
    """Whether an account can run a command to a good end."""
    try:
        run(command, timeout=10, account=account(name), cwd=Path("/"))
    except CommandFailed:
        return False
    return True


@pytest.fixture
def world() -> Iterator[SystemWorld]:
    with new_system_world() as made:
        yield made


def deployed(world: SystemWorld, app: str = "blog") -> None:
    result = of(world.once(), app)
    assert result.outcome is Outcome.CHANGED, (result.error, getattr(result.error, "tail", ""))


def test_apps_run_as_their_accounts_and_cannot_read_each_other(world: SystemWorld) -> None:
    for app, user in (("blog", BLOG), ("shop", SHOP)):
        files = {f"apps/{app}/wsgi.py": WHO}
        world.add_app(app, user=user, env={"PASSWORD": f"of {app}"}, nginx={"listen": world.port})
        world.commit(files)
    result = world.once()
    assert {entry.outcome for entry in result.apps} == {Outcome.CHANGED}, [entry.error for entry in result.apps]
    blog, shop, layout = account(BLOG), account(SHOP), world.layout
    home = layout.shared("blog")
    assert world.text("blog.example.com").startswith(
        f"({blog.uid}, {blog.uid}, {blog.uid}) ({blog.gid}, {blog.gid}, {blog.gid})"
    )
    assert world.text("blog.example.com").endswith(f"{home} {BLOG}")
    assert world.text("shop.example.com").startswith(f"({shop.uid}, ")

    (vassal,) = [path.stem for path in layout.vassals.glob("blog.*.ini")]
    release = layout.public_link("blog").resolve()
    secret = [layout.vassals / f"{vassal}.env", release / "app/wsgi.py", layout.app_log("blog"), layout.journal, home]
    secret += [layout.vassals / f"{vassal}.ini", layout.indexes, layout.lock]
    secret += [layout.app_run("blog"), layout.mirrors, layout.nginx_main, layout.root / "probe-token", layout.store]
    for path in secret:
        assert world.text("shop.example.com", f"/read{path}") == "refused: Permission denied", path
    for path in (layout.vassals / f"{vassal}.env", release / "app/wsgi.py"):
        assert not world.text("blog.example.com", f"/read{path}").startswith("refused"), path
    assert (layout.vassals / f"{vassal}.ini").stat().st_uid == blog.uid
    assert find_drift(layout, Journal.read(layout.journal)) == ()
    # what an app could write would be what the next release starts with
    for path in (release / "app/wsgi.py", release / "app", layout.vassals, layout.public, layout.logs):
        assert not may(BLOG, "test", "-w", str(path)), path
    assert not may(SHOP, "ln", "-s", "/dev/null", str(layout.app_run("blog") / "x.web"))
    for kind in ("web", "http", "stats"):
        assert not may(SHOP, "test", "-w", str(layout.socket(vassal, kind)))
    assert may("www-data", "test", "-w", str(layout.socket(vassal, "web")))


def test_what_a_repository_brings_runs_as_the_app(world: SystemWorld) -> None:
    package = {
        "lib/setup.py": "import os, setuptools\nopen('who.txt', 'w').write(str(os.getuid()))\n"
        "setuptools.setup(name='lib', version='1', py_modules=['lib'], data_files=[('who', ['who.txt'])])\n",
        "lib/lib.py": "",
        "lib/pyproject.toml": "[build-system]\nrequires = ['setuptools']\nbuild-backend = 'setuptools.build_meta'\n",
        "requirements.txt": "./lib\n",
        "static/.keep": "",
    }
    world.add_app(
        "blog",
        files=package,
        user=BLOG,
        nginx={"listen": world.port},
        build={"commands": ["id -u > built.txt", "ln -s /etc/shadow leak.txt", "chmod u+s,g+ws built.txt"]},
        static=[{"source": "static", "url": "/static/", "minify": False, "command": "id -u > static/who.txt"}],
        shared=["media"],
        hooks={"beforeSwitch": ["id -u > media/before.txt"], "afterSwitch": ["id -u > media/after.txt"]},
    )
    deployed(world)
    uid = str(account(BLOG).uid)
    layout = world.layout
    release = layout.public_link("blog").resolve()
    tree = (release / "app").resolve()
    assert (tree / "built.txt").read_text().strip() == uid
    assert world.get("/static/who.txt", "blog.example.com").text.strip() == uid
    (package_file,) = tree.parent.glob("environment/who/who.txt")
    assert package_file.read_text() == uid
    for name in ("before", "after"):
        file = layout.shared("blog") / "media" / f"{name}.txt"
        assert file.read_text().strip() == uid
        assert file.stat().st_uid == int(uid)
    # whatever the commands left, the store is the agent's, and nothing in it runs as anybody else
    for path in tree.parent.rglob("*"):
        status = path.lstat()
        assert stat.S_ISLNK(status.st_mode) or (status.st_uid == 0 and not status.st_mode & 0o6022), path
    assert not list(tree.parent.glob("home"))


def test_links_that_an_app_leaves_lead_the_agent_nowhere(world: SystemWorld) -> None:
    world.add_app("blog", user=BLOG, nginx={"listen": world.port}, shared=["media"])
    deployed(world)
    layout, target = world.layout, world.home / "target"
    target.mkdir(mode=0o700)
    shared = layout.shared("blog")
    (shared / "uploads").symlink_to(target)
    (shared / ".home").symlink_to(target)
    # the next release shares a folder below the link, and has content for it
    world.add_app(
        "blog", "again", user=BLOG, nginx={"listen": world.port}, shared=["media", "uploads/new"],
        files={"uploads/new/a.txt": "a"}, hooks={"beforeSwitch": ["true"]},
    )  # fmt: skip
    result = of(world.once(), "blog")
    assert result.outcome is Outcome.FAILED
    assert "Permission denied" in str(result.error)
    assert list(target.iterdir()) == []
    assert world.text("blog.example.com") == "hello"


def test_a_port_and_the_logs_are_as_the_manifest_asks(world: SystemWorld) -> None:
    world.add_app("blog", user=BLOG, nginx={"listen": world.port, "accessLog": False})
    deployed(world)
    assert world.text("blog.example.com") == "hello"
    assert world.get("/", "unknown.example.com").status_code == 404
    layout = world.layout
    assert layout.access_log("blog").read_text() == ""
    (pid_file,) = layout.app_run("blog").glob("*.pid")
    assert Path(f"/proc/{pid_file.read_text().strip()}").stat().st_uid == account(BLOG).uid
    assert world.once().apps[0].outcome is Outcome.UNCHANGED

    other = free_port()
    world.add_app("blog", user=BLOG, nginx={"listen": other, "accessLog": True})
    result = of(world.once(), "blog")
    assert (result.outcome, ran(result)) == (Outcome.CHANGED, {"nginx"})
    world.port = other
    assert world.text("blog.example.com") == "hello"
    assert "GET / " in layout.access_log("blog").read_text()


def test_what_nginx_refuses_is_named_and_changes_nothing(world: SystemWorld) -> None:
    world.add_app("blog", user=BLOG, nginx={"listen": world.port})
    deployed(world)
    # an own site of the operator's, relative includes of which must work in the test of a candidate too
    (world.layout.nginx_home / "snippet.conf").write_text("add_header X-Own yes;\n")
    own = f"server {{ listen {world.port}; server_name own.example.com; include snippet.conf; return 204; }}\n"
    (world.layout.nginx_home / "sites-enabled/own").write_text(own)
    world.commit({"templates/site.j2": "server {\n  listen {{ listen[0] }};\n  nonsense;\n}\n"})
    world.add_app("blog", user=BLOG, nginx={"listen": world.port, "template": "site.j2"})
    result = of(world.once(), "blog")
    assert result.outcome is Outcome.FAILED
    assert 'unknown directive "nonsense" (sites/blog.conf, line 3)' in str(result.error)
    assert world.text("blog.example.com") == "hello"
    assert [path.name for path in world.layout.nginx.iterdir() if path.name.startswith(".")] == []
    world.add_app("blog", "again", user=BLOG, nginx={"listen": world.port, "clientMaxBodySize": "2m"})
    deployed(world)
    assert world.text("blog.example.com") == "again"
    assert world.get("/", "own.example.com").headers["X-Own"] == "yes"


def test_an_account_that_does_not_fit_is_refused(world: SystemWorld) -> None:
    world.add_app("blog", user="root")
    world.add_app("shop", user="nobody-of-this-name")
    result = world.once()
    assert "has the rights of root" in str(of(result, "blog").error)
    assert "this host has no such account" in str(of(result, "shop").error)
    assert not world.layout.app_run("blog").exists()


def test_another_account_takes_over_with_the_shared_files(world: SystemWorld) -> None:
    world.add_app("blog", user=BLOG, nginx={"listen": world.port}, shared=["media"], files={"media/a.txt": "a"})
    deployed(world)
    world.add_app("blog", user=SHOP, nginx={"listen": world.port}, shared=["media"], files={"media/a.txt": "b"})
    world.commit({"apps/blog/wsgi.py": WHO})
    deployed(world)
    assert world.text("blog.example.com").startswith(f"({account(SHOP).uid}, ")
    kept = world.layout.shared("blog") / "media/a.txt"
    assert (kept.read_text(), kept.stat().st_uid) == ("a", account(SHOP).uid)


def test_servers_that_were_killed_come_back_with_every_site(world: SystemWorld) -> None:
    world.add_app("blog", user=BLOG, nginx={"listen": world.port})
    deployed(world)
    world.nginx_unit.stop()
    world.emperor_unit.stop()
    # as a boot does: folders made anew as systemd was told, and servers that nobody tells about the agent
    (line,) = [line for line in (world.layout.tmpfiles / "reconciler-app-blog.conf").read_text().splitlines()
               if line.startswith("d ")]  # fmt: skip
    _, path, mode, owner, group, _ = line.split()
    status = Path(path).stat()
    assert (stat.S_IMODE(status.st_mode), status.st_uid, status.st_gid) == (int(mode, 8), int(owner), int(group))
    assert world.once().apps[0].outcome is Outcome.UNCHANGED
    assert world.text("blog.example.com") == "hello"


def test_a_removed_app_leaves_its_files_only(world: SystemWorld) -> None:
    world.add_app("blog", user=BLOG, nginx={"listen": world.port}, shared=["media"])
    deployed(world)
    world.commit({"manifests/blog.yaml": None, "manifests/README.md": "None left."})
    assert of(world.once(), "blog").outcome is Outcome.CHANGED
    layout = world.layout
    assert not layout.app_run("blog").exists(), list(layout.app_run("blog").iterdir())
    assert not list(layout.tmpfiles.iterdir())
    assert not list(layout.vassals.iterdir())
    assert layout.shared("blog").is_dir()


def test_one_vassal_for_an_app_that_may_not_run_twice(world: SystemWorld) -> None:
    spec = {"user": BLOG, "nginx": {"listen": world.port}, "uwsgi": {"strategy": "touch"}}
    world.add_app("blog", **spec)
    deployed(world)
    world.commit({"apps/blog/wsgi.py": wsgi_app("again")})
    deployed(world)
    assert world.text("blog.example.com") == "again"
    world.commit({"apps/blog/wsgi.py": "raise SystemExit('broken')\n"})
    assert of(world.once(), "blog").outcome is Outcome.FAILED
    assert world.text("blog.example.com") == "again"
    assert (world.layout.vassals / "blog.ini").stat().st_uid == account(BLOG).uid


def _distribution_has_uwsgi() -> bool:
    try:
        find_distribution_uwsgi()
    except HostError:
        return False
    return True


@pytest.mark.skipif(not _distribution_has_uwsgi(), reason="uwsgi-core and uwsgi-plugin-python3 are not installed")
def test_the_distribution_s_uwsgi_takes_over_and_runs_its_own_python_only(world: SystemWorld) -> None:
    world.add_app("blog", user=BLOG, nginx={"listen": world.port})
    deployed(world)
    world.configure(uwsgi="distribution")
    result = of(world.once(), "blog")
    assert (result.outcome, ran(result)) == (Outcome.CHANGED, {"build", "vassal"})
    assert world.text("blog.example.com") == "hello"
    release = world.layout.public_link("blog").readlink().name
    pid = world.layout.socket(f"blog.{release}", "pid").read_text().strip()
    assert Path(f"/proc/{pid}/exe").resolve() == find_distribution_uwsgi().binary.resolve()
    world.add_app("blog", user=BLOG, nginx={"listen": world.port}, build={"python": "3.9"})
    result = of(world.once(), "blog")
    assert result.outcome is Outcome.FAILED
    assert "3.9" in str(result.error)
