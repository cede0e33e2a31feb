"""Proves that open pages find the fingerprinted files of the last releases, until these are dropped."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from reconciler.host import templates
from reconciler.host.layout import Layout
from reconciler.host.old_assets import keep_assets, prune_assets
from reconciler.model.plan import Outcome
from reconciler.stages import nginx
from serving import serving
from world import World, of, ran, wsgi_app

STATIC: Mapping[str, Any] = {
    "source": "static", "url": "/static/", "fingerprint": True, "minify": False, "precompress": ["gzip"],
}  # fmt: skip
IMMUTABLE = "public, max-age=31536000, immutable"
HOST = "blog.example.com"


def css(colour: str) -> str:
    return f"body {{ color: {colour} }}\n" + "/* long enough to be worth compressing */\n" * 100


def add_blog(world: World, colour: str, **static: object) -> None:
    files = {"static/site.css": css(colour)}
    world.add_app("blog", colour, files=files, static=[{**STATIC, **static}], retain=1)


def second_name(world: World, url: str = "/static/") -> str:
    return str(json.loads(world.text(HOST, f"{url}assets-manifest.json"))["files"]["site.css"])


def deploy(world: World, colour: str) -> str:
    """Deploy a stylesheet of this colour; returns its fingerprinted name."""
    world.commit({"apps/blog/static/site.css": css(colour), "apps/blog/wsgi.py": wsgi_app(colour)})
    result = of(world.once(), "blog")
    assert result.outcome is Outcome.CHANGED, result.error
    # constant paths: a release alone never makes nginx read its settings again
    assert "nginx" not in ran(result)
    return second_name(world)


@pytest.mark.parametrize("url", ["/static/", "/a.b/c/", "/"])
def test_old_names_are_answered_as_long_as_their_release_is_kept(world: World, url: str) -> None:
    add_blog(world, "red", url=url)
    assert of(world.once(), "blog").error is None
    first = second_name(world, url)
    world.commit({"apps/blog/static/site.css": css("green")})
    world.once()
    second = second_name(world, url)
    assert first != second

    assert world.text(HOST, f"{url}site.css") == css("green")
    assert world.text(HOST, url + second) == css("green")
    for headers in ({"Accept-Encoding": "identity"}, {"Accept-Encoding": "gzip"}):
        answer = world.get(url + first, HOST, **headers)
        assert (answer.status_code, answer.text) == (200, css("red"))
        assert answer.headers["Cache-Control"] == IMMUTABLE
        assert answer.headers["Content-Type"] == "text/css; charset=utf-8"
        assert answer.headers.get("Content-Encoding", "identity") == headers["Accept-Encoding"]

    world.commit({"apps/blog/static/site.css": css("blue")})
    world.once()
    gone = world.get(url + first, HOST)
    # at the root the app itself answers for what is no file
    assert (gone.status_code, "red" in gone.text) == ((200, True) if url == "/" else (404, False))
    assert "text/css" not in gone.headers["Content-Type"]
    assert world.text(HOST, url + second) == css("green")


def test_going_back_has_the_names_of_both_releases(world: World) -> None:
    add_blog(world, "red")
    world.once()
    first = second_name(world)
    second = deploy(world, "green")
    assert deploy(world, "red") == first
    assert world.text(HOST, f"/static/{second}") == css("green")
    assert world.text(HOST, f"/static/{first}") == css("red")


def test_plain_names_and_other_apps_are_not_answered_from_old_releases(world: World) -> None:
    add_blog(world, "red")
    world.commit({"apps/blog/static/only.css": css("black")})
    world.add_app("shop", "shop", files={"static/site.css": css("white")}, static=[dict(STATIC)])
    world.once()
    first = second_name(world)
    world.commit({"apps/blog/static/only.css": None, "apps/blog/static/site.css": css("green")})
    world.once()
    assert world.get("/static/only.css", HOST).status_code == 404
    assert world.get(f"/static/{first}", HOST).status_code == 200
    assert world.get(f"/static/{first}", "shop.example.com").status_code == 404
    (shop,) = (path for path in (world.root / "assets" / "shop").iterdir() if path.suffix == ".css")
    for way in ("..%2fshop/", "../shop/", "%2e%2e/%2e%2e/shop/"):
        assert "white" not in world.text(HOST, f"/static/{way}{shop.name}")


def test_a_removed_app_leaves_none_behind(world: World) -> None:
    add_blog(world, "red")
    world.add_app("shop", "shop")
    world.once()
    assert (world.root / "assets" / "blog").is_dir()
    world.commit({"manifests/blog.yaml": None})
    world.once()
    assert not (world.root / "assets" / "blog").exists()


def test_an_upgrade_from_a_version_without_old_assets_moves_nothing(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    shipped = templates.default_template

    def earlier(name: str) -> str:
        lines = shipped(name).splitlines(keepends=True)
        return "".join(line for line in lines if "error_page" not in line)

    add_blog(world, "red")
    with monkeypatch.context() as before:
        before.setattr(nginx, "default_template", earlier)
        world.once()
    site = (world.root / "nginx" / "sites" / "blog.conf").read_text()
    assert "error_page" not in site
    assert of(world.plan(), "blog").outcome is Outcome.UNCHANGED
    assert of(world.once(), "blog").outcome is Outcome.UNCHANGED
    assert (world.root / "nginx" / "sites" / "blog.conf").read_text() == site


def test_twins_are_served_by_an_nginx_that_can() -> None:
    encodings = dict.fromkeys(["gzip_static", "brotli_static", "zstd_static"], False)
    folder = {"url": "/static/", "alias": "/a/static/0/", "fingerprint": True, **encodings}
    with serving() as served:
        site = served.site("a", static=[folder], features=["gzip", "gzip_static", "zstd_static"])["a.conf"]
    old = site.partition("location @old_assets0 {")[2].partition("    }\n")[0]
    assert "gzip_static on;" in old
    assert "zstd_static on;" in old
    assert "brotli_static" not in old


def output_with(folder: Path, names: Mapping[str, str]) -> Path:
    """A static output whose files have these fingerprinted names."""
    home = folder / "0"
    for name in names.values():
        (home / name).parent.mkdir(parents=True, exist_ok=True)
        (home / name).write_text(name)
        (home / f"{name}.br").write_text(f"{name} compressed")
    (home / "assets-manifest.json").write_text(json.dumps({"version": 1, "files": names}))
    return folder


ONE = {"css/a.css": "css/a.0123456789ab.css", "b.js": "b.0123456789ab.js"}
TWO = {"css/a.css": "css/a.ba9876543210.css", "b.js": "b.0123456789ab.js"}


@pytest.mark.parametrize("links", [True, False], ids=["links", "a file system without links"])
def test_files_are_kept_and_pruned_with_their_twins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, links: bool
) -> None:
    if not links:

        def refuse(*_: object, **__: object) -> None:
            raise OSError(95, "Operation not supported")

        monkeypatch.setattr(os, "link", refuse)
    layout = Layout(tmp_path)
    one, two = output_with(tmp_path / "one", ONE), output_with(tmp_path / "two", TWO)
    assert keep_assets(layout, "blog", one) == 4
    assert keep_assets(layout, "blog", two) == 2
    home = layout.old_assets("blog")
    assert (home / "css/a.0123456789ab.css.br").read_text() == "css/a.0123456789ab.css compressed"
    assert prune_assets(layout, "blog", [two]) == 2
    assert sorted(str(path.relative_to(home)) for path in home.rglob("*") if path.is_file()) == [
        "b.0123456789ab.js", "b.0123456789ab.js.br", "css/a.ba9876543210.css", "css/a.ba9876543210.css.br",
    ]  # fmt: skip
    assert prune_assets(layout, "blog", []) == 4
    assert not home.exists()


@pytest.mark.parametrize(
    "content",
    ["no JSON", "[]", '{"files": []}', '{"files": {"a": 1}}', '{"files": {"a": "../x.0123456789ab.css"}}',
     '{"files": {"a": "/etc/x.0123456789ab.css"}}', '{"files": {"a": "secret.txt"}}'],
)  # fmt: skip
def test_a_file_of_the_app_that_looks_like_the_list_leads_nowhere(tmp_path: Path, content: str) -> None:
    output = tmp_path / "one"
    (output / "0").mkdir(parents=True)
    (output / "0" / "secret.txt").write_text("secret")
    (output / "0" / "assets-manifest.json").write_text(content)
    assert keep_assets(Layout(tmp_path), "blog", output) == 0
