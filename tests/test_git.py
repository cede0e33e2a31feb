"""Repositories are polled, mirrored, read and checked out as asked, whatever the repository or the server does."""

from __future__ import annotations

import base64
import functools
import http.server
import json
import os
import random
import shutil
import ssl
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from reconciler.host import git_mirror
from reconciler.host.git import Mirrors, RemoteRefs, Resolved, masked
from reconciler.host.git_addresses import parse_address, submodule_address
from reconciler.model.errors import RepositoryRefused, RepositoryUnreachable, RevisionNotFound, StageFailed

needs_lfs = pytest.mark.skipif(
    shutil.which("git-lfs") is None and "CI" not in os.environ, reason="git-lfs is not installed"
)


@pytest.fixture(autouse=True)
def own_configuration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """No configuration of the person who runs the tests; the file stands for the agent's user's own."""
    configuration = tmp_path / "gitconfig"
    configuration.write_text('[user]\nname = Ann\nemail = ann@example.com\n[protocol "file"]\nallow = always\n')
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(configuration))
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")
    for name in ("GIT_SSH_COMMAND", "GIT_SSH", "GIT_CONFIG_COUNT"):
        monkeypatch.delenv(name, raising=False)
    return configuration


class Repository:
    """A real repository with a work tree."""

    def __init__(self, path: Path, *options: str) -> None:
        self.path = path
        self.address = str(path)
        path.mkdir(parents=True)
        self.git("init", "--quiet", "--initial-branch=main", *options)

    def git(self, *arguments: str) -> str:
        done = subprocess.run(
            ["git", *arguments], cwd=self.path, check=True, capture_output=True, text=True, timeout=60
        )
        return done.stdout.strip()

    def commit(self, message: str = "change", /, **files: str) -> str:
        """Write files (``__`` in a name for ``/``) and commit everything."""
        for name, text in files.items():
            path = self.path / name.replace("__", "/")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        self.git("add", "--all")
        self.git("commit", "--quiet", "--allow-empty", "--message", message)
        return self.git("rev-parse", "HEAD")


@pytest.fixture
def origin(tmp_path: Path) -> Repository:
    repository = Repository(tmp_path / "origin")
    repository.commit("first", app__main="one", other="x")
    return repository


@pytest.fixture
def mirrors(tmp_path: Path) -> Iterator[Mirrors]:
    opened = Mirrors(tmp_path / "mirrors")
    yield opened
    opened.close()


@pytest.fixture
def commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], list[str]]:
    """The git commands that this process started since the last call."""
    trace = tmp_path / "trace"
    monkeypatch.setenv("GIT_TRACE2_EVENT", str(trace))

    def taken() -> list[str]:
        events = [json.loads(line) for line in trace.read_text().splitlines()] if trace.exists() else []
        trace.unlink(missing_ok=True)
        # a process that git itself started carries its parent's id before a slash
        return [event["name"] for event in events if event["event"] == "cmd_name" and "/" not in event["sid"]]

    return taken


def fetched(mirrors: Mirrors, repository: Repository) -> RemoteRefs:
    refs = mirrors.poll(repository.address)
    mirrors.update(repository.address, refs)
    return refs


def snapshot(folder: Path) -> dict[str, str]:
    """Everything in a folder: relative path, and the mode and what is in it."""
    found = {}
    for path in sorted(folder.rglob("*")):
        if path.is_symlink():
            found[str(path.relative_to(folder))] = f"-> {path.readlink()}"
        elif path.is_file():
            executable = "x" if os.access(path, os.X_OK) and path.stat().st_mode & 0o100 else "-"
            found[str(path.relative_to(folder))] = f"{executable} {path.read_text()}"
        elif not any(path.iterdir()):
            found[str(path.relative_to(folder))] = "empty"
    return found


# poll and update


def test_a_poll_is_one_command_and_writes_nothing(
    origin: Repository, tmp_path: Path, commands: Callable[[], list[str]]
) -> None:
    commit = origin.commit("second")
    origin.git("tag", "--annotate", "v1.0.0", "--message", "release")
    origin.git("update-ref", "refs/pull/1/head", commit)
    commands()
    refs = Mirrors(tmp_path / "mirrors").poll(origin.address)
    assert commands() == ["ls-remote"]
    assert refs == RemoteRefs({"refs/heads/main": commit, "refs/tags/v1.0.0": commit}, "refs/heads/main")
    assert not (tmp_path / "mirrors").exists()


def test_an_update_fetches_only_when_a_ref_moved(
    origin: Repository, mirrors: Mirrors, tmp_path: Path, commands: Callable[[], list[str]]
) -> None:
    refs = mirrors.poll(origin.address)
    assert mirrors.update(origin.address, refs) is True
    commands()
    assert mirrors.update(origin.address, refs) is False
    assert commands() == []
    assert Mirrors(tmp_path / "mirrors").update(origin.address, refs) is False
    assert commands() == ["show-ref"]
    origin.git("branch", "gone")
    fetched(mirrors, origin)
    origin.git("branch", "--delete", "gone")
    origin.git("branch", "gone/deeper")
    refs = mirrors.poll(origin.address)
    commands()
    assert mirrors.update(origin.address, refs) is True
    assert commands() == ["fetch"]
    with pytest.raises(RevisionNotFound):
        mirrors.revisions.resolve(origin.address, "gone", None)
    assert mirrors.revisions.resolve(origin.address, "gone/deeper", None).ref == "refs/heads/gone/deeper"


def test_an_empty_repository_has_no_refs_and_says_so(mirrors: Mirrors, tmp_path: Path) -> None:
    empty = Repository(tmp_path / "empty")
    assert fetched(mirrors, empty).refs == {}
    with pytest.raises(RevisionNotFound) as caught:
        mirrors.revisions.resolve(empty.address, "main", None)
    assert "no branch yet" in str(caught.value.hint)


