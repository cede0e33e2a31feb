"""``reconciler demo``: two repositories, a first deploy, and an agent that goes on while the reader plays."""

from __future__ import annotations

import shutil
import socket
import sys
from pathlib import Path

from reconciler.agent.agent import Agent
from reconciler.agent.logs import configure_logs, set_level
from reconciler.cli.progress import make_progress
from reconciler.cli.wiring import Installation
from reconciler.host.locking import AGENT, state_lock
from reconciler.host.processes import run
from reconciler.model.errors import HostError, UsageError
from reconciler.model.trigger import Trigger

FILES = Path(__file__).parent.parent / "demo_files"
GIT_SECONDS = 60.0
PORTS_TRIED = 20
MARK = "agent.yaml"
LOOPBACK = "127.0.0.1"


def command(folder: Path, port: int, *, stop: bool) -> int:
    """Make the demo in ``folder`` (or go on with the one that is there) and reconcile until Ctrl-C."""
    home = folder.absolute()
    if stop:
        return _stop(home)
    configure_logs()
    if not (home / MARK).exists():
        _make(home, _free_port(port))
    installation = Installation.load(home / MARK)
    set_level(installation.configuration.log.level)
    installation.layout.create()
    progress = make_progress()
    with state_lock(installation.layout, AGENT), installation.engine(progress) as engine:
        agent = Agent(engine, installation.host_name)
        result = engine.reconcile(Trigger.DEMO)
        progress.close()
        if result.failed:
            agent.telling.tell(result, Trigger.DEMO)
            return 1
        http = installation.configuration.http
        _say_what_next(home, f"http://{http.address}:{http.port}")
        agent.run()
    sys.stdout.write(f"\nThe agent has ended; the page is still served. End it all with: {_again(home)} --stop\n")
    return 0


def _make(home: Path, port: int) -> None:
    """Write both repositories aside, and put them in place in one step."""
    if home.exists() and any(home.iterdir()):
        raise UsageError(f"{home} is not empty and holds no demo", hint="name another folder: reconciler demo DIR")
    unfinished = home.with_name(f".tmp-{home.name}")
    shutil.rmtree(unfinished, ignore_errors=True)
    try:
        unfinished.mkdir(parents=True)
    except OSError as error:
        raise UsageError(
            f"the folder {home} cannot be made: {error.strerror}", hint="name another folder: reconciler demo DIR"
        ) from error
    shutil.copytree(FILES, unfinished, ignore=shutil.ignore_patterns("__pycache__"), dirs_exist_ok=True)
    _fill_in(unfinished / "config" / "manifests" / "blog.yaml", "@APP_REPOSITORY@", (home / "app").as_uri())
    _fill_in(unfinished / MARK, "@PORT@", str(port))
    for name in ("app", "config"):
        _first_commit(unfinished / name)
    if home.exists():
        home.rmdir()
    unfinished.rename(home)


def _fill_in(file: Path, mark: str, value: str) -> None:
    file.write_text(file.read_text("utf-8").replace(mark, value), "utf-8")


def _first_commit(folder: Path) -> None:
    for arguments in (
        ["init", "--quiet", "--initial-branch=main"],
        ["config", "user.name", "Demo"],
        ["config", "user.email", "demo@example.com"],
        ["add", "--all"],
        ["commit", "--quiet", "--no-gpg-sign", "--message", "First commit"],
    ):
        run(["git", *arguments], cwd=folder, timeout=GIT_SECONDS, what="git")


def _free_port(wanted: int) -> int:
    for port in range(wanted, wanted + PORTS_TRIED):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((LOOPBACK, port))
            except OSError:
                continue
            return port
    raise HostError(
        f"ports {wanted} to {wanted + PORTS_TRIED - 1} of {LOOPBACK} are all in use", hint="name one with --port"
    )


def _say_what_next(home: Path, address: str) -> None:
    app, config = home / "app", home / "config"
    sys.stdout.write(
        f"""
The page is at {address}

Now try, in another terminal:

  A new page         sed -i 's/Hello from a commit/Hello again/' {app}/app.py
                     git -C {app} commit -am 'Greet again'
  Only the site      sed -i 's/clientMaxBodySize: 1m/clientMaxBodySize: 8m/' {config}/manifests/blog.yaml
                     git -C {config} commit -am 'Allow larger uploads'
  Only the style     sed -i 's/#2f6f4f/#8a3b12/' {app}/static/site.css
                     git -C {app} commit -am 'Another colour'
  Back again         git -C {app} revert --no-edit HEAD
  A broken commit    echo 'import nothing_like_this' >> {app}/app.py
                     git -C {app} commit -am 'Break it'    (the old page stays)
  What and why       {program()} -c {home / MARK} status
                     {program()} -c {home / MARK} explain blog

Ctrl-C ends the agent; nginx and uWSGI go on serving. What happens now:

"""
    )
    sys.stdout.flush()


def _stop(home: Path) -> int:
    if not (home / MARK).exists():
        raise UsageError(f"there is no demo in {home}", hint="name its folder: reconciler demo DIR --stop")
    Installation.load(home / MARK).stop_serving()
    sys.stdout.write(f"nginx and uWSGI of the demo in {home} have ended. Its files are still there.\n")
    return 0


def _again(home: Path) -> str:
    return f"{program()} demo {home}"


def program() -> str:
    """How to call this program from any terminal: by its name where every PATH leads to it, else by its path.

    A virtual environment is on the PATH of the terminal, or of the make, that it was put there for, and of no other.
    """
    own = Path(sys.prefix) / "bin" / "reconciler"
    found = shutil.which("reconciler")
    if sys.prefix == sys.base_prefix or not own.exists():
        return "reconciler"
    return "reconciler" if found is not None and Path(found) != own and Path(found).samefile(own) else str(own)
