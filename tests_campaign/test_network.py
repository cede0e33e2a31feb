"""Proves that a git server that is slow, cut off in the middle or sends rubbish drops nothing that is desired, holds
up no other repository, is asked less and less often, and is followed again at once when it answers.
"""

from __future__ import annotations

import json
import random
import shutil
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import examples
from breaking import well_said
from command_line import reconciler
from git_server import Remote, make_certificate, remote
from reconciler.host.git import Mirrors
from reconciler.model.errors import RepositoryError
from test_agent import running, wait_for
from world import World, manifest, new_world, wsgi_app

OTHERS_SECONDS = 25.0
"""How long the deploy of another app may take while a server hangs, for whose answer 30 s are waited."""
BACK_SECONDS = 40.0
"""How long it may take until a server that answers again is followed: after some failures the pause is seconds."""


@dataclass
class Net:
    """A host that follows a config repository on one server, and the blog's repository on another one."""

    world: World
    config: Remote
    code: Remote
    folder: Path
    number: int = 0

    def push(self, name: str) -> None:
        """Bring what was committed to its server."""
        source = self.world.config if name == "deploy" else self.world.home / "code"
        examples.git(source, "push", "--quiet", "--force", str(self.folder / f"{name}.git"), "main")

    def next_pages(self) -> tuple[str, str]:
        """Push a new page of both apps: the blog's to its own repository, the other's to the config repository."""
        self.number += 1
        blog, other = f"blog {self.number}", f"other {self.number}"
        # as large as a real change, so that half of it is less than all
        noise = random.Random(self.number).randbytes(100_000).hex()
        examples.write_and_commit(self.world.home / "code", {"wsgi.py": wsgi_app(blog), "noise": noise}, blog)
        self.world.commit({"apps/other/wsgi.py": wsgi_app(other)}, other)
        self.push("code")
        self.push("deploy")
        return blog, other

    def page(self, app: str) -> str:
        return self.world.text(f"{app}.example.com")

    def troubles(self) -> list[dict[str, Any]]:
        """What ``status`` says of the repositories."""
        status = json.loads(reconciler("-c", str(self.world.agent_file), "status", "--json").out)
        found: list[dict[str, Any]] = status["repositories"]
        return found


@pytest.fixture(scope="module")
def net(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Net]:
    if shutil.which("openssl") is None:
        pytest.skip("openssl, which makes the servers' certificate, is not installed")
    folder = tmp_path_factory.mktemp("net")
    certificate, key = make_certificate(folder)
    with ExitStack() as stack, pytest.MonkeyPatch.context() as patch:
        patch.setenv("GIT_SSL_CAINFO", str(certificate))
        patch.setenv("no_proxy", "127.0.0.1")
        world = stack.enter_context(new_world())
        config = stack.enter_context(remote(folder, certificate, key))
        code = stack.enter_context(remote(folder, certificate, key))
        made = Net(world, config, code, folder)
        examples.new_repository(world.home / "code")
        for name in ("deploy", "code"):
            examples.git(folder, "init", "--quiet", "--bare", "--initial-branch=main", f"{name}.git")
        world.configure(repository=f"{{url: '{config.address('deploy.git')}', branch: main, interval: 1s}}")
        source = {"repository": code.address("code.git"), "directory": "."}
        world.commit(
            {"manifests/blog.yaml": manifest("blog", source=source), "manifests/other.yaml": manifest("other")}
        )
        blog, other = made.next_pages()
        result = world.once()
        assert not result.failed, [str(app.error) for app in result.apps]
        assert (made.page("blog"), made.page("other")) == (blog, other)
        yield made


@pytest.fixture(autouse=True)
def mended(net: Net) -> Iterator[None]:
    yield
    net.config.fails("no")
    net.code.fails("no")


POLL_SECONDS = 2.5
SERVER_FAULTS = ["server html", "server error", "server redirect", "server plain", "server endless"]
WAY_FAULTS = ["way rubbish", "way cut", "way corrupt", "way hang", "way refuse", "way drip"]


