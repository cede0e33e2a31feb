"""An app that asks for ACME is served at once, gets HTTPS when there is a certificate, and fails ever more slowly.

certbot is a script here, which gives what a test has laid out for it; the campaign has the real one.
"""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from certificates import Authority, Pair, get, served_serial
from reconciler.agent.certbot_runs import CertbotRuns
from reconciler.cli.wiring import Installation
from reconciler.engine.certifying import FIRST_RETRY_SECONDS, CertificateState, state_of
from reconciler.engine.status import read_status
from reconciler.host.journal import Journal
from reconciler.host.templates import default_template
from reconciler.model.condition import ConditionReason, ConditionType
from reconciler.model.errors import JournalError
from reconciler.model.plan import Outcome
from serving import eventually
from world import World, new_world, of, ran

AUTHORITY = Authority()
NAME = "shop.example.com"
ACME = {"tls": {"acme": True}}
URL = "/.well-known/acme-challenge/"
CERTBOT = """#!/bin/sh
echo "$@" >> "{home}/runs"
while [ $# -gt 0 ]; do
    case "$1" in --config-dir) folder=$2 ;; --cert-name) name=$2 ;; --webroot-path) root=$2 ;; esac
    shift
done
[ -d "$root" ] || exit 3
if [ ! -e "{home}/given/site.pem" ]; then
    echo "  Detail: no such name"
    echo "Some challenges have failed."
    exit 1
fi
mkdir -p "$folder/live/$name"
cp "{home}/given/site.pem" "$folder/live/$name/fullchain.pem"
cp "{home}/given/site.key" "$folder/live/$name/privkey.pem"
"""


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    with new_world() as made:
        certbot = made.home / "certbot"
        certbot.write_text(CERTBOT.replace("{home}", str(made.home)))
        certbot.chmod(0o755)
        monkeypatch.setattr("reconciler.host.certbot.find_certbot", lambda: certbot)
        yield made


def give(world: World, pair: Pair) -> None:
    pair.write(world.home / "given")


def runs(world: World) -> list[str]:
    file = world.home / "runs"
    return file.read_text().splitlines() if file.exists() else []


def known(world: World) -> tuple[ConditionReason, CertificateState]:
    installation = Installation.load(world.agent_file)
    with installation.journal() as journal:
        (app,) = read_status(installation.layout, journal).apps
        return app.condition(ConditionType.CERTIFIED).reason, state_of(journal, "shop")


def wait_is_over(world: World, state: CertificateState) -> None:
    """Let the time at which certbot is run again be now."""
    with world.engine() as engine:
        engine.certifying._remember("shop", CertificateState(state.problem, state.failures, 0.0, state.names))


@pytest.mark.long
def test_the_way_of_a_certificate(world: World) -> None:
    # none can be had: the app is served over HTTP, and the reason is told
    world.add_app("shop", nginx=ACME)
    result = world.once()
    assert of(result, "shop").outcome is Outcome.CHANGED
    assert world.text(NAME) == "hello"
    (problem,) = result.problems
    assert "no certificate for shop.example.com of shop could be had: no such name" in problem
    reason, first = known(world)
    assert (reason, first.failures) == (ConditionReason.CERTIFICATE_AWAITED, 1)
    assert len(runs(world)) == 1

    # the authority is left alone for a while, which gets longer
    assert world.once().problems == (problem,)
    assert len(runs(world)) == 1
    wait_is_over(world, first)
    world.once()
    assert len(runs(world)) == 2
    assert known(world)[1].not_before > time.time() + 1.5 * FIRST_RETRY_SECONDS

    # challenges lead to files of the agent's folder, to no link in it, and never to the app
    folder = world.root / "acme/webroot" / URL.strip("/")
    (folder / "token").write_text("answer")
    (folder / "link").symlink_to(world.agent_file)
    assert world.text(NAME, f"{URL}token") == "answer"
    assert world.get(f"{URL}link", NAME).status_code in (403, 404)
    assert world.get(f"{URL}none", NAME).status_code == 404

    # other names are asked for at once; HTTPS comes in the same command
    give(world, AUTHORITY.pair(NAME, "www.example.com"))
    world.add_app("shop", nginx={**ACME, "serverNames": [NAME, "www.example.com"]})
    result = world.once()
    assert not result.failed, result.problems
    assert ran(of(result, "shop")) == {"nginx"}
    assert "--domain shop.example.com --domain www.example.com" in runs(world)[-1]
    assert get(AUTHORITY, world.tls_port, "www.example.com").text == "hello"
    assert world.get("/", NAME).status_code == 301
    assert world.text(NAME, f"{URL}token") == "answer"
    assert known(world) == (ConditionReason.CERTIFICATE_VALID, CertificateState())
    assert of(world.once(), "shop").outcome is Outcome.UNCHANGED
    assert len(runs(world)) == 3

    # one that nears its end is renewed, and only nginx hears of it
    old = AUTHORITY.pair(NAME, "www.example.com", days=90, age=61)
    live = world.root / "acme/certbot/live/shop"
    (live / "fullchain.pem").write_text(old.certificate)
    (live / "privkey.pem").write_text(old.key)
    renewed = AUTHORITY.pair(NAME, "www.example.com")
    give(world, renewed)
    assert of(world.once(), "shop").outcome is Outcome.UNCHANGED
    assert served_serial(AUTHORITY, world.tls_port, NAME) == renewed.serial
    assert len(runs(world)) == 4


def test_an_authority_is_not_asked_when_nginx_does_not_show_challenges(world: World) -> None:
    template = default_template("site.conf.j2").replace("{% if acme", "{% if false and acme")
    world.commit({"templates/own.conf.j2": template})
    world.add_app("shop", nginx={**ACME, "template": "own.conf.j2"})
    (problem,) = world.once().problems
    assert "nginx does not show /.well-known/acme-challenge/ for shop.example.com" in problem
    assert runs(world) == []


def test_an_authority_is_left_alone_although_the_journal_cannot_be_written(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise JournalError("the journal cannot be written")

    world.add_app("shop", nginx=ACME)
    told: list[str] = []
    with world.engine() as engine:
        engine._reconcile("test", None)
        assert engine.certificates_due() == ("shop",)
        monkeypatch.setattr(Journal, "record_setting", refuse)
        beside = CertbotRuns(engine, told.append)
        beside.begin()
        eventually(lambda: told == ["certificate"], "certbot's end")
        assert engine.certificates_due() == ()
        beside.close()
        monkeypatch.undo()
    assert len(runs(world)) == 1


def test_an_agent_gets_certificates_beside_its_passes(world: World) -> None:
    give(world, AUTHORITY.pair(NAME))
    world.add_app("shop", nginx=ACME)
    told: list[str] = []
    with world.engine() as engine:
        engine._reconcile("test", None)
        beside = CertbotRuns(engine, told.append)
        beside.begin()
        eventually(lambda: told == ["certificate"], "certbot's end")
        assert ran(of(engine._reconcile("certificate", None), "shop")) == {"nginx"}
        beside.begin()
        beside.close()
    assert len(runs(world)) == 1
    assert get(AUTHORITY, world.tls_port, NAME).text == "hello"
