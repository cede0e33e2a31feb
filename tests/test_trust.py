"""Proves that only commits and tags that a listed key signed are deployed, and that a rewritten history waits."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

import examples
from command_line import reconciler
from examples import git
from reconciler.engine.trust import Trust
from reconciler.host import git_signatures
from reconciler.host.git import Mirrors, Resolved
from reconciler.host.layout import Layout
from reconciler.model.errors import ConfigurationError, HistoryRewritten, RevisionNotFound, SignatureRefused
from world import World, manifest, of, wsgi_app

PROGRAM_SECONDS = 60.0


@dataclass
class Signer:
    """A key in a folder: how git signs with it, and what a list says of it."""

    settings: tuple[str, ...]
    listed: str

    def sign(self, repository: Path, *, date: str = "") -> str:
        """Sign the last commit anew; returns its id."""
        if date:
            git(repository, "-c", "user.name=x", "commit", "--amend", "--quiet", "--no-edit", f"--date={date}")
        git(repository, *self.settings, "commit", "--amend", "--quiet", "--no-edit", "--allow-empty", "-S")
        return git(repository, "rev-parse", "HEAD")


def run(*arguments: str, **environment: str) -> str:
    done = subprocess.run(
        arguments,
        capture_output=True,
        text=True,
        env={**os.environ, **environment},
        timeout=PROGRAM_SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def ssh_signer(folder: Path, name: str, options: str = "") -> Signer:
    key = folder / name
    run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", name, "-f", str(key))
    kind, blob = (folder / f"{name}.pub").read_text().split()[:2]
    settings = ("-c", "gpg.format=ssh", "-c", f"user.signingKey={key}.pub")
    return Signer(settings, f"{name}@example.com {options} {kind} {blob}\n")


@dataclass
class Ring:
    """An OpenPGP key ring of somebody else's."""

    home: Path

    def signer(self, name: str, *, expires: str = "never", when: str = "") -> Signer:
        fake = ("--faked-system-time", when) if when else ()
        run("gpg", "--homedir", str(self.home), "--batch", "--passphrase", "", *fake, "--quick-generate-key",
            f"{name} <{name}@example.com>", "ed25519", "sign", expires)  # fmt: skip
        program = self.home / f"gpg-{name}"
        program.write_text(f'#!/bin/sh\nexec gpg --homedir {self.home} {" ".join(fake)} "$@"\n')
        program.chmod(0o755)
        settings = ("-c", f"gpg.program={program}", "-c", f"user.signingKey={name}@example.com")
        return Signer(settings, self.exported(name))

    def exported(self, name: str) -> str:
        return run("gpg", "--homedir", str(self.home), "--armor", "--export", f"{name}@example.com")

    def revoke(self, name: str) -> str:
        """Revoke a key; returns it with its revocation."""
        listing = run("gpg", "--homedir", str(self.home), "--with-colons", "--list-keys", f"{name}@example.com")
        fingerprint = next(line.split(":")[9] for line in listing.splitlines() if line.startswith("fpr"))
        certificate = self.home / "openpgp-revocs.d" / f"{fingerprint}.rev"
        text = certificate.read_text().replace(":-----BEGIN", "-----BEGIN")
        certificate.write_text(text)
        run("gpg", "--homedir", str(self.home), "--batch", "--import", str(certificate))
        return self.exported(name)


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    made = Path(tempfile.mkdtemp(prefix="rt-"))
    yield made
    subprocess.run(["gpgconf", "--homedir", str(made / "ring"), "--kill", "all"], check=False, capture_output=True)
    shutil.rmtree(made)


@pytest.fixture(scope="module")
def ssh(folder: Path) -> Signer:
    return ssh_signer(folder, "anna")


@pytest.fixture(scope="module")
def ring(folder: Path) -> Ring:
    home = folder / "ring"
    home.mkdir(mode=0o700)
    return Ring(home)


@pytest.fixture(scope="module")
def pgp(ring: Ring) -> Signer:
    return ring.signer("paul")