def test_a_sha256_repository_is_mirrored(mirrors: Mirrors, tmp_path: Path) -> None:
    repository = Repository(tmp_path / "long", "--object-format=sha256")
    commit = repository.commit(a="1")
    assert len(commit) == 64
    refs = fetched(mirrors, repository)
    assert mirrors.revisions.resolve(repository.address, "main", refs).commit == commit
    assert mirrors.files.tree(repository.address, commit) == repository.git("rev-parse", "HEAD^{tree}")


def test_concurrent_callers_clone_once_and_none_meets_half_a_mirror(origin: Repository, tmp_path: Path) -> None:
    refs = Mirrors(tmp_path / "mirrors").poll(origin.address)

    def call(_: int) -> bool:
        own = Mirrors(tmp_path / "mirrors")
        done = own.update(origin.address, refs)
        own.files.tree(origin.address, refs.refs["refs/heads/main"], "app")
        return done

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(call, range(16))) == 1


def test_several_repositories_are_polled_at_once(tmp_path: Path, mirrors: Mirrors) -> None:
    repositories = [Repository(tmp_path / f"r{number}") for number in range(4)]
    commits = [repository.commit(repository.address) for repository in repositories]
    with ThreadPoolExecutor(4) as pool:
        refs = list(pool.map(functools.partial(fetched, mirrors), repositories))
    assert [answer.refs["refs/heads/main"] for answer in refs] == commits


@pytest.mark.parametrize("damage", ["truncated", "removed", "no HEAD", "stale lock", "garbage refs"])
def test_a_broken_mirror_is_cloned_anew(origin: Repository, mirrors: Mirrors, tmp_path: Path, damage: str) -> None:
    fetched(mirrors, origin)
    mirror = tmp_path / "mirrors" / parse_address(origin.address).mirror_name
    if damage in ("truncated", "removed"):
        for pack in mirror.glob("objects/pack/*.pack"):
            pack.chmod(0o600)
            pack.write_bytes(pack.read_bytes()[:40]) if damage == "truncated" else pack.unlink()
    elif damage == "no HEAD":
        (mirror / "HEAD").unlink()
    elif damage == "stale lock":
        (mirror / "refs/heads/main.lock").touch()
    else:
        (mirror / "refs/heads/main").write_text("\0" * 41)
    commit = origin.commit("later", new="1")
    other = Mirrors(tmp_path / "mirrors")
    refs = other.poll(origin.address)
    assert other.update(origin.address, refs) is True
    assert other.revisions.resolve(origin.address, "main", None).commit == commit
    assert other.files.entries(origin.address, commit)
    assert not [path for path in (tmp_path / "mirrors").iterdir() if path.name.startswith(".tmp")]


def test_damage_found_while_reading_is_healed_at_once(origin: Repository, mirrors: Mirrors, tmp_path: Path) -> None:
    refs = fetched(mirrors, origin)
    main = refs.refs["refs/heads/main"]
    break_packs(tmp_path)
    assert mirrors.files.tree(origin.address, main, "app")
    # again and again it would be fetched for nothing: something else is wrong on this host
    break_packs(tmp_path)
    mirrors.files._objects.clear()
    with pytest.raises(
        RepositoryUnreachable, match="is damaged .* although it was fetched anew a moment ago"
    ) as caught:
        mirrors.files.tree(origin.address, main, "app")
    assert caught.value.hint
    other = Mirrors(tmp_path / "mirrors")
    assert other.files.tree(origin.address, main, "app")


def test_a_damaged_mirror_that_cannot_be_fetched_anew_stays_where_it_is(
    origin: Repository, mirrors: Mirrors, tmp_path: Path
) -> None:
    refs = fetched(mirrors, origin)
    break_packs(tmp_path)
    before = sorted((tmp_path / "mirrors").rglob("*"))
    origin.path.rename(origin.path.with_suffix(".away"))
    with pytest.raises(RepositoryUnreachable, match="is damaged .* and cannot be fetched anew: ") as caught:
        mirrors.files.tree(origin.address, refs.refs["refs/heads/main"])
    assert "check the address" in (caught.value.hint or "")
    assert sorted((tmp_path / "mirrors").rglob("*")) == before


def test_what_a_mirror_has_lost_is_never_taken_for_what_is_not_in_a_commit(
    origin: Repository, mirrors: Mirrors, tmp_path: Path
) -> None:
    """The commit is there, in the second pack, and the folder that it did not touch was in the first."""
    fetched(mirrors, origin)
    (first,) = (tmp_path / "mirrors").glob("*.git/objects/pack/*.pack")
    origin.commit("later", new="1")
    refs = fetched(mirrors, origin)
    main = refs.refs["refs/heads/main"]
    kept = Mirrors(tmp_path / "mirrors")
    tree = kept.files.tree(origin.address, main, "app")
    for ending in (".pack", ".idx", ".rev"):
        first.with_suffix(ending).unlink(missing_ok=True)
    other = Mirrors(tmp_path / "mirrors")
    assert other.update(origin.address, refs) is False
    assert other.files.tree(origin.address, main, "app") == tree
    with pytest.raises(StageFailed, match="has no folder 'nothing'"):
        other.files.tree(origin.address, main, "nothing")


@pytest.mark.parametrize("config", ["[core]\n\trepositoryformatversion = 7\n", "[core\n", "\0\0\0", ""])
def test_a_mirror_whose_settings_were_changed_is_used_or_fetched_anew(
    origin: Repository, mirrors: Mirrors, tmp_path: Path, config: str
) -> None:
    fetched(mirrors, origin)
    (mirror,) = (tmp_path / "mirrors").glob("*.git")
    (mirror / "config").write_text(config)
    commit = origin.commit("later", new="1")
    other = Mirrors(tmp_path / "mirrors")
    refs = fetched(other, origin)
    assert refs.refs["refs/heads/main"] == commit
    assert other.files.entries(origin.address, commit)


