"""What visitors notice of a deploy: by us in two ways, and by hand in two ways."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from bench.asking import await_text
from bench.hand_made import HandMade, hand_made
from bench.reconciling import HOST
from bench.rows import Row, bounded, plain
from bench.visitors import Visits, visitors
from world import World, new_world, of

DEPLOYS = 10
STEADY_SECONDS = 3.0
AFTER_SECONDS = 4.0
"""How long is waited after a deploy whose end nobody tells: a reload takes the import of the app and some."""
IMPORT_SECONDS = 1.5
APP = """\
import time

time.sleep({seconds})


def app(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [{version!r}.encode()]
"""
VASSAL = """\
[uwsgi]
master = true
need-app = true
die-on-term = true
vacuum = true
binary-path = {home}/uwsgi
chdir = {home}/{folder}
module = wsgi:app
processes = 2
threads = 2
{more}socket = {home}/blog.sock
logto = {home}/blog.log
disable-logging = true
"""
SITE = """\
server {{
    listen 127.0.0.1:{port};
    server_name blog.example.com;
    location / {{
        include {home}/uwsgi_params;
        uwsgi_pass unix:{home}/blog.sock;
    }}
}}
"""


def rows(quick: bool) -> Iterator[Row]:
    """All rows of this part."""
    deploys = 2 if quick else DEPLOYS
    yield _ours("switch", deploys)
    if not quick:
        yield _ours("touch", 1)
        yield _rewritten()
        yield _chain_reloaded()


def _app(version: str) -> str:
    return APP.format(seconds=IMPORT_SECONDS, version=version)


def _ours(strategy: str, deploys: int) -> Row:
    with new_world() as world:
        world.add_app("blog", uwsgi={"processes": 2, "strategy": strategy})
        world.commit({"apps/blog/wsgi.py": _app("v0")})
        steady, visits = _deployed(world, deploys)
    what = f"failed requests in {deploys} deploys under load, `{strategy}`"
    note = _note(visits, steady, deploys)
    if strategy == "switch":
        return bounded(what, [visits.failed], 0, "0", unit="", note=note)
    return plain(what, [visits.failed], unit="", note=note)


def _deployed(world: World, deploys: int) -> tuple[float, Visits]:
    with world.engine() as engine:
        first = of(engine.reconcile("bench"), "blog")
        if first.error is not None:
            raise first.error
        with visitors(world.port, HOST) as visits:
            time.sleep(STEADY_SECONDS)
            steady = time.monotonic()
            for number in range(1, deploys + 1):
                world.commit({"apps/blog/wsgi.py": _app(f"v{number}")})
                engine.reconcile("bench")
                await_text(world.port, HOST, f"v{number}")
            time.sleep(1.0)
    return steady, visits


def _note(visits: Visits, steady: float, deploys: int) -> str:
    mixed = max(visits.mixed_seconds(f"v{number}", f"v{number + 1}") for number in range(deploys))
    return (
        f"of {len(visits.results):,}; 50th/99th/highest latency without a deploy {visits.latencies(until=steady)}, "
        f"with {visits.latencies(since=steady)}; old after new {mixed:.2f} s"
    )


def _rewritten() -> Row:
    """New code in a new folder, and the vassal's file written over: what most people do."""
    with _by_hand(lazy=False) as server, visitors(server.port, HOST) as visits:
        time.sleep(STEADY_SECONDS)
        steady = time.monotonic()
        _write(server, "v1", "two", more="")
        await_text(server.port, HOST, "v1")
        time.sleep(AFTER_SECONDS)
    return plain("failed requests in a rewrite of the vassal by hand", [visits.failed], "", _note(visits, steady, 1))


def _chain_reloaded() -> Row:
    """One worker after the other; the code is changed in place, as nothing else can be changed this way."""
    with _by_hand(lazy=True) as server, visitors(server.port, HOST) as visits:
        time.sleep(STEADY_SECONDS)
        steady = time.monotonic()
        (server.home / "one" / "wsgi.py").write_text(_app("v1"))
        (server.home / "reload").write_text("now")
        await_text(server.port, HOST, "v1")
        time.sleep(AFTER_SECONDS)
    return plain("failed requests in a chain reload by hand", [visits.failed], "", _note(visits, steady, 1))


@contextmanager
def _by_hand(*, lazy: bool) -> Iterator[HandMade]:
    with hand_made({"README": "made by hand\n"}) as server:
        (server.home / "reload").write_text("")
        site = server.home / "sites" / "blog.conf"
        site.write_text(SITE.format(home=server.home, port=server.port))
        server.reload_nginx()
        chain = f"lazy-apps = true\ntouch-chain-reload = {server.home}/reload\n"
        _write(server, "v0", "one", more=chain if lazy else "")
        await_text(server.port, HOST, "v0")
        # the Emperor compares whole seconds
        time.sleep(1.0)
        yield server


def _write(server: HandMade, version: str, folder: str, *, more: str) -> None:
    place = server.home / folder
    place.mkdir()
    (place / "wsgi.py").write_text(_app(version))
    server.vassal.write_text(VASSAL.format(home=server.home, folder=folder, more=more))