@dataclass
class Guarded:
    """A repository, a mirror of it, and a list of keys."""

    folder: Path
    repository: Path
    mirrors: Mirrors
    list: Path

    def check(self, commit: str, ref: str | None = None, listed: str | None = None) -> None:
        if listed is not None:
            self.list.write_text(listed)
        address = str(self.repository)
        self.mirrors.update(address, self.mirrors.poll(address))
        trust = Trust(self.mirrors.revisions, Layout(self.folder / "state"))
        trust.check(address, Resolved(commit, ref), self.list)


@pytest.fixture
def guarded(tmp_path: Path) -> Guarded:
    repository = examples.new_repository(tmp_path / "repository")
    examples.write_and_commit(repository, {"a": "a"}, "First")
    (tmp_path / "etc").mkdir()
    return Guarded(tmp_path, repository, Mirrors(tmp_path / "mirrors"), tmp_path / "etc" / "signers")


def test_commits_of_listed_keys_pass_and_all_others_end_in_a_sentence(
    guarded: Guarded, ssh: Signer, pgp: Signer, ring: Ring, folder: Path
) -> None:
    listed = ssh.listed + "# a comment\n" + pgp.listed
    unsigned = git(guarded.repository, "rev-parse", "HEAD")
    with pytest.raises(SignatureRefused, match="commit .{7} of .* is not signed$"):
        guarded.check(unsigned, listed=listed)
    for signer in (ssh, pgp):
        guarded.check(signer.sign(guarded.repository), listed=listed)
    # each kind alone, and the other one is foreign
    by_pgp = pgp.sign(guarded.repository)
    with pytest.raises(SignatureRefused, match="is signed by a key that is not listed, [0-9A-F]{16}"):
        guarded.check(by_pgp, listed=ssh.listed)
    by_ssh = ssh.sign(guarded.repository)
    with pytest.raises(SignatureRefused, match="is signed by a key that is not listed, SHA256:"):
        guarded.check(by_ssh, listed=pgp.listed)
    stranger = ssh_signer(folder, "mallory")
    with pytest.raises(SignatureRefused, match="is signed by a key that is not listed, SHA256:"):
        guarded.check(stranger.sign(guarded.repository), listed=listed)


def test_expired_and_revoked_keys_are_told_apart(guarded: Guarded, ring: Ring, folder: Path) -> None:
    expired = ssh_signer(folder, "expired", 'valid-before="20200101"')
    with pytest.raises(SignatureRefused, match="a key that was not valid at its date, SHA256:"):
        guarded.check(expired.sign(guarded.repository), listed=expired.listed)
    other_purpose = ssh_signer(folder, "purpose", 'namespaces="file"')
    with pytest.raises(SignatureRefused, match="its line in the list forbids"):
        guarded.check(other_purpose.sign(guarded.repository), listed=other_purpose.listed)
    revoked = ssh_signer(folder, "revoked")
    commit = revoked.sign(guarded.repository)
    guarded.check(commit, listed=revoked.listed)
    guarded.list.with_name("signers.revoked").write_text((folder / "revoked.pub").read_text())
    with pytest.raises(SignatureRefused, match="revoked"):
        guarded.check(commit)
    guarded.list.with_name("signers.revoked").unlink()

    old = ring.signer("old", expires="2021-01-01", when="20200101T000000")
    with pytest.raises(SignatureRefused, match="is signed by a key that has expired, [0-9A-F]+"):
        guarded.check(old.sign(guarded.repository), listed=old.listed)
    leaked = ring.signer("leaked")
    commit = leaked.sign(guarded.repository)
    guarded.check(commit, listed=leaked.listed)
    with pytest.raises(SignatureRefused, match="is signed by a key that was revoked, [0-9A-F]+"):
        guarded.check(commit, listed=ring.revoke("leaked"))