def test_what_a_git_that_was_killed_left_behind_goes_with_the_next_fetch(
    origin: Repository, mirrors: Mirrors, tmp_path: Path
) -> None:
    fetched(mirrors, origin)
    (mirror,) = (tmp_path / "mirrors").glob("*.git")
    identity = mirror.stat().st_ino
    remains = ["packed-refs.lock", "HEAD.lock", "config.lock", "refs/heads/main.lock", "objects/pack/tmp_pack_abcdef"]
    for name in remains:
        (mirror / name).write_text("0" * 40)
    commit = origin.commit("later", new="1")
    assert fetched(Mirrors(tmp_path / "mirrors"), origin).refs["refs/heads/main"] == commit
    assert not [name for name in remains if (mirror / name).exists()]
    assert mirror.stat().st_ino == identity, "it was cloned anew for a lock of nobody's"


def test_a_server_that_sends_without_end_is_cut_off_and_leaves_nothing(
    origin: Repository, mirrors: Mirrors, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    refs = fetched(mirrors, origin)
    monkeypatch.setattr(git_mirror, "FETCH_BYTES", 20_000)
    origin.commit("large", noise=random.Random(1).randbytes(50_000).hex())
    with pytest.raises(RepositoryUnreachable) as caught:
        fetched(mirrors, origin)
    assert "sent a pack of more than 19.5 KiB, which is not taken" in str(caught.value)
    assert "count-objects" in (caught.value.hint or "")
    assert mirrors.revisions.resolve(origin.address, "main", None).commit == refs.refs["refs/heads/main"]
    assert not list((tmp_path / "mirrors").rglob("tmp_*"))


def test_an_answer_without_any_branch_is_not_believed_of_a_repository_that_had_some(
    origin: Repository, mirrors: Mirrors
) -> None:
    refs = fetched(mirrors, origin)
    shutil.rmtree(origin.path)
    empty = Repository(origin.path)
    with pytest.raises(RepositoryUnreachable, match="no branch and no tag any more, which is not believed") as caught:
        mirrors.poll(empty.address)
    assert caught.value.hint
    assert mirrors.revisions.resolve(origin.address, "main", None).commit == refs.refs["refs/heads/main"]


def break_packs(folder: Path) -> None:
    for pack in (folder / "mirrors").glob("*.git/objects/pack/*.pack"):
        pack.chmod(0o600)
        pack.write_bytes(pack.read_bytes()[:40])


def test_a_server_that_is_gone_leaves_the_mirror_usable(origin: Repository, mirrors: Mirrors) -> None:
    refs = fetched(mirrors, origin)
    shutil.rmtree(origin.path)
    with pytest.raises(RepositoryUnreachable):
        mirrors.update(origin.address, RemoteRefs({"refs/heads/main": "0" * 40}, None))
    assert mirrors.revisions.resolve(origin.address, "main", None).commit == refs.refs["refs/heads/main"]


def test_many_fetches_do_not_pile_up_packs(
    origin: Repository, mirrors: Mirrors, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("reconciler.host.git_mirror.PACKS_BEFORE_REPACK", 3)
    first = fetched(mirrors, origin).refs["refs/heads/main"]
    for number in range(5):
        origin.git("commit", "--amend", "--allow-empty", "--quiet", "--message", str(number))
        origin.commit(f"more {number}", other=str(number))
        fetched(mirrors, origin)
    assert len(list((tmp_path / "mirrors").glob("*.git/objects/pack/*.pack"))) <= 4
    # an app may still run what no branch reaches any more
    assert mirrors.revisions.subject(origin.address, first) == "first"


# resolve


def test_branches_tags_commits_and_ranges_resolve_from_a_poll_and_from_the_mirror(
    origin: Repository, mirrors: Mirrors
) -> None:
    first = origin.git("rev-parse", "HEAD")
    origin.git("tag", "--annotate", "v1.2.0", "--message", "release")
    second = origin.commit("second")
    refs = fetched(mirrors, origin)
    for known in (refs, None):
        assert mirrors.revisions.resolve(origin.address, "main", known) == Resolved(second, "refs/heads/main")
        assert mirrors.revisions.resolve(origin.address, "v1.2.0", known) == Resolved(first, "refs/tags/v1.2.0")
        assert mirrors.revisions.resolve(origin.address, "^1.1", known) == Resolved(first, "refs/tags/v1.2.0")
        assert mirrors.revisions.resolve(origin.address, first, known) == Resolved(first, None)
        assert mirrors.revisions.resolve(origin.address, first[:7], known) == Resolved(first, None)


def test_a_revision_that_is_not_there_is_named_with_what_is_near(origin: Repository, mirrors: Mirrors) -> None:
    for branch in ("release", "develop", "a", "b", "c", "d"):
        origin.git("branch", branch)
    origin.git("tag", "v2.0.0")
    refs = fetched(mirrors, origin)
    with pytest.raises(RevisionNotFound, match="'relaese'") as caught:
        mirrors.revisions.resolve(origin.address, "relaese", refs)
    assert origin.address in str(caught.value)
    assert "such as release" in str(caught.value.hint)
    for missing in ("0" * 40, "0000000", "abc"):
        with pytest.raises(RevisionNotFound):
            mirrors.revisions.resolve(origin.address, missing, refs)
    with pytest.raises(RevisionNotFound, match="matches '\\^3'") as caught:
        mirrors.revisions.resolve(origin.address, "^3", refs)
    assert "v2.0.0" in str(caught.value.hint)
    with pytest.raises(RevisionNotFound, match="not a version range"):
        mirrors.revisions.resolve(origin.address, "^x", refs)


@pytest.mark.parametrize("revision", ["--upload-pack=touch x", "-x", "", "a\nb"])
def test_a_revision_that_could_be_an_option_is_refused(origin: Repository, mirrors: Mirrors, revision: str) -> None:
    with pytest.raises(RepositoryRefused):
        mirrors.revisions.resolve(origin.address, revision, RemoteRefs({}, None))


# reading


def test_a_thousand_trees_cost_one_process(
    origin: Repository, mirrors: Mirrors, commands: Callable[[], list[str]]
) -> None:
    commit = fetched(mirrors, origin).refs["refs/heads/main"]
    commands()
    wanted = [(commit, f"app{number}") for number in range(999)] + [
        (commit, "app"),
        (commit, "./app/"),
        (commit, "other"),
    ]
    found = mirrors.files.trees(origin.address, wanted)
    # for what is missing it is looked once whether the mirror has all of the commit
    assert commands() == ["cat-file", "cat-file", "rev-list"]
    assert mirrors.files.trees(origin.address, wanted) == found
    assert commands() == ["cat-file"]
    assert found[commit, "app"] == found[commit, "./app/"] == origin.git("rev-parse", "HEAD:app")
    assert found[commit, "app7"] is None
    assert found[commit, "other"] is None


def test_only_a_change_in_the_folder_changes_its_tree(origin: Repository, mirrors: Mirrors) -> None:
    first = origin.git("rev-parse", "HEAD")
    second = origin.commit("elsewhere", other="y")
    third = origin.commit("here", app__main="two")
    fetched(mirrors, origin)
    trees = [mirrors.files.tree(origin.address, commit, "app") for commit in (first, second, third)]
    assert trees[0] == trees[1] != trees[2]


def test_a_folder_or_commit_that_is_not_there_is_said(origin: Repository, mirrors: Mirrors) -> None:
    commit = fetched(mirrors, origin).refs["refs/heads/main"]
    for directory in ("nope", "other", "app/main", "a\nb"):
        with pytest.raises(StageFailed, match="has no folder"):
            mirrors.files.tree(origin.address, commit, directory)
    with pytest.raises(RevisionNotFound, match="has no commit"):
        mirrors.files.tree(origin.address, "0" * 40, "app")
    with pytest.raises(RepositoryRefused):
        mirrors.files.tree(origin.address, "--all", "app")
    with pytest.raises(RepositoryUnreachable, match="not been fetched"):
        mirrors.files.tree("/nowhere/at/all", commit)


def test_entries_and_blobs_are_read_whatever_their_names(origin: Repository, mirrors: Mirrors) -> None:
    (origin.path / "app" / 'ü\n"x" y').write_bytes(b"\0\n\xff" * 1000)
    (origin.path / "app" / "link").symlink_to("main")
    commit = origin.commit("names")
    fetched(mirrors, origin)
    entries = {entry.path: entry for entry in mirrors.files.entries(origin.address, commit, "app")}
    assert set(entries) == {"main", "link", 'ü\n"x" y'}
    assert (entries["link"].mode, entries["main"].mode) == ("120000", "100644")
    top = mirrors.files.entries(origin.address, commit, recursive=False)
    assert [(entry.path, entry.kind) for entry in top] == [("app", "tree"), ("other", "blob")]
    ids = [entry.object_id for entry in entries.values()]
    blobs = mirrors.files.blobs(origin.address, [*ids, *ids], limit_bytes=3000)
    assert blobs[entries['ü\n"x" y'].object_id] == b"\0\n\xff" * 1000
    assert blobs[entries["main"].object_id] == b"one"
    assert mirrors.files.blobs(origin.address, [], limit_bytes=1) == {}
    with pytest.raises(StageFailed, match="has 3000 bytes, 2999 are allowed"):
        mirrors.files.blobs(origin.address, ids, limit_bytes=2999)
    with pytest.raises(StageFailed, match="no file"):
        mirrors.files.blobs(origin.address, [commit], limit_bytes=2999)


def test_the_folders_of_many_apps_are_listed_by_one_process_and_never_again(
    origin: Repository, mirrors: Mirrors, commands: Callable[[], list[str]]
) -> None:
    for number in range(20):
        (origin.path / f"app{number}" / "below").mkdir(parents=True)
        (origin.path / f"app{number}" / "below" / "file").write_text("x")
        (origin.path / f"app{number}" / f'ü\n"{number}" y').write_text(f"{number}")
    (origin.path / "app0" / "run").symlink_to("below/file")
    (origin.path / "app0" / "below.sh").write_text("")
    (origin.path / "app0" / "below.sh").chmod(0o755)
    commit = origin.commit("many")
    fetched(mirrors, origin)
    commands()
    folders = [(commit, f"app{number}") for number in range(20)]
    trees = mirrors.files.trees(origin.address, folders)
    listings = [mirrors.files.listing(origin.address, trees[folder] or "") for folder in folders]
    assert commands() == ["cat-file", "cat-file"]
    assert mirrors.files.trees(origin.address, folders) == trees
    assert mirrors.files.listing(origin.address, trees[folders[7]] or "") == listings[7]
    assert commands() == []
    for (_, folder), listing in zip(folders, listings, strict=True):
        entries = mirrors.files.entries(origin.address, commit, folder, recursive=False)
        assert tuple(listing.values()) == entries
        assert tuple(listing) == tuple(entry.path for entry in entries)
    with pytest.raises(RepositoryUnreachable, match="is damaged"):
        mirrors.files.listing(origin.address, "0" * 40)


def test_a_force_push_is_seen_and_what_it_dropped_is_named(origin: Repository, mirrors: Mirrors) -> None:
    first = origin.git("rev-parse", "HEAD")
    dropped = origin.commit("dropped \x1b[31m" + "x" * 200)
    fetched(mirrors, origin)
    origin.git("reset", "--quiet", "--hard", first)
    new = origin.commit("instead")
    fetched(mirrors, origin)
    assert mirrors.revisions.is_ancestor(origin.address, first, new)
    assert not mirrors.revisions.is_ancestor(origin.address, dropped, new)
    assert not mirrors.revisions.is_ancestor(origin.address, "0" * 40, new)
    (line,) = mirrors.revisions.vanished(origin.address, dropped, new)
    assert line.startswith(f"{dropped[:7]} dropped ?[31mxxx")
    assert len(line) == 100
    assert mirrors.revisions.vanished(origin.address, first, new) == ()
    assert mirrors.revisions.vanished(origin.address, "0" * 40, new) == ()
    assert mirrors.revisions.subject(origin.address, new) == "instead"
    with pytest.raises(RevisionNotFound):
        mirrors.revisions.subject(origin.address, "0" * 40)


# checkout


def test_a_checkout_has_the_folder_with_modes_and_links_and_nothing_of_git(
    origin: Repository, mirrors: Mirrors, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (origin.path / "app" / "run").write_text("#!/bin/sh\n")
    (origin.path / "app" / "run").chmod(0o755)
    (origin.path / "app" / "shadow").symlink_to("/etc/shadow")
    commit = origin.commit("files", app__deep__er="3")
    fetched(mirrors, origin)
    # nothing is put where an agent that is killed would leave it for ever
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "missing"))
    mirrors.checkout(origin.address, commit, "app", tmp_path / "out", submodules=True, lfs=True)
    assert snapshot(tmp_path / "out") == {
        "deep/er": "- 3",
        "main": "- one",
        "run": "x #!/bin/sh\n",
        "shadow": "-> /etc/shadow",
    }
    with pytest.raises(StageFailed, match="not empty"):
        mirrors.checkout(origin.address, commit, "app", tmp_path / "out", submodules=False, lfs=False)


def test_neither_filters_nor_hooks_nor_variables_of_the_user_have_a_say(
    origin: Repository, mirrors: Mirrors, tmp_path: Path, own_configuration: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hooks = tmp_path / "hooks"
    hooks.mkdir()
    for name in ("post-checkout", "reference-transaction", "fsmonitor"):
        (hooks / name).write_text(f"#!/bin/sh\ntouch {tmp_path}/ran\n")
        (hooks / name).chmod(0o755)
    commit = origin.commit("filtered", **{".gitattributes": "* filter=bad\n"})
    with own_configuration.open("a") as file:
        file.write(
            f"[core]\nhooksPath = {hooks}\nfsmonitor = {hooks}/fsmonitor\n"
            f'[filter "bad"]\nsmudge = touch {tmp_path}/ran\n'
        )
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "wrong"))
    monkeypatch.setenv("GIT_INDEX_FILE", str(tmp_path / "wrong-index"))
    monkeypatch.setenv("GIT_WORK_TREE", str(tmp_path))
    monkeypatch.setenv("GIT_OBJECT_DIRECTORY", str(tmp_path / "wrong-objects"))
    mirrors.update(origin.address, mirrors.poll(origin.address))
    mirrors.checkout(origin.address, commit, "app", tmp_path / "out", submodules=False, lfs=False)
    assert snapshot(tmp_path / "out") == {"main": "- one"}
    assert not (tmp_path / "ran").exists()
    assert not list(tmp_path.glob("wrong*"))


