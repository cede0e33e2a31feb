"""A site speaks HTTPS with the certificate that its manifest names, and no bad certificate ever hurts what serves."""

from __future__ import annotations

import json
import ssl
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from certificates import Authority, Pair, get, handshake, served_serial
from reconciler.cli.main import main
from reconciler.cli.wiring import Installation
from reconciler.engine.status import read_status
from reconciler.host.journal import Journal
from reconciler.model.condition import Condition, ConditionReason, ConditionType
from reconciler.model.plan import Outcome
from world import World, new_world, of, ran

AUTHORITY = Authority()
NAME = "shop.example.com"


def tls(world: World, **more: object) -> dict[str, object]:
    folder = world.home / "ssl"
    return {"tls": {"certificate": f"{folder}/site.pem", "key": f"{folder}/site.key", **more}}


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    with new_world() as made:
        AUTHORITY.pair(NAME).write(made.home / "ssl")
        made.add_app("shop", nginx=tls(made))
        made.add_app("plain", "plain")
        result = made.once()
        assert [(app.app, app.error) for app in result.apps] == [("plain", None), ("shop", None)]
        yield made


def test_pages_come_over_https_with_the_certificate_of_the_name(world: World) -> None:
    answer = get(AUTHORITY, world.tls_port, NAME)
    assert (answer.status_code, answer.text) == (200, "hello")


def test_http_leads_to_https_for_every_path(world: World) -> None:
    answer = world.get("/a/b?c=d", NAME)
    assert answer.status_code == 301
    assert answer.headers["location"] == f"https://{NAME}:{world.tls_port}/a/b?c=d"


def test_browsers_are_offered_http2(world: World) -> None:
    with handshake(AUTHORITY, world.tls_port, NAME, ("h2", "http/1.1")) as secure:
        assert secure.selected_alpn_protocol() == "h2"
        assert secure.version() == "TLSv1.3"


def test_a_name_without_a_site_is_shown_no_certificate(world: World) -> None:
    with pytest.raises(ssl.SSLError, match="UNRECOGNIZED_NAME"):
        served_serial(AUTHORITY, world.tls_port, "x.example.com")


def test_the_key_is_kept_where_only_the_agent_reads_it(world: World) -> None:
    kept = world.root / "nginx" / "tls" / "shop.pem"
    assert kept.stat().st_mode & 0o777 == 0o600
    assert kept.parent.stat().st_mode & 0o777 == 0o700


def put(world: World, pair: Pair) -> None:
    pair.write(world.home / "ssl")


def test_a_renewed_certificate_is_taken_up_and_no_visitor_is_lost(world: World) -> None:
    renewed = AUTHORITY.pair(NAME)
    before = set((world.root / "run").glob("shop.*"))
    put(world, renewed)
    answers: list[int] = []
    ended = threading.Event()

    def visit() -> None:
        while not ended.is_set():
            answers.append(get(AUTHORITY, world.tls_port, NAME).status_code)

    visitors = [threading.Thread(target=visit) for _ in range(3)]
    for visitor in visitors:
        visitor.start()
    result = world.once()
    ended.set()
    for visitor in visitors:
        visitor.join()
    assert served_serial(AUTHORITY, world.tls_port, NAME) == renewed.serial
    assert set(answers) == {200}
    # nothing is deployed anew
    assert [app.outcome for app in result.apps] == [Outcome.UNCHANGED, Outcome.UNCHANGED]
    assert set((world.root / "run").glob("shop.*")) == before
    assert not world.once().failed


@pytest.mark.parametrize(
    ("certificate", "key", "sentence"),
    [
        ("nonsense", None, "has no certificate in PEM format"),
        ("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", None, "cannot be read as PEM"),
        (None, AUTHORITY.pair(NAME).key, "does not belong to the certificate"),
        (None, AUTHORITY.pair(NAME, passphrase="x").key, "is protected by a passphrase"),
        (None, "nonsense", "has no private key in PEM format"),
        (AUTHORITY.pair(NAME, age=100).certificate, None, "has expired on"),
        (AUTHORITY.pair(NAME, age=-2).certificate, None, "is valid only from"),
    ],
)
def test_a_wrong_pair_is_told_and_the_old_one_serves_on(
    world: World, certificate: str | None, key: str | None, sentence: str
) -> None:
    serving = served_serial(AUTHORITY, world.tls_port, NAME)
    good = AUTHORITY.pair(NAME)
    put(world, Pair(certificate or good.certificate, key or good.key))
    result = world.once()
    assert result.failed
    (problem,) = result.problems
    assert sentence in problem
    # every site goes on, also when nginx reads everything anew for another app
    world.add_app("plain", f"plain {sentence}")
    assert of(world.once(), "plain").outcome is Outcome.CHANGED
    assert world.get("/", "plain.example.com").text == f"plain {sentence}"
    assert served_serial(AUTHORITY, world.tls_port, NAME) == serving
    assert certified(world).reason is ConditionReason.CERTIFICATE_REFUSED
    put(world, good)
    assert not world.once().failed
    assert served_serial(AUTHORITY, world.tls_port, NAME) == good.serial
    assert certified(world).holds


