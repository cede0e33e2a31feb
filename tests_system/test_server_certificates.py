"""Proves that sites speak HTTPS through Debian's nginx: with an operator's files, and by ACME with Debian's certbot.

It goes on with the server that ``test_server.py`` leaves. The authority is a real one (pebble), on the same machine.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from certificates import Authority
from container import Container, wait_for
from story import CONFIG, Developer, Operator, page
from visiting import Secure, ask, ask_securely

PAPER_HOST, SEALED_HOST = "paper.example.com", "sealed.example.com"
DIRECTORY_PORT, MANAGEMENT_PORT, NAMES = 14000, 15000, "127.0.0.1:8053"
PLACE = "/srv/pebble"
CHALLENGE = "/.well-known/acme-challenge/none"
CERTIFICATE_SECONDS = 120.0
RENEWAL_SECONDS = 20.0

MANIFEST = """apiVersion: reconciler/v1
kind: App
metadata: {{name: {name}}}
spec:
  source: {{repository: ".", directory: apps/{name}}}
  shared: [media]
  uwsgi: {{module: "wsgi:app", processes: 1, options: {{static-map: /media/=media}}}}
  nginx: {{serverNames: [{name}.example.com], tls: {tls}}}
"""


@dataclass(frozen=True)
class Trust:
    """Whom visitors trust: ``own`` signs an operator's certificates, ``root`` has the ACME server's own."""

    own: Authority
    file: Path
    root: Path


@pytest.fixture(scope="module")
def trust(container: Container, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Trust]:
    """An ACME server on the machine, which the machine trusts, and which looks for every name there."""
    folder, own = tmp_path_factory.mktemp("trust"), Authority()
    made = Trust(own, folder / "own.pem", folder / "root.pem")
    made.file.write_text(own.certificate())
    pair = own.pair("localhost")
    settings = {
        "listenAddress": f"127.0.0.1:{DIRECTORY_PORT}",
        "managementListenAddress": f"127.0.0.1:{MANAGEMENT_PORT}",
        "certificate": f"{PLACE}/site.pem",
        "privateKey": f"{PLACE}/site.key",
        "httpPort": 80,
        "tlsPort": 443,
        "ocspResponderURL": "",
        "externalAccountBindingRequired": False,
    }
    files = {"site.pem": pair.certificate, "site.key": pair.key, "pebble.json": json.dumps({"pebble": settings})}
    for name, text in files.items():
        container.write(f"{PLACE}/{name}", text)
    # what update-ca-certificates would do, without reading all others
    with container.path("/etc/ssl/certs/ca-certificates.crt").open("a") as known:
        known.write(own.certificate())
    off = ("-http01", "", "-https01", "", "-tlsalpn01", "", "-management", "127.0.0.1:8055")
    here = ("-defaultIPv4", "127.0.0.1", "-defaultIPv6", "", "-dns01", NAMES)
    container.must("systemd-run", "--unit=names", "/usr/bin/pebble-challtestsrv", *here, *off)
    quick = ("--setenv=PEBBLE_VA_NOSLEEP=1", "--setenv=PEBBLE_WFE_NONCEREJECT=0")
    directory = ("/usr/bin/pebble", "-config", f"{PLACE}/pebble.json", "-dnsserver", NAMES)
    container.must("systemd-run", "--unit=pebble", *quick, *directory)

    def root() -> str:
        shown = ask_securely(container, "localhost", made.file, "/roots/0", MANAGEMENT_PORT)
        return shown.text if shown.status == 200 else ""

    made.root.write_text(wait_for("the ACME server", root, RENEWAL_SECONDS))
    yield made
    container.must("systemctl", "stop", "pebble", "names")


@pytest.fixture(scope="module", autouse=True)
def deployed(container: Container, developer: Developer, operator: Operator, trust: Trust) -> None:
    """Two apps in one commit, one for each way to a certificate."""
    renew(container, trust)
    file = container.path("/etc/reconciler/agent.yaml")
    server = f"https://localhost:{DIRECTORY_PORT}/dir"
    file.write_text(f"{file.read_text()}acme: {{server: '{server}', email: ops@example.com}}\n")
    container.must("systemctl", "reload", "reconciler.service")
    paths = "{certificate: /etc/ssl/paper/site.pem, key: /etc/ssl/paper/site.key}"
    files = {
        f"manifests/{name}.yaml": MANIFEST.format(name=name, tls=tls)
        for name, tls in (("paper", paths), ("sealed", "{acme: true}"))
    }
    developer.commit(CONFIG, {**files, "apps/paper/wsgi.py": page("paper"), "apps/sealed/wsgi.py": page("sealed")})
    synced = operator.reconciler("sync", seconds=CERTIFICATE_SECONDS)
    assert synced.status == 0, str(synced)


def renew(container: Container, trust: Trust) -> str:
    """Put a new pair where an operator keeps it; its number as visitors are shown it."""
    pair = trust.own.pair(PAPER_HOST)
    container.write("/etc/ssl/paper/site.key", pair.key, mode=0o600)
    container.write("/etc/ssl/paper/site.pem", pair.certificate)
    return f"{pair.serial:X}"


def redirected(container: Container, host: str) -> None:
    answer = ask(container, host, "/a?b=c")
    assert (answer.status, answer.location) == (301, f"https://{host}/a?b=c")


def test_a_certificate_by_path_is_served_with_http2(container: Container, trust: Trust) -> None:
    assert container.must("sh", "-c", "nginx -v 2>&1").startswith("nginx version: nginx/1.22")
    site = container.path("/etc/nginx/reconciler/sites/paper.conf").read_text()
    assert 'listen "443" ssl http2;' in site, site
    assert "http2 on" not in site
    answer = ask_securely(container, PAPER_HOST, trust.file)
    assert (answer.status, answer.protocol, answer.version) == (200, "h2", "TLSv1.3"), answer
    assert answer.text.startswith("paper from ")
    redirected(container, PAPER_HOST)


def test_what_users_upload_is_served_from_where_nobody_else_reads(container: Container, trust: Trust) -> None:
    container.must("sh", "-c", "echo of a holiday > /var/lib/reconciler/shared/paper/media/photo", user="app-paper")
    container.must("ln", "-s", "/etc/hostname", "/var/lib/reconciler/shared/paper/media/out", user="app-paper")
    assert ask_securely(container, PAPER_HOST, trust.file, "/media/photo").text == "of a holiday\n"
    assert ask_securely(container, PAPER_HOST, trust.file, "/media/out").text.startswith("paper from ")
    assert container.run("ls", "/var/lib/reconciler/shared/paper", user="www-data").status != 0


def test_acme_brings_a_certificate_through_debians_certbot(
    container: Container, operator: Operator, trust: Trust
) -> None:
    def there() -> Secure | None:
        answer = ask_securely(container, SEALED_HOST, trust.root)
        return answer if answer.status == 200 else None

    answer = wait_for("HTTPS by ACME", there, CERTIFICATE_SECONDS, every=0.5)
    assert answer.text.startswith("sealed from ")
    assert (answer.protocol, answer.version) == ("h2", "TLSv1.3")
    redirected(container, SEALED_HOST)
    assert ask(container, SEALED_HOST, CHALLENGE).status == 404
    assert container.must("certbot", "--version") == "certbot 2.1.0"
    # certbot's own timer would look here
    assert not container.path("/etc/letsencrypt/live").exists()
    told = operator.status()["sealed"]
    assert told["ready"], told


def test_a_renewed_certificate_is_taken_up(container: Container, operator: Operator, trust: Trust) -> None:
    applied = operator.releases()
    serial = renew(container, trust)

    def shown() -> bool:
        return ask_securely(container, PAPER_HOST, trust.file).serial.lstrip("0") == serial

    wait_for("the renewed certificate", shown, RENEWAL_SECONDS)
    assert operator.releases() == applied


def test_a_second_pass_changes_nothing(container: Container, operator: Operator) -> None:
    before, reloads = written(container), nginx_log(container)
    synced = operator.reconciler("sync", seconds=CERTIFICATE_SECONDS)
    assert synced.status == 0, str(synced)
    planned = operator.reconciler("plan")
    assert planned.status == 0, str(planned)
    assert (written(container), nginx_log(container)) == (before, reloads)
    assert container.must("systemctl", "is-system-running") == "running"


def written(container: Container) -> str:
    """The files that certificates are made of and served from, the sites, and which release of each app serves."""
    places = "/etc/nginx /etc/ssl /var/lib/reconciler/acme /var/lib/reconciler/vassals /var/lib/reconciler/public"
    return container.must("sh", "-c", f"find {places} -printf '%p %s %i %l %T@\\n' | sort")


def nginx_log(container: Container) -> str:
    """What systemd and nginx told of starts and reloads."""
    return container.must("journalctl", "--unit=nginx", "--output=cat") + container.must(
        "sh", "-c", "grep -c signal /var/log/nginx/error.log || true"
    )