@pytest.mark.parametrize("fault", [*SERVER_FAULTS, *WAY_FAULTS])
def test_a_poll_ends_in_time_with_a_sentence_and_the_next_one_is_well(net: Net, fault: str, tmp_path: Path) -> None:
    mirrors, address = Mirrors(tmp_path), net.code.address("code.git")
    known = mirrors.poll(address)
    mirrors.update(address, known)
    net.code.fails(fault)
    began = time.monotonic()
    with pytest.raises(RepositoryError) as caught:
        mirrors.poll(address, timeout=POLL_SECONDS)
    assert time.monotonic() - began < POLL_SECONDS + 3
    print(caught.value.with_hint)
    well_said(caught.value)
    net.code.fails("no")
    assert mirrors.poll(address) == known


@pytest.mark.parametrize("fault", ["server cut", "server corrupt"])
def test_a_pack_that_is_broken_on_its_way_leaves_the_mirror_as_it_was(net: Net, fault: str, tmp_path: Path) -> None:
    mirrors, address = Mirrors(tmp_path), net.code.address("code.git")
    known = mirrors.poll(address)
    mirrors.update(address, known)
    net.next_pages()
    news = mirrors.poll(address)
    assert news != known
    net.code.fails(fault)
    with pytest.raises(RepositoryError) as caught:
        mirrors.update(address, news, timeout=POLL_SECONDS)
    print(caught.value.with_hint)
    well_said(caught.value)
    assert mirrors.revisions.resolve(address, "main", None).commit == known.refs["refs/heads/main"]
    assert mirrors.files.entries(address, known.refs["refs/heads/main"])
    assert not list(tmp_path.rglob("tmp_*"))
    net.code.fails("no")
    assert mirrors.update(address, news)


def test_a_slow_server_only_takes_its_time(net: Net) -> None:
    net.config.fails("way slow")
    blog, other = net.next_pages()
    assert not net.world.once().failed
    assert (net.page("blog"), net.page("other")) == (blog, other)


@pytest.mark.parametrize("fault", ["way hang", "server html"])
def test_a_server_that_fails_holds_its_own_app_only(net: Net, fault: str) -> None:
    # what other tests have pushed and nobody deployed would come with the agent's first pass
    assert not net.world.once().failed
    before = net.page("blog")
    with running(net.world) as agent:
        wait_for("the first pass", lambda: agent.told("nothing_to_do"))
        net.code.fails(fault)
        blog, other = net.next_pages()
        seconds = wait_for("the other app", lambda: net.page("other") == other, OTHERS_SECONDS)
        print(f"{fault}: the other app was deployed after {seconds:.1f} s")
        if fault != "way hang":
            wait_for("less and less", lambda: agent.told("repository_backs_off", failures=2))
            pauses = [line["seconds"] for line in agent.told("repository_backs_off")]
            assert pauses[:2] == [1.0, 2.0]
            wait_for("the pass to be recorded", lambda: [t for t in net.troubles() if t["failures"] >= 2])
            (trouble,) = net.troubles()
            assert trouble["repository"] == net.code.address("code.git")
            shown = reconciler("-c", str(net.world.agent_file), "status")
            assert "has not answered for" in shown.err + shown.out
        assert net.page("blog") == before
        net.code.fails("no")
        seconds = wait_for("the blog", lambda: net.page("blog") == blog, BACK_SECONDS)
        print(f"{fault}: the blog was deployed {seconds:.1f} s after the server was well again")
        assert not [line for line in agent.told("app_changed") if "removed" in str(line)]
    assert json.loads(reconciler("-c", str(net.world.agent_file), "once", "--json").out)["error"] is None
    assert net.troubles() == []


def test_a_config_repository_that_sends_rubbish_drops_no_app(net: Net) -> None:
    pages = net.page("blog"), net.page("other")
    for fault in ("server html", "way corrupt", "server cut"):
        net.config.fails(fault)
        net.next_pages()
        result = net.world.once()
        assert result.error is not None
        assert result.apps == ()
        well_said(result.error)
        assert (net.page("blog"), net.page("other")) == pages
    net.config.fails("no")
    blog, other = net.next_pages()
    assert not net.world.once().failed
    assert (net.page("blog"), net.page("other")) == (blog, other)