def submodule(parent: Repository, url: str, path: str, commit: str) -> str:
    """Add a submodule without fetching it, as an attacker could."""
    with (parent.path / ".gitmodules").open("a") as file:
        file.write(f'[submodule "{path}"]\n\tpath = {path}\n\turl = {url}\n')
    parent.git("add", ".gitmodules")
    parent.git("update-index", "--add", "--cacheinfo", f"160000,{commit},{path}")
    parent.git("commit", "--quiet", "--message", "submodule")
    return parent.git("rev-parse", "HEAD")


def test_submodules_are_placed_where_asked_relative_addresses_and_nested_ones_too(
    origin: Repository, mirrors: Mirrors, tmp_path: Path
) -> None:
    inner = Repository(tmp_path / "inner")
    inner_commit = inner.commit(leaf="leaf")
    library = Repository(tmp_path / "library")
    library.commit(code="code")
    library_commit = submodule(library, "../inner", "vendor/inner", inner_commit)
    commit = submodule(origin, f"file://{library.path}", "app/library", library_commit)
    fetched(mirrors, origin)
    assert mirrors.files.submodules(origin.address, commit, "app") == {"library": library_commit}
    mirrors.checkout(origin.address, commit, "app", tmp_path / "out", submodules=True, lfs=False)
    placed = snapshot(tmp_path / "out")
    assert placed.pop("library/.gitmodules")
    assert placed == {"library/code": "- code", "library/vendor/inner/leaf": "- leaf", "main": "- one"}
    mirrors.checkout(origin.address, commit, "app", tmp_path / "without", submodules=False, lfs=False)
    assert snapshot(tmp_path / "without") == {"library": "empty", "main": "- one"}
    assert not list((tmp_path / "out").rglob(".git"))