@pytest.mark.parametrize("kind", ["ssh", "pgp"])
def test_a_signature_on_another_content_does_not_count(guarded: Guarded, ssh: Signer, pgp: Signer, kind: str) -> None:
    signer = {"ssh": ssh, "pgp": pgp}[kind]
    commit = signer.sign(guarded.repository)
    text = git(guarded.repository, "cat-file", "commit", commit) + "\n"
    forged = subprocess.run(
        ["git", "hash-object", "-t", "commit", "-w", "--stdin"],
        cwd=guarded.repository, input=text.replace("First", "Other"), capture_output=True, text=True, check=True,
    ).stdout.strip()  # fmt: skip
    git(guarded.repository, "update-ref", "refs/heads/main", forged)
    with pytest.raises(SignatureRefused, match="a signature that does not fit it"):
        guarded.check(forged, listed=signer.listed)


def test_tags_must_be_signed_for_their_own_name_and_commit(guarded: Guarded, ssh: Signer, pgp: Signer) -> None:
    repository = guarded.repository
    commit = git(repository, "rev-parse", "HEAD")
    listed = ssh.listed + pgp.listed
    git(repository, "tag", "v1")
    with pytest.raises(SignatureRefused, match="tag v1 of .* is not signed: it has no tag object"):
        guarded.check(commit, "refs/tags/v1", listed)
    git(repository, "tag", "-a", "-m", "x", "v2")
    with pytest.raises(SignatureRefused, match="tag v2 of .* is not signed"):
        guarded.check(commit, "refs/tags/v2")
    for name, signer in (("v3", ssh), ("v4", pgp)):
        git(repository, *signer.settings, "tag", "-s", "-m", "x", name)
        guarded.check(commit, f"refs/tags/{name}")
    git(repository, "update-ref", "refs/tags/v9", "refs/tags/v3")
    with pytest.raises(SignatureRefused, match="tag v9 of .* was signed as 'v3'"):
        guarded.check(commit, "refs/tags/v9")
    git(repository, *ssh.settings, "tag", "-s", "-m", "x", "v5", "v4")
    with pytest.raises(SignatureRefused, match="tag v5 of .* was signed as 'v5' for"):
        guarded.check(commit, "refs/tags/v5")


PLACES: dict[str, tuple[Callable[[Guarded], Path], str]] = {
    "in the repository": (lambda guarded: guarded.repository / "signers", "lies in .*repository"),
    "in a bare repository": (lambda guarded: next(guarded.folder.glob("mirrors/*.git")) / "signers", "lies in"),
    "in the state folder": (lambda guarded: guarded.folder / "state" / "signers", "lies in .*state"),
}


@pytest.mark.parametrize("place", PLACES)
def test_a_list_that_a_commit_could_change_is_refused(guarded: Guarded, ssh: Signer, place: str) -> None:
    commit = ssh.sign(guarded.repository)
    guarded.check(commit, listed=ssh.listed)
    where, sentence = PLACES[place]
    file = where(guarded)
    file.parent.mkdir(exist_ok=True)
    file.write_text(ssh.listed)
    guarded.list.unlink()
    guarded.list.symlink_to(file)
    with pytest.raises(ConfigurationError, match=sentence):
        guarded.check(commit)


def test_a_list_that_is_reached_through_a_link_in_a_repository_is_refused(guarded: Guarded, ssh: Signer) -> None:
    commit = ssh.sign(guarded.repository)
    guarded.check(commit, listed=ssh.listed)
    real = guarded.list.rename(guarded.list.with_name("real"))
    link = guarded.repository / "signers"
    link.symlink_to(real)
    guarded.list.symlink_to(link)
    with pytest.raises(ConfigurationError, match="lies in .*repository"):
        guarded.check(commit)


