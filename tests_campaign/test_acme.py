"""A real certbot gets certificates from a real ACME server (pebble), through the nginx that serves the apps."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from cryptography import x509

from certificates import Authority, get, served_serial
from reconciler.engine.certifying import FIRST_RETRY_SECONDS, state_of
from reconciler.host.journal import Journal
from reconciler.model.plan import Outcome
from serving import eventually
from world import World, free_port, new_world, of, ran

NAME, OTHER = "shop.example.com", "www.example.com"
FETCH_SECONDS = 120.0


@dataclass(frozen=True)
class Root(Authority):
    """What visitors trust: the root that pebble has made for itself."""

    pem: str = ""

    def certificate(self) -> str:
        """As pebble shows it."""
        return self.pem


@dataclass(frozen=True)
class Running:
    """pebble, with its directory's address."""

    directory: str
    root: Root
    process: subprocess.Popen[bytes]


@pytest.fixture(scope="session")
def pebble() -> Path:
    """The folder with pebble and its name server: installed, or taken out of Debian's package, once."""
    if (found := shutil.which("pebble")) is not None:
        return Path(found).parent
    if shutil.which("apt-get") is None:
        pytest.skip("pebble is not installed, and there is no apt-get to fetch it with")
    named = os.environ.get("RECONCILER_TEST_CACHE")
    cache = Path(named) if named else Path("~/.cache/reconciler-tests").expanduser()
    programs = cache / "pebble" / "usr" / "bin"
    if not (programs / "pebble").exists():
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cache) as folder:
            fetched = ("apt-get", "--quiet", "download", "pebble")
            try:
                must(fetched, folder)
            except subprocess.CalledProcessError:
                # the lists of packages may be missing, or too old
                must(("apt-get", "--quiet", "update"), folder)
                must(fetched, folder)
            (package,) = Path(folder).glob("*.deb")
            must(("dpkg", "-x", str(package), f"{folder}/made"), folder)
            Path(folder, "made").replace(cache / "pebble")
    return programs


def must(command: tuple[str, ...], folder: str) -> None:
    subprocess.run(command, cwd=folder, check=True, timeout=FETCH_SECONDS, capture_output=True)


@contextmanager
def authority(world: World, programs: Path, trust: Authority) -> Iterator[Running]:
    """pebble, which looks at the world's nginx for every name; ``trust`` signs for its own address."""
    certificate, key = trust.pair("localhost").write(world.home / "authority")
    port, management, names = free_port(), free_port(), f"127.0.0.1:{free_port()}"
    settings = {
        "listenAddress": f"127.0.0.1:{port}",
        "managementListenAddress": f"127.0.0.1:{management}",
        "certificate": str(certificate),
        "privateKey": str(key),
        "httpPort": world.port,
        "tlsPort": world.tls_port,
        "ocspResponderURL": "",
        "externalAccountBindingRequired": False,
    }
    (world.home / "pebble.json").write_text(json.dumps({"pebble": settings}))
    off = ("-http01", "", "-https01", "", "-tlsalpn01", "", "-management", f"127.0.0.1:{free_port()}")
    here = ("-defaultIPv4", "127.0.0.1", "-defaultIPv6", "", "-dns01", names)
    server = (programs / "pebble-challtestsrv", *here, *off)
    directory = (programs / "pebble", "-config", world.home / "pebble.json", "-dnsserver", names)
    quick = {**os.environ, "PEBBLE_VA_NOSLEEP": "1", "PEBBLE_WFE_NONCEREJECT": "0"}
    with (world.home / "pebble.log").open("wb") as log:
        started = [subprocess.Popen(command, env=quick, stdout=log, stderr=log) for command in (server, directory)]
    try:
        eventually(lambda: b"Listening on" in (world.home / "pebble.log").read_bytes(), "pebble's start")
        root = httpx.get(f"https://localhost:{management}/roots/0", verify=trust.context(), trust_env=False).text
        yield Running(f"https://localhost:{port}/dir", Root(pem=root), started[1])
    finally:
        for process in started:
            process.kill()
            process.wait()


def certificate_of(world: World) -> x509.Certificate:
    return x509.load_pem_x509_certificate((world.root / "acme/certbot/live/shop/fullchain.pem").read_bytes())


def test_an_app_gets_its_certificate_without_a_hand_on_the_machine(
    pebble: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trust = Authority()
    with new_world() as world, authority(world, pebble, trust) as running:
        (world.home / "trust.pem").write_text(trust.certificate())
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(world.home / "trust.pem"))
        world.configure(acme=f"{{server: '{running.directory}', email: ops@example.com}}")

        # from nothing to HTTPS in one command
        world.add_app("shop", nginx={"tls": {"acme": True}})
        result = world.once()
        assert not result.failed, result.problems
        assert world.get("/", NAME).status_code == 301
        first = certificate_of(world)
        assert get(running.root, world.tls_port, NAME).text == "hello"
        assert of(world.once(), "shop").outcome is Outcome.UNCHANGED
        assert certificate_of(world).serial_number == first.serial_number

        # another name is another certificate, got under the redirect
        world.add_app("shop", nginx={"tls": {"acme": True}, "serverNames": [NAME, OTHER]})
        result = world.once()
        assert not result.failed, result.problems
        assert ran(of(result, "shop")) == {"nginx"}
        second = certificate_of(world)
        assert served_serial(running.root, world.tls_port, OTHER) == second.serial_number

        # an authority that is away: told, tried again later, and everything serves on
        running.process.kill()
        running.process.wait()
        world.add_app("shop", nginx={"tls": {"acme": True}, "serverNames": [NAME, OTHER, "w3.example.com"]})
        result = world.once()
        assert "no certificate for shop.example.com, www.example.com, w3.example.com" in result.problems[0]
        with Journal.read(world.root / "journal.sqlite3") as journal:
            state = state_of(journal, "shop")
        again = world.once()
        assert again.problems == result.problems
        assert again.seconds < FIRST_RETRY_SECONDS
        with Journal.read(world.root / "journal.sqlite3") as journal:
            assert state_of(journal, "shop") == state
        assert served_serial(running.root, world.tls_port, NAME) == second.serial_number