@pytest.mark.parametrize(
    "url", ["ext::sh -c touch% ran", "http://example.com/x", "--upload-pack=x", "../../../../../../.."]
)
def test_a_submodule_with_another_transport_is_refused(
    origin: Repository, mirrors: Mirrors, tmp_path: Path, url: str
) -> None:
    commit = submodule(origin, f'"{url}"', "app/bad", "1" * 40)
    with pytest.raises(RepositoryRefused):
        fetched(mirrors, origin)
        mirrors.checkout(origin.address, commit, ".", tmp_path / "out", submodules=True, lfs=False)


def test_submodules_that_cannot_be_followed_are_named(origin: Repository, mirrors: Mirrors, tmp_path: Path) -> None:
    library = Repository(tmp_path / "library")
    library.commit(code="code")
    commit = submodule(origin, "../library", "app/pinned", "1" * 40)
    fetched(mirrors, origin)
    with pytest.raises(RevisionNotFound, match=r"'app/pinned' is at 1111111, which .*/library does not have"):
        mirrors.checkout(origin.address, commit, "app", tmp_path / "one", submodules=True, lfs=False)
    (origin.path / ".gitmodules").write_text("")
    commit = origin.commit("no .gitmodules")
    origin.git("update-index", "--add", "--cacheinfo", f"160000,{'1' * 40},app/pinned")
    origin.git("commit", "--quiet", "--allow-empty", "--message", "gitlink")
    commit = origin.git("rev-parse", "HEAD")
    fetched(mirrors, origin)
    with pytest.raises(StageFailed, match=r"'app/pinned' without path and url"):
        mirrors.checkout(origin.address, commit, ".", tmp_path / "two", submodules=True, lfs=False)


