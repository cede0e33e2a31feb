"""Proves that a manifest with anything wrong in it holds its own app alone: it serves on, the others are deployed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from breaking import Breakage, Town, blog, plain, prove_side_by_side, show
from reconciler.model.plan import Outcome
from world import World, manifest, of, wsgi_app

BILLION_LAUGHS = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{name}: &{name} [{', '.join([f'*{before}'] * 9)}]\n"
    for before, name in zip("abcdefgh", "bcdefghi", strict=True)
)


def _manifest(says: str, **spec: object) -> Breakage:
    return Breakage(lambda name: {f"manifests/{name}.yaml": plain(name, **spec)}, says)


def _text(says: str, text: Callable[[str], str]) -> Breakage:
    return Breakage(lambda name: {f"manifests/{name}.yaml": text(name)}, says)


BAD_MANIFESTS = {
    "not-yaml": _text(r"^manifests/not-yaml\.yaml:2: this is not YAML", lambda name: "spec: [unclosed\n  - {"),
    "not-text": _text(r"^manifests/not-text\.yaml:1: .*U\+0000", lambda name: "\x00\x01\x02"),
    "a-list": _text(
        r"^manifests/a-list\.yaml:1: expected a manifest, .* found a list", lambda name: "- one\n- two\n"
    ),
    "ten-megabytes": _text(
        r"^manifests/ten-megabytes\.yaml: the file has 10,\d{3},\d{3} bytes, and 1,048,576 are",
        lambda name: plain(name) + "# " + "x" * 10_000_000,
    ),
    "anchors": _text(
        r"^manifests/anchors\.yaml:\d+: .*more than 20,000 values", lambda name: BILLION_LAUGHS + plain(name)
    ),
    "unknown-key": _text(
        r"spec\.uswgi: unknown key; did you mean uwsgi\?", lambda name: plain(name).replace("uwsgi:", "uswgi:")
    ),
    "climbing-name": _text(
        r"metadata\.name: '\.\./\.\./etc' is not a name",
        lambda name: plain(name).replace(f"name: {name}", "name: ../../etc"),
    ),
    "semicolon": _manifest(r"serverNames\[0\]: 'a; return 200' is not", nginx={"serverNames": ["a; return 200"]}),
    "newline": _manifest(r"serverNames\[0\]: 'a\\nb' is not", nginx={"serverNames": ["a\nb"]}),
    "option": _manifest(r"revision: '--upload-pack=x' is not a branch", source={"revision": "--upload-pack=x"}),
    "ext": _manifest(r"only https, ssh and file", source={"repository": "ext::sh -c touch% pwned"}),
    "climbing-folder": _manifest(r"source\.directory: '\.\./\.\.' must be", source={"directory": "../.."}),
    "static-urls": _manifest(
        r"static\[1\]\.url: '/s/' is already served",
        static=[{"source": "a", "url": "/s/"}, {"source": "b", "url": "/s/"}],
    ),
    "own-option": _manifest(r"uwsgi-socket.*: this option cannot be set", uwsgi={"options": {"uwsgi-socket": "/x"}}),
    "pypy": _manifest(
        r"uWSGI runs PyPy only with a compiler", build={"python": {"implementation": "pypy", "version": "3.10"}}
    ),
    "wrong-type": _manifest(r"uwsgi\.processes: expected a whole number, found", uwsgi={"processes": "two"}),
}


@pytest.mark.long
def test_each_bad_manifest_holds_its_own_app(world: World) -> None:
    result = prove_side_by_side(world, BAD_MANIFESTS)
    assert all("reconciler validate" in (of(result, name).error.hint or "") for name in BAD_MANIFESTS)


def test_every_mistake_of_every_manifest_is_told_at_once(town: Town) -> None:
    bad = blog(retain="many", uwsgi={"processes": 0}, nginx={"serverNames": ["a b"]})
    failed = town.break_blog({"manifests/blog.yaml": bad}, says="spec.retain")
    assert len(failed.error.problems) == 3
    assert {problem.file for problem in failed.error.problems} == {"manifests/blog.yaml"}


def test_a_second_app_of_the_same_name_holds_both(town: Town) -> None:
    town.break_blog(
        {"manifests/copy.yaml": blog()}, says=r"the app blog is also described in manifests/copy\.yaml:\d"
    )


def test_two_apps_with_one_server_name_hold_each_other_and_nobody_else(town: Town) -> None:
    rival = manifest("rival", source={"directory": "apps/other"}, nginx={"serverNames": ["blog.example.com"]})
    town.break_blog(
        {"manifests/rival.yaml": rival},
        says=r"serverNames\[0\]: the app rival \(manifests/rival\.yaml:\d+\) claims the server name blog\.example",
    )


def test_one_server_name_on_two_ports_meets_where_one_port_serves_all(town: Town) -> None:
    rival = manifest(
        "rival", source={"directory": "apps/other"}, nginx={"serverNames": ["blog.example.com"], "listen": 8443}
    )
    town.break_blog({"manifests/rival.yaml": rival}, says=r"blog\.example\.com on port \d+ too")


def test_an_app_that_is_renamed_takes_over_the_server_name(town: Town) -> None:
    renamed = manifest("notes", source={"directory": "apps/blog"}, nginx={"serverNames": ["blog.example.com"]})
    town.world.commit({"manifests/blog.yaml": None, "manifests/notes.yaml": renamed})
    result = town.world.once()
    show(result)
    assert not result.failed
    assert of(result, "notes").outcome is Outcome.CHANGED
    assert town.pages()[0].startswith("blog ")


def test_a_file_that_cannot_be_read_at_all_removes_nothing(town: Town) -> None:
    """What is in it is unknown: an app that is gone elsewhere may be the one."""
    pages = town.pages()
    town.world.commit({"manifests/blog.yaml": None, "manifests/all.yaml": "{[\n"})
    result = town.world.once()
    show(result)
    assert result.failed
    waiting = of(result, "blog")
    assert waiting.outcome is Outcome.WAITING
    assert "manifests/all.yaml" in (waiting.note or "")
    assert town.pages() == pages
    assert of(result, "other").outcome is Outcome.UNCHANGED


def test_a_bad_manifest_of_an_app_that_never_ran_is_an_error_of_its_own(town: Town) -> None:
    town.world.commit({"manifests/new.yaml": manifest("new", retain=-1), "apps/other/wsgi.py": wsgi_app("moved on")})
    result = town.world.once()
    show(result)
    assert "spec.retain" in str(of(result, "new").error)
    assert town.pages()[1] == "moved on"


def test_a_folder_of_manifests_that_is_gone_removes_nothing(town: Town) -> None:
    pages = town.pages()
    town.world.commit({"manifests/blog.yaml": None, "manifests/other.yaml": None, "README.md": "moved to deploy/"})
    result = town.world.once()
    show(result)
    assert result.error is not None
    assert "manifests" in str(result.error)
    assert "repository.path" in (result.error.hint or "")
    assert town.pages() == pages


def test_nothing_of_a_bad_manifest_is_run(town: Town, tmp_path: Path) -> None:
    proof = tmp_path / "pwned"
    bad = blog(source={"repository": f"ext::sh -c touch% {proof}", "revision": f"--upload-pack=touch {proof}"})
    town.break_blog({"manifests/blog.yaml": bad}, says="only https, ssh and file")
    assert not proof.exists()