@pytest.mark.parametrize("kind", ["ssh", "pgp"])
def test_a_signed_commit_answers_for_its_submodules(guarded: Guarded, ssh: Signer, pgp: Signer, kind: str) -> None:
    """Nobody need sign a submodule: its commit is named in the signed tree, and whoever exchanges it is refused."""
    signer = {"ssh": ssh, "pgp": pgp}[kind]
    inner = examples.new_repository(guarded.folder / "inner")
    pinned = examples.write_and_commit(inner, {"word": "good"}, "Good")
    modules = f'[submodule "lib"]\n\tpath = lib\n\turl = file://{inner}\n'
    (guarded.repository / ".gitmodules").write_text(modules)
    git(guarded.repository, "add", ".gitmodules")
    git(guarded.repository, "update-index", "--add", "--cacheinfo", f"160000,{pinned},lib")
    git(guarded.repository, "commit", "--quiet", "-m", "Submodule")
    commit = signer.sign(guarded.repository)
    guarded.check(commit, listed=signer.listed)

    def placed(mirrors: Mirrors, name: str) -> str:
        out = guarded.folder / name
        mirrors.checkout(str(guarded.repository), commit, ".", out, submodules=True, lfs=False)
        return (out / "lib" / "word").read_text()

    assert placed(guarded.mirrors, "one") == "good"
    # whoever may push to the submodule rewrites it: what was signed stays, and is fetched from nowhere else
    git(inner, "checkout", "--quiet", "--orphan", "evil")
    examples.write_and_commit(inner, {"word": "evil"}, "Evil")
    git(inner, "branch", "-M", "evil", "main")
    git(inner, "reflog", "expire", "--expire=now", "--all")
    git(inner, "gc", "--quiet", "--prune=now")
    assert placed(guarded.mirrors, "two") == "good"
    fresh = Mirrors(guarded.folder / "fresh")
    address = str(guarded.repository)
    fresh.update(address, fresh.poll(address))
    with pytest.raises(RevisionNotFound, match=f"its submodule 'lib' is at {pinned[:7]}, which .* does not have"):
        placed(fresh, "three")


def test_a_list_that_says_nothing_or_that_anybody_writes_is_refused(guarded: Guarded, ssh: Signer) -> None:
    commit = ssh.sign(guarded.repository)
    with pytest.raises(ConfigurationError, match="cannot be read: No such file"):
        guarded.check(commit)
    with pytest.raises(ConfigurationError, match="has no key"):
        guarded.check(commit, listed="# nobody\n")
    with pytest.raises(ConfigurationError, match="OpenPGP keys in .* cannot be read"):
        guarded.check(commit, listed="-----BEGIN PGP PUBLIC KEY BLOCK-----\nx\n-----END PGP PUBLIC KEY BLOCK-----\n")
    guarded.list.write_text(ssh.listed)
    guarded.list.chmod(0o666)
    with pytest.raises(ConfigurationError, match="anybody may write"):
        guarded.check(commit)


def test_settings_of_the_repository_and_the_user_count_for_nothing(
    guarded: Guarded, folder: Path, ssh: Signer, monkeypatch: pytest.MonkeyPatch
) -> None:
    stranger = ssh_signer(folder, "eve")
    mine = folder / "eve.list"
    mine.write_text(stranger.listed)
    config = folder / "gitconfig"
    config.write_text(
        f'[gpg "ssh"]\n\tallowedSignersFile = {mine}\n\tprogram = /bin/true\n[gpg]\n\tprogram = /bin/true\n'
    )
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(config))
    commit = stranger.sign(guarded.repository)
    git(guarded.repository, "config", "gpg.ssh.allowedSignersFile", str(mine))
    with pytest.raises(SignatureRefused, match="not listed"):
        guarded.check(commit, listed=ssh.listed)