def test_a_certificate_that_is_gone_serves_on_even_after_a_restart_of_nginx(world: World) -> None:
    for name in ("site.pem", "site.key"):
        (world.home / "ssl" / name).unlink()
    assert "is not there" in world.once().problems[0]
    with Installation.load(world.agent_file).engine() as engine:
        engine.host.nginx.stop()
    world.once()
    assert get(AUTHORITY, world.tls_port, NAME).status_code == 200
    put(world, AUTHORITY.pair(NAME))
    assert not world.once().failed


def test_one_app_without_its_certificate_fails_alone(world: World) -> None:
    paths = {"certificate": "/nowhere/a.pem", "key": "/nowhere/a.key"}
    world.add_app("other", nginx={"tls": paths})
    result = world.once()
    assert "the certificate of other, /nowhere/a.pem, is not there" in str(of(result, "other").error)
    assert of(result, "shop").outcome is Outcome.UNCHANGED
    certificate, key = AUTHORITY.pair("other.example.com").write(world.home / "ssl", "other")
    world.add_app("other", nginx={"tls": {"certificate": str(certificate), "key": str(key)}})
    assert of(world.once(), "other").outcome is Outcome.CHANGED
    assert get(AUTHORITY, world.tls_port, "other.example.com").text == "hello"
    assert get(AUTHORITY, world.tls_port, NAME).text == "hello"
    world.commit({"manifests/other.yaml": None})
    world.once()
    assert not (world.root / "nginx/tls/other.pem").exists()


def test_a_key_in_a_checkout_is_refused(world: World) -> None:
    certificate, key = AUTHORITY.pair(NAME).write(world.root / "shared" / "shop")
    world.add_app("shop", nginx={"tls": {"certificate": str(certificate), "key": str(key)}})
    assert "where others than the host's operator" in str(of(world.once(), "shop").error)
    world.add_app("shop", nginx=tls(world))
    world.once()


def test_another_setting_of_tls_is_a_change_of_the_site_alone(world: World) -> None:
    world.add_app("shop", nginx=tls(world, redirect=False))
    assert ran(of(world.once(), "shop")) == {"nginx"}
    assert world.get("/", NAME).text == "hello"
    assert get(AUTHORITY, world.tls_port, NAME).text == "hello"
    world.add_app("shop", nginx=tls(world))
    world.once()
    assert world.get("/", NAME).status_code == 301


def test_a_certificate_that_ends_soon_is_told_once_whatever_comes_between(world: World) -> None:
    def told() -> Counter[str]:
        with Journal.read(world.root / "journal.sqlite3") as journal:
            return Counter(event.kind for event in journal.events("shop", 1_000))

    before, ending = told(), AUTHORITY.pair(NAME, days=90, age=88)
    put(world, ending)
    world.once()
    (world.home / "ssl" / "site.pem").write_text("rubbish")
    world.once()
    put(world, ending)
    world.once()
    new = told() - before
    assert (new["certificate_refused"], new["certificate_expires"]) == (1, 1)
    put(world, AUTHORITY.pair(NAME))
    assert not world.once().failed


def test_a_certificate_that_ends_soon_is_told(world: World) -> None:
    put(world, AUTHORITY.pair(NAME, days=90, age=70))
    assert not world.once().failed
    assert certified(world).reason is ConditionReason.CERTIFICATE_EXPIRES
    put(world, AUTHORITY.pair(NAME, days=90, age=88))
    assert "the certificate of shop expires on" in world.once().problems[0]
    put(world, AUTHORITY.pair("else.example.com"))
    world.once()
    assert certified(world).reason is ConditionReason.NAMES_NOT_COVERED
    put(world, AUTHORITY.pair(NAME))
    assert not world.once().failed
    assert certified(world).reason is ConditionReason.CERTIFICATE_VALID


def certified(world: World) -> Condition:
    installation = Installation.load(world.agent_file)
    with installation.journal() as journal:
        status = read_status(installation.layout, journal)
    (app,) = [app for app in status.apps if app.app == "shop"]
    return app.condition(ConditionType.CERTIFIED)


def test_an_app_without_tls_is_untouched(world: World) -> None:
    assert world.get("/", "plain.example.com").text.startswith("plain")
    assert Path(world.root / "nginx/sites/plain.conf").read_text().count("ssl") == 0


def test_doctor_looks_at_certificates_and_the_rights_of_keys(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    key = world.home / "ssl" / "site.key"
    key.chmod(0o644)
    capsys.readouterr()
    assert main(["-c", str(world.agent_file), "doctor", "--json"]) == 0
    rows = {row["check"]: row for row in json.loads(capsys.readouterr().out)["checks"]}
    assert rows["certificate of shop"]["level"] == "ok"
    assert "valid until" in rows["certificate of shop"]["message"]
    assert (rows["key of shop"]["level"], rows["key of shop"]["hint"]) == ("warn", f"chmod 600 {key}")
    key.chmod(0o600)