def test_submodules_nested_too_deep_end_in_an_error(mirrors: Mirrors, tmp_path: Path) -> None:
    below = Repository(tmp_path / "r0")
    commit = below.commit(leaf="0")
    for number in range(1, 7):
        parent = Repository(tmp_path / f"r{number}")
        commit = submodule(parent, f"../r{number - 1}", "m", commit)
        below = parent
    fetched(mirrors, below)
    with pytest.raises(StageFailed, match="nested deeper than 5"):
        mirrors.checkout(below.address, commit, ".", tmp_path / "out", submodules=True, lfs=False)


def test_a_gitmodules_file_that_cannot_be_read_costs_no_mirror(
    origin: Repository, mirrors: Mirrors, tmp_path: Path
) -> None:
    submodule(origin, "../library", "app/x", "1" * 40)
    (origin.path / ".gitmodules").write_text("[broken")
    origin.git("add", ".gitmodules")
    origin.git("commit", "--quiet", "--message", "broken")
    commit = origin.git("rev-parse", "HEAD")
    fetched(mirrors, origin)
    with pytest.raises(StageFailed, match="is not in git's format of settings"):
        mirrors.checkout(origin.address, commit, ".", tmp_path / "out", submodules=True, lfs=False)
    assert list((tmp_path / "mirrors").glob("*.git"))


def test_old_mistakes_are_tolerated_and_paths_that_git_refuses_are_not(
    origin: Repository, mirrors: Mirrors, tmp_path: Path
) -> None:
    tree = origin.git("rev-parse", "HEAD^{tree}")
    old = f"tree {tree}\nauthor A <a@example.com> 1 +51800\ncommitter A<a@example.com> 1 +51800\n\nold\n"
    (tmp_path / "old").write_text(old)
    commit = origin.git("hash-object", "-w", "-t", "commit", "--literally", str(tmp_path / "old"))
    origin.git("update-ref", "refs/heads/old", commit)
    blob = origin.git("rev-parse", "HEAD:other")
    making = subprocess.run(
        ["git", "mktree"],
        cwd=origin.path,
        input=f"100644 blob {blob}\t.git\n",
        text=True,
        capture_output=True,
        check=True,
        timeout=60,
    )
    fetched(mirrors, origin)
    mirrors.checkout(origin.address, commit, "app", tmp_path / "out", submodules=False, lfs=False)
    assert snapshot(tmp_path / "out") == {"main": "- one"}
    bad = origin.git("commit-tree", "-m", "bad", making.stdout.strip())
    origin.git("update-ref", "refs/heads/bad", bad)
    with pytest.raises(RepositoryRefused, match=r"contains '\.git'"):
        fetched(mirrors, origin)


# large files


def with_large_file(repository: Repository) -> str:
    repository.git("lfs", "install", "--local")
    repository.git("lfs", "track", "*.bin")
    (repository.path / "app" / "big.bin").write_bytes(b"big" * 5000)
    (repository.path / "app" / "big.bin").chmod(0o755)
    return repository.commit("large")


@needs_lfs
def test_large_files_are_put_where_their_pointers_are(origin: Repository, mirrors: Mirrors, tmp_path: Path) -> None:
    commit = with_large_file(origin)
    fetched(mirrors, origin)
    for number in range(2):
        mirrors.checkout(origin.address, commit, "app", tmp_path / f"out{number}", submodules=False, lfs=True)
        assert (tmp_path / f"out{number}" / "big.bin").read_bytes() == b"big" * 5000
        assert (tmp_path / f"out{number}" / "big.bin").stat().st_mode & 0o777 == 0o755
        # the second one needs no server
        shutil.rmtree(origin.path, ignore_errors=True)
    mirrors.checkout(origin.address, commit, "app", tmp_path / "pointer", submodules=False, lfs=False)
    assert (tmp_path / "pointer" / "big.bin").read_text().startswith("version https://git-lfs")


@needs_lfs
def test_a_large_file_that_is_missing_or_damaged_is_named(
    origin: Repository, mirrors: Mirrors, tmp_path: Path
) -> None:
    commit = with_large_file(origin)
    fetched(mirrors, origin)
    shutil.move(origin.path / ".git/lfs/objects", tmp_path / "kept")
    with pytest.raises(StageFailed, match=r"LFS object of big\.bin.*missing") as caught:
        mirrors.checkout(origin.address, commit, "app", tmp_path / "one", submodules=False, lfs=True)
    assert "git lfs push" in str(caught.value.hint)
    # git-lfs makes the folder anew when it looks for the object
    shutil.rmtree(origin.path / ".git/lfs/objects", ignore_errors=True)
    shutil.move(tmp_path / "kept", origin.path / ".git/lfs/objects")
    mirrors.checkout(origin.address, commit, "app", tmp_path / "two", submodules=False, lfs=True)
    for stored in (tmp_path / "mirrors").glob("*.git/lfs/objects/*/*/*"):
        # not in place, for git-lfs may have linked it to the origin's own
        stored.unlink()
        stored.write_bytes(b"BIG" * 5000)
    with pytest.raises(StageFailed, match=r"big\.bin is damaged"):
        mirrors.checkout(origin.address, commit, "app", tmp_path / "three", submodules=False, lfs=True)
    # what was damaged is gone, and fetched again
    mirrors.checkout(origin.address, commit, "app", tmp_path / "four", submodules=False, lfs=True)
    assert (tmp_path / "four" / "big.bin").read_bytes() == b"big" * 5000