def test_what_was_checked_is_not_checked_again(
    guarded: Guarded, ssh: Signer, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit = ssh.sign(guarded.repository)
    guarded.check(commit, listed=ssh.listed)
    trust = Trust(guarded.mirrors.revisions, Layout(guarded.folder / "state"))
    asked = []
    real = git_signatures.local
    monkeypatch.setattr(git_signatures, "local", lambda *a, **k: asked.append(a) or real(*a, **k))
    for _ in range(3):
        trust.check(str(guarded.repository), Resolved(commit, None), guarded.list)
    assert len(asked) == 1
    guarded.list.write_text("# changed\n" + ssh.listed)
    trust.check(str(guarded.repository), Resolved(commit, None), guarded.list)
    assert len(asked) == 2


def test_the_last_good_commit_serves_until_a_listed_key_signs(world: World, ssh: Signer, folder: Path) -> None:
    signers = world.home / "signers"
    signers.write_text(ssh.listed)
    world.configure(repository="{url: ./c, branch: main, interval: 1s, allowedSigners: signers}")
    world.add_app("blog", "one")
    refused = world.once()
    assert isinstance(refused.error, SignatureRefused)
    ssh.sign(world.config)
    assert not world.once().failed
    assert world.text("blog.example.com") == "one"
    world.commit({"apps/blog/wsgi.py": wsgi_app("two")})
    shown = reconciler("-c", str(world.agent_file), "once")
    assert shown.status == 1
    assert "is not signed" in shown.out + shown.err
    assert world.text("blog.example.com") == "one"
    ssh.sign(world.config)
    assert not world.once().failed
    assert world.text("blog.example.com") == "two"
    # whoever leaves the list is not trusted any more, also where nothing else moves
    assert reconciler("-c", str(world.agent_file), "once").status == 0
    signers.write_text(ssh_signer(folder, "successor").listed)
    shown = reconciler("-c", str(world.agent_file), "once")
    assert (shown.status, "not listed" in shown.out + shown.err) == (1, True)
    assert world.text("blog.example.com") == "two"


def test_an_app_repository_that_asks_for_it_is_checked_by_itself(world: World, pgp: Signer) -> None:
    signers = world.home / "app-signers"
    signers.write_text(pgp.listed)
    app = examples.new_repository(world.home / "app")
    examples.write_and_commit(app, {"wsgi.py": wsgi_app("one")}, "One")
    source = {"repository": f"file://{app}", "directory": ".", "allowedSigners": str(signers)}
    world.commit({"manifests/blog.yaml": manifest("blog", source=source)})
    world.add_app("other")
    result = world.once()
    assert isinstance(of(result, "blog").error, SignatureRefused)
    assert of(result, "other").error is None
    pgp.sign(app)
    assert not world.once().failed
    git(app, "tag", "v1.0.0")
    world.commit({"manifests/blog.yaml": manifest("blog", source={**source, "revision": "^1"})})
    assert "tag v1.0.0" in str(of(world.once(), "blog").error)
    git(app, *pgp.settings, "tag", "-f", "-s", "-m", "x", "v1.0.0")
    assert not world.once().failed


def test_a_rewritten_history_waits_for_a_person_who_accepts_it_once(world: World) -> None:
    world.add_app("blog", "one")
    world.once()
    world.commit({"apps/blog/wsgi.py": wsgi_app("two")}, "Will vanish")
    world.once()
    git(world.config, "reset", "--quiet", "--hard", "HEAD~1")
    new = world.commit({"apps/blog/wsgi.py": wsgi_app("three")}, "Another way")
    for _ in range(2):
        refused = world.once().error
        assert isinstance(refused, HistoryRewritten)
        assert "Will vanish" in str(refused)
        assert f"reconciler accept {new[:12]}" in (refused.hint or "")
    assert world.text("blog.example.com") == "two"
    wrong = reconciler("-c", str(world.agent_file), "accept", "HEAD~1")
    assert wrong.status in (1, 2)
    accepted = reconciler("-c", str(world.agent_file), "accept", new[:12])
    assert accepted.status == 0, accepted.err
    assert "Will vanish" in accepted.out
    assert not world.once().failed
    assert world.text("blog.example.com") == "three"
    journal = sqlite3.connect(world.root / "journal.sqlite3")
    events = dict(journal.execute("SELECT kind, detail FROM events WHERE app = ''").fetchall())
    assert journal.execute("SELECT count(*) FROM events WHERE kind = 'history_rewritten'").fetchone() == (1,)
    assert all("Will vanish" in events[kind] for kind in ("history_rewritten", "history_accepted"))
    assert reconciler("-c", str(world.agent_file), "accept", new[:12]).status == 2
    # once: the next rewrite waits again
    git(world.config, "reset", "--quiet", "--hard", "HEAD~1")
    world.commit({"apps/blog/wsgi.py": wsgi_app("four")})
    assert isinstance(world.once().error, HistoryRewritten)