def test_without_git_lfs_the_error_says_how_to_get_it(
    origin: Repository, mirrors: Mirrors, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pointer = f"version https://git-lfs.github.com/spec/v1\noid sha256:{'a' * 64}\nsize 5\n"
    commit = origin.commit("pointer", app__big=pointer)
    fetched(mirrors, origin)
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "git").symlink_to(str(shutil.which("git")))
    monkeypatch.setenv("PATH", str(programs))
    with pytest.raises(StageFailed, match="git-lfs is not on this host") as caught:
        mirrors.checkout(origin.address, commit, "app", tmp_path / "out", submodules=False, lfs=True)
    assert caught.value.hint == "apt-get install git-lfs"


@needs_lfs
def test_an_lfs_server_on_another_transport_is_refused(origin: Repository, mirrors: Mirrors, tmp_path: Path) -> None:
    pointer = f"version https://git-lfs.github.com/spec/v1\noid sha256:{'a' * 64}\nsize 5\n"
    commit = origin.commit("pointer", app__big=pointer, **{".lfsconfig": "[lfs]\nurl = http://example.com/lfs\n"})
    fetched(mirrors, origin)
    with pytest.raises(RepositoryRefused):
        mirrors.checkout(origin.address, commit, "app", tmp_path / "out", submodules=False, lfs=True)


# addresses and servers


@pytest.mark.parametrize(
    "address",
    [
        "",
        ".",
        "-x",
        "relative/path",
        "../x",
        "/",
        "http://example.com/x.git",
        "git://example.com/x.git",
        "ext::sh -c touch% x",
        "ext::https://example.com/x",
        "file://example.com/x",
        "https://",
        "https:///x",
        "https://example.com:99999/x",
        "ssh://-oProxyCommand=x/y",
        "ssh://git@-oProxyCommand=x/y",
        "ssh://git:password@example.com/y",
        "-oProxyCommand=x@host:y",
        "git@-host:y",
        "git@example.com:-x",
        "https://example.com/a\nb",
        "https://example.com/a b",
    ],
)
def test_addresses_other_than_https_ssh_and_file_are_refused(address: str, mirrors: Mirrors) -> None:
    with pytest.raises(RepositoryRefused):
        mirrors.poll(address)


@pytest.mark.parametrize(
    ("parent", "url", "address"),
    [
        ("https://example.com/team/app.git", "../lib.git", "https://example.com/team/lib.git"),
        ("https://ann:pw@example.com/team/app.git/", "../../x", "https://ann:pw@example.com/x"),
        ("git@example.com:team/app.git", "../lib.git", "git@example.com:team/lib.git"),
        ("git@example.com:/team/app.git", "./lib", "git@example.com:/team/app.git/lib"),
        ("ssh://git@example.com:22/app", "../lib", "ssh://git@example.com:22/lib"),
        ("/srv/app", "../lib", "/srv/lib"),
        ("file:///srv/app", "../lib", "file:///srv/lib"),
        ("https://example.com/app", "ssh://git@example.com/lib", "ssh://git@example.com/lib"),
    ],
)
def test_a_submodule_address_is_relative_to_its_parent(parent: str, url: str, address: str) -> None:
    assert submodule_address(parent, url) == address


@pytest.mark.parametrize("url", ["/srv/private.git", "file:///srv/private.git"])
def test_a_repository_from_the_network_cannot_name_a_path_of_this_host(url: str) -> None:
    with pytest.raises(RepositoryRefused, match="path on this host"):
        submodule_address("https://example.com/app.git", url)


def test_credentials_are_masked_and_do_not_name_the_mirror() -> None:
    assert masked("fatal: https://ann:p@ss@example.com/x and ssh://a:b@h/y") == (
        "fatal: https://***@example.com/x and ssh://***@h/y"
    )
    assert masked("ssh://git@example.com/x git@example.com:x") == "ssh://git@example.com/x git@example.com:x"
    one, other = (parse_address(f"https://ann:{word}@example.com/x") for word in ("one", "two"))
    assert one.mirror_name == other.mirror_name
    assert "one" not in one.url + one.shown


@pytest.mark.parametrize(
    ("address", "line", "hint"),
    [
        ("/nowhere/x.git", "does not appear to be a git repository", "check the address"),
        ("https://ann:sesame@127.0.0.1:1/x.git", "onnect", "check the server"),
        ("ssh://git@127.0.0.1:1/x.git", "Connection refused", "check the server"),
    ],
)
def test_an_unreachable_repository_is_said_with_a_hint_and_without_a_password(
    mirrors: Mirrors, address: str, line: str, hint: str
) -> None:
    with pytest.raises(RepositoryUnreachable, match=line) as caught:
        mirrors.poll(address)
    assert hint in str(caught.value.hint)
    assert masked(address) in str(caught.value)
    assert "sesame" not in repr(caught.value) + str(caught.value.__cause__)


def fake_ssh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> Path:
    program = tmp_path / "fake-ssh"
    program.write_text(f'#!/bin/sh\necho "$@" >> {tmp_path}/ssh-arguments\n{script}\n')
    program.chmod(0o755)
    monkeypatch.setenv("GIT_SSH_COMMAND", str(program))
    monkeypatch.setenv("GIT_SSH_VARIANT", "ssh")
    return tmp_path / "ssh-arguments"


def test_ssh_is_never_interactive(
    origin: Repository, mirrors: Mirrors, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = fake_ssh(tmp_path, monkeypatch, 'for last; do :; done; eval "$last"')
    for address in (f"git@example.com:{origin.path}", f"ssh://git@example.com{origin.path}"):
        refs = mirrors.poll(address)
        assert mirrors.update(address, refs)
        assert mirrors.revisions.resolve(address, "main", None).commit == refs.refs["refs/heads/main"]
    assert "-o BatchMode=yes -o ConnectTimeout=15" in arguments.read_text()


@pytest.mark.parametrize(
    ("message", "hint"),
    [
        ("Host key verification failed.", "known_hosts"),
        ("git@example.com: Permission denied (publickey).", "ssh key"),
        ("ssh: Could not resolve hostname example.com: Name or service not known", "network"),
        ("ERROR: Repository not found.", "check the address"),
        ("fatal: detected dubious ownership in repository at '/srv/x'", "safe.directory"),
    ],
)
def test_the_hint_fits_the_cause(
    mirrors: Mirrors, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, message: str, hint: str
) -> None:
    fake_ssh(tmp_path, monkeypatch, f'echo "{message}" >&2; exit 255')
    with pytest.raises(RepositoryUnreachable) as caught:
        mirrors.poll("git@example.com:x.git")
    assert hint in str(caught.value.hint)
    assert message.removeprefix("ERROR: ").removeprefix("fatal: ") in str(caught.value)


def test_a_server_that_hangs_is_given_up_and_its_processes_end(
    mirrors: Mirrors, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_ssh(tmp_path, monkeypatch, f"echo $$ > {tmp_path}/pid; sleep 600")
    started = time.monotonic()
    with pytest.raises(RepositoryUnreachable, match=r"did not answer within 0\.5 s"):
        mirrors.poll("git@example.com:x.git", timeout=0.5)
    assert time.monotonic() - started < 10
    process = Path("/proc", (tmp_path / "pid").read_text().strip())
    deadline = time.monotonic() + 5
    while process.exists() and " Z " not in (process / "stat").read_text():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_an_address_that_the_users_configuration_rewrites_to_a_program_is_stopped(
    mirrors: Mirrors, tmp_path: Path, own_configuration: Path
) -> None:
    with own_configuration.open("a") as file:
        file.write(f'[url "ext::touch {tmp_path}/ran "]\ninsteadOf = https://example.com/\n')
    with pytest.raises(RepositoryUnreachable):
        mirrors.poll("https://example.com/x.git")
    assert not (tmp_path / "ran").exists()


class _Protected(http.server.SimpleHTTPRequestHandler):
    """Serves files to who knows the password."""

    def do_GET(self) -> None:
        expected = "Basic " + base64.b64encode(b"ann:se/same").decode()
        if self.headers.get("Authorization") == expected:
            super().do_GET()
            return
        self.send_response(401)
        self.send_header("WWW-Authenticate", "Basic realm=x")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *arguments: object) -> None:
        pass


@pytest.fixture
def https_server(origin: Repository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """``127.0.0.1:PORT`` of a server with TLS and a password that serves ``origin`` as ``/x.git``."""
    if shutil.which("openssl") is None:
        pytest.skip("openssl, which makes the server's certificate, is not installed")
    origin.git("clone", "--quiet", "--bare", origin.address, str(tmp_path / "www" / "x.git"))
    subprocess.run(["git", "update-server-info"], cwd=tmp_path / "www" / "x.git", check=True, timeout=60)
    certificate, key = tmp_path / "certificate.pem", tmp_path / "key.pem"
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    command += ["-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1", "-days", "2"]
    command += ["-keyout", str(key), "-out", str(certificate)]
    subprocess.run(command, check=True, capture_output=True, timeout=60)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    server = http.server.ThreadingHTTPServer(
        ("127.0.0.1", 0), functools.partial(_Protected, directory=str(tmp_path / "www"))
    )
    server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    monkeypatch.setenv("GIT_SSL_CAINFO", str(certificate))
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    yield f"127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_https_works_with_a_password_that_no_list_of_processes_and_no_error_shows(
    https_server: str, mirrors: Mirrors, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trace = tmp_path / "everything"
    monkeypatch.setenv("GIT_TRACE2_EVENT", str(trace))
    address = f"https://ann:se%2Fsame@{https_server}/x.git"
    refs = mirrors.poll(address)
    assert mirrors.update(address, refs)
    assert mirrors.files.entries(address, refs.refs["refs/heads/main"])
    shown = trace.read_text() + "".join(
        path.read_text() for path in (tmp_path / "mirrors").rglob("config") if path.is_file()
    )
    assert "remote-https" in shown
    assert "same" not in shown
    with pytest.raises(RepositoryUnreachable) as caught:
        mirrors.poll(f"https://ann:wrong@{https_server}/x.git")
    assert "credential helper" in str(caught.value.hint)
    assert "wrong" not in str(caught.value)
    monkeypatch.delenv("GIT_SSL_CAINFO")
    with pytest.raises(RepositoryUnreachable) as caught:
        mirrors.poll(address)
    assert "certificate" in str(caught.value.hint)


# a long-lived agent


def test_no_process_and_no_open_file_is_left_behind(origin: Repository, mirrors: Mirrors, tmp_path: Path) -> None:
    def children() -> str:
        return "".join(task.read_text() for task in Path("/proc/self/task").glob("*/children"))

    def open_files() -> int:
        return len(list(Path("/proc/self/fd").iterdir()))

    commit = fetched(mirrors, origin).refs["refs/heads/main"]
    files, processes = open_files(), children()
    for number in range(10):
        origin.commit(str(number))
        fetched(mirrors, origin)
        mirrors.files.tree(origin.address, commit, "app")
        mirrors.checkout(origin.address, commit, ".", tmp_path / f"out{number}", submodules=True, lfs=True)
        with pytest.raises(RepositoryUnreachable):
            mirrors.poll("/nowhere/x")
        with pytest.raises(RevisionNotFound):
            mirrors.revisions.resolve(origin.address, "nope", None)
    mirrors.close()
    assert open_files() == files
    assert children() == processes


def test_importing_the_module_does_not_import_gitpython() -> None:
    code = "import sys, reconciler.host.git; sys.exit('git' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_a_host_without_git_says_so(tmp_path: Path) -> None:
    code = """
import sys
from pathlib import Path
from reconciler.host.git import Mirrors
from reconciler.model.errors import HostError
try:
    Mirrors(Path(sys.argv[1])).poll("/x")
except HostError as error:
    print(error)
"""
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)],
        env={**os.environ, "PATH": str(tmp_path)},
        check=True,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.stdout == "git is not on this host\n"
