"""Proves that a folder of static files becomes a safe, small, repeatable folder for nginx, or a clear error."""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import re
import shutil
import socket
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from importlib import metadata
from pathlib import Path

import brotli
import pytest
import zstandard

from reconciler.host.assets import MANIFEST_NAME, AssetReport, collecting, minifying, process, tool_versions
from reconciler.host.assets.references import references
from reconciler.model.errors import StageFailed
from reconciler.model.manifest import Encoding, StaticFolder

PLAIN = StaticFolder(source="static", url="/static/", minify=False, precompress=())
MINIFIED = replace(PLAIN, minify=True)
FINGERPRINTED = replace(PLAIN, fingerprint=True)
EVERYTHING = replace(MINIFIED, fingerprint=True, precompress=tuple(Encoding))
RULES = "".join(f".card-{n} {{ margin: 0px 0px {n}px 0px; color: #ff0000; }}\n" for n in range(200))


@pytest.fixture
def root() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "static").mkdir()
        yield Path(folder)


def write(folder: Path, files: Mapping[str, str | bytes]) -> None:
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)


def run(root: Path, settings: StaticFolder, name: str = "out") -> tuple[AssetReport, Path]:
    out = root / name
    out.mkdir()
    return process(root / "static", out, settings), out


def failure(root: Path, settings: StaticFolder = PLAIN) -> StageFailed:
    with pytest.raises(StageFailed) as caught:
        run(root, settings)
    assert caught.value.hint
    return caught.value


def tree(folder: Path) -> dict[str, tuple[int, bytes]]:
    """Mode and content of everything by name; folders have no content."""
    return {
        str(path.relative_to(folder)): (
            stat.S_IMODE(path.lstat().st_mode),
            b"" if path.is_dir() else path.read_bytes(),
        )
        for path in sorted(folder.rglob("*"))
    }


def manifest(out: Path) -> dict[str, str]:
    content = json.loads((out / MANIFEST_NAME).read_text())
    assert content["version"] == 1
    files: dict[str, str] = content["files"]
    return files


class TestCollecting:
    def test_copies_every_name_and_byte_with_plain_modes(self, root: Path) -> None:
        files: dict[str, str | bytes] = {
            "a b/ü ñ.txt": "x",
            "日本.bin": bytes(range(256)),
            "-rf": "y",
            ".well-known/z": "",
            "deep/er/est": "1",
        }
        write(root / "static", files)
        (root / "static/-rf").chmod(0o4755)
        write(Path(os.fsdecode(os.fsencode(root / "static"))), {os.fsdecode(b"latin-\xe9.txt"): "z"})
        report, out = run(root, PLAIN)
        assert report == AssetReport(files=6, bytes_in=260, bytes_out=260, bundles=0, fingerprinted=0, compressed=0)
        assert (out / "日本.bin").read_bytes() == bytes(range(256))
        assert (out / "a b/ü ñ.txt").read_text() == "x"
        for path in [out, *out.rglob("*")]:
            assert stat.S_IMODE(path.stat().st_mode) == (0o755 if path.is_dir() else 0o644), path

    def test_modes_do_not_depend_on_the_umask(self, root: Path) -> None:
        write(root / "static", {"a/b.css": RULES})
        before = os.umask(0o077)
        try:
            _, out = run(root, EVERYTHING)
        finally:
            os.umask(before)
        assert {mode for mode, content in tree(out).values() if content} == {0o644}
        assert stat.S_IMODE((out / "a").stat().st_mode) == 0o755

    def test_an_empty_folder_is_an_empty_output(self, root: Path) -> None:
        report, out = run(root, replace(EVERYTHING, fingerprint=False))
        assert report == AssetReport(0, 0, 0, 0, 0, 0)
        assert list(out.iterdir()) == []

    def test_a_missing_folder_is_named_with_a_way_out(self, root: Path) -> None:
        (root / "static").rmdir()
        error = failure(root)
        assert str(error) == "the static folder static is not there"
        assert error.hint is not None and "static.command" in error.hint

    def test_a_file_in_place_of_the_folder_is_an_error(self, root: Path) -> None:
        (root / "static").rmdir()
        (root / "static").write_text("x")
        assert "is not a folder" in str(failure(root))

    def test_repositories_are_never_served(self, root: Path) -> None:
        write(root / "static", {"sub/.git/config": "secret", ".git": "gitdir: x", ".gitignore": "x", "a.txt": "a"})
        _, out = run(root, PLAIN)
        assert {path.name for path in out.rglob("*")} == {"a.txt", ".gitignore", "sub"}

    def test_a_link_does_not_bring_a_repository_back(self, root: Path) -> None:
        write(root / "static", {".git/config": "secret"})
        (root / "static/history").symlink_to(".git")
        assert "never served" in str(failure(root))


class TestLinks:
    def test_a_link_that_stays_inside_becomes_a_plain_file_or_folder(self, root: Path) -> None:
        write(root / "static", {"real/a.txt": "a", "real/sub/b.txt": "b"})
        (root / "static/file.txt").symlink_to("real/a.txt")
        (root / "static/folder").symlink_to(root / "static/real")
        (root / "static/real/sub/up.txt").symlink_to("../a.txt")
        (root / "static/chain").symlink_to("file.txt")
        report, out = run(root, PLAIN)
        assert (out / "folder/sub/up.txt").read_text() == "a"
        assert (out / "chain").read_text() == (out / "file.txt").read_text() == "a"
        assert not any(path.is_symlink() for path in out.rglob("*"))
        assert report.files == 8

    @pytest.mark.parametrize(
        "target", ["/etc/shadow", "/etc", "../../../../../../../etc/shadow", "../../secret", "/"]
    )
    def test_a_link_that_leads_out_is_refused_and_nothing_of_it_is_copied(self, root: Path, target: str) -> None:
        (root / "secret").write_text("secret")
        write(root / "static", {"img/a.txt": "a"})
        (root / "static/img/x").symlink_to(target)
        error = failure(root)
        place = os.path.realpath(root / "static/img/x")
        assert str(error) == f"static/img/x is a link that leads out of the folder, to {place}"
        assert not (root / "out/img/x").exists()

    def test_a_folder_with_the_same_beginning_is_outside(self, root: Path) -> None:
        write(root, {"static-private/a": "secret"})
        (root / "static/x").symlink_to("../static-private/a")
        assert "leads out of the folder" in str(failure(root))

    @pytest.mark.parametrize("target", ["nowhere", "loop"])
    def test_a_link_that_leads_nowhere_is_named(self, root: Path, target: str) -> None:
        (root / "static/loop").symlink_to(target)
        assert "static/loop" in str(failure(root))

    @pytest.mark.parametrize("target", [".", "..", "../b"])
    def test_a_circle_of_folders_ends(self, root: Path, target: str) -> None:
        write(root / "static", {"a/x": "", "b/y": ""})
        (root / "static/a/again").symlink_to(target)
        (root / "static/b/back").symlink_to("../a")
        assert "is a link to a folder that it lies in" in str(failure(root))

    def test_links_that_multiply_end_at_the_limit(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(collecting, "FILES_LIMIT", 500)
        for n in range(20):
            write(root / "static", {f"{n}/x": ""})
            (root / f"static/{n}/left").symlink_to(f"../{n + 1}")
            (root / f"static/{n}/right").symlink_to(f"../{n + 1}")
        write(root / "static", {"20/x": ""})
        assert "more than 500 files" in str(failure(root))

    def test_the_folder_itself_may_not_lead_out_of_the_app(self, root: Path) -> None:
        (root / "static").rmdir()
        (root / "static").symlink_to("/etc")
        assert str(failure(root)) == "the static folder static is a link that leads out of the app, to /etc"

    def test_the_folder_itself_may_be_a_link_within_the_app(self, root: Path) -> None:
        (root / "static").rmdir()
        write(root, {"frontend/dist/a.txt": "a"})
        (root / "static").symlink_to("frontend/dist")
        _, out = run(root, PLAIN)
        assert (out / "a.txt").read_text() == "a"

    def test_a_folder_above_may_not_lead_out_of_the_app_either(self, root: Path) -> None:
        write(root, {"elsewhere/static/a": "", "app/x": "", "out/.keep": ""})
        (root / "app/web").symlink_to("../elsewhere")
        with pytest.raises(StageFailed, match="leads out of the app"):
            process(root / "app/web/static", root / "out", PLAIN, inside=root / "app")

    def test_pipes_sockets_and_devices_are_refused_without_waiting_for_them(self, root: Path) -> None:
        os.mkfifo(root / "static/pipe")
        assert str(failure(root)) == "static/pipe is a named pipe"
        (root / "static/pipe").unlink()
        (root / "out").rmdir()
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(str(root / "static/sock"))
            assert str(failure(root)) == "static/sock is a socket"

    def test_a_pipe_behind_a_link_is_refused(self, root: Path) -> None:
        write(root / "static", {"sub/a": ""})
        os.mkfifo(root / "static/sub/pipe")
        (root / "static/link").symlink_to("sub/pipe")
        assert str(failure(root)) == "static/link is a named pipe"

    def test_a_file_that_turns_into_a_link_after_the_check_is_not_followed(
        self, root: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (root / "secret").write_text("secret")
        write(root / "static", {"a.txt": "a"})
        real_check = collecting._Copier._check_kind

        def swap(copier: collecting._Copier, kind: int, name: str) -> None:
            real_check(copier, kind, name)
            (root / "static/a.txt").unlink(missing_ok=True)
            (root / "static/a.txt").symlink_to(root / "secret")

        monkeypatch.setattr(collecting._Copier, "_check_kind", swap)
        assert str(failure(root)) == "static/a.txt changed while it was read"
        assert not (root / "out/a.txt").exists()

    def test_a_folder_that_turns_into_a_link_behind_a_link_is_not_followed(
        self, root: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        write(root, {"private/a.txt": "secret", "static/sub/a.txt": "a"})
        (root / "static/link.txt").symlink_to("sub/a.txt")
        real_path = os.path.realpath

        def swap(path: str) -> str:
            result = real_path(path)
            if str(path).endswith("link.txt"):
                shutil.rmtree(root / "static/sub")
                (root / "static/sub").symlink_to("../private")
            return result

        monkeypatch.setattr(os.path, "realpath", swap)
        assert str(failure(root)) == "static/link.txt changed while it was read"

    def test_names_cannot_break_out_of_the_error(self, root: Path) -> None:
        (root / "static/a\n\x1b[31m").symlink_to("/etc/shadow")
        assert "static/a\\n\\x1b[31m is a link" in str(failure(root))


class TestLimits:
    def test_too_many_bytes(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(collecting, "TOTAL_BYTES", 1000)
        write(root / "static", {"a": "x" * 600, "b": "x" * 600})
        assert "has more than" in str(failure(root))

    def test_too_deep(self, root: Path) -> None:
        write(root / "static", {"d/" * 120 + "a": ""})
        assert f"deeper than {collecting.FOLDER_DEPTH} folders" in str(failure(root))

    def test_a_file_too_large_to_minify_is_copied_as_it_is(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(minifying, "MINIFY_BYTES", 100)
        write(root / "static", {"big.css": "a {  color: red  }\n" * 10, "small.css": "a {  color: red  }\n"})
        _, out = run(root, MINIFIED)
        assert (out / "big.css").read_text() == "a {  color: red  }\n" * 10
        assert (out / "small.css").read_text() == "a{color:red}"

    def test_a_name_too_long_for_its_digest_is_an_error_of_the_app(self, root: Path) -> None:
        write(root / "static", {"x" * 250 + ".css": "a{}"})
        with pytest.raises(StageFailed, match="too long"):
            run(root, FINGERPRINTED)


class TestMinifying:
    def test_each_type_gets_smaller(self, root: Path) -> None:
        files = {
            "a.css": RULES,
            "a.js": "function add(first, second) {\n  return first + second;\n}\n",
            "a.html": "<!doctype html>\n<p>\n  text   text\n</p>\n<!-- note -->",
            "a.svg": '<svg xmlns="http://www.w3.org/2000/svg">\n  <!-- x -->\n  <path d="M 10 10 L 20 20"/>\n</svg>',
            "a.json": '{\n  "a": 1.0\n}',
            "a.webmanifest": '{ "name": "x" }',
            "a.xml": '<?xml version="1.0"?><a><!-- x --><b/></a>',
        }
        write(root / "static", files)
        report, out = run(root, MINIFIED)
        for name, content in files.items():
            assert 0 < (out / name).stat().st_size < len(content), name
        assert report.bytes_out < report.bytes_in
        assert (out / "a.json").read_text() == '{"a":1.0}'

    def test_a_javascript_module_stays_one(self, root: Path) -> None:
        text = (
            "import { a as b } from './x.js';\n"
            "export const first = (value) => value?.y ?? `z${value}`;\n"
            "export default class { #count = 1; static async *all() { yield this.#count } }\n"
            "const later = await import('./y.js');\nexport { later as other };\n"
        )
        write(root / "static", {"a.js": text, "b.mjs": text})
        _, out = run(root, MINIFIED)
        for name in ("a.js", "b.mjs"):
            result = (out / name).read_text()
            assert 'import{a as b}from"./x.js"' in result
            assert "export const first=" in result and "export default class" in result
            assert 'import("./y.js")' in result and "as other}" in result
            assert "?.y??" in result

    def test_min_files_are_left_alone(self, root: Path) -> None:
        files = {"a.min.css": "a { *zoom: 1 }", "b.min.js": "let x = ;  // not even valid"}
        write(root / "static", files)
        _, out = run(root, MINIFIED)
        assert {name: (out / name).read_text() for name in files} == files

    @pytest.mark.parametrize(
        ("name", "text", "line"),
        [
            ("css/sïte one.css", "a { color: red }\n\nb { *zoom: 1 }\n", 3),
            ("css/top.css", "a { color: red }\n\n}}\n", 3),
            ("app.js", "var a = 1;\n\nfunction( {", 3),
            ("mod.mjs", "import a from\n\n;", 3),
            ("data.json", '{\n"a" 1}', 2),
            ("index.html", "<html>\n<body>\n<script>\nvar a = ;\n</script>", 4),
        ],
    )
    def test_a_syntax_error_names_file_and_line(self, root: Path, name: str, text: str, line: int) -> None:
        write(root / "static", {name: text, "fine.css": "a { color: red }"})
        error = failure(root, MINIFIED)
        assert str(error).startswith(f"static/{name}:{line}: ")
        assert error.hint is not None and "minify: false" in error.hint

    def test_all_syntax_errors_are_listed(self, root: Path) -> None:
        write(root / "static", {f"{n}.css": "}}" for n in range(3)})
        error = failure(root, MINIFIED)
        assert str(error).startswith("static/0.css:1: ") and str(error).endswith("(and 2 more)")
        assert len(error.tail.splitlines()) == 3

    def test_broken_files_pass_when_nothing_is_minified(self, root: Path) -> None:
        write(root / "static", {"a.css": "}}"})
        _, out = run(root, PLAIN)
        assert (out / "a.css").read_text() == "}}"

    def test_a_stylesheet_that_crashes_the_library_is_named_and_this_process_lives(self, root: Path) -> None:
        write(root / "static", {"bomb.css": "a{" * 100_000, "fine.css": RULES})
        error = failure(root, MINIFIED)
        assert str(error) == "the minifier crashed on static/bomb.css"

    def test_a_file_that_would_grow_or_that_is_not_text_keeps_its_bytes(self, root: Path) -> None:
        files = {"a.js": b"var s='</script>'", "b.css": b"a{content:'\xe9'}  ", "c.css": b"a{color:red", "d.js": b""}
        write(root / "static", files)
        _, out = run(root, MINIFIED)
        assert {name: (out / name).read_bytes() for name in files} == files

    @pytest.mark.parametrize(
        ("name", "before", "after"),
        [
            ("a.js", "#!/usr/bin/env node\nvar a = 1", "#!/usr/bin/env node\nvar a = 1"),
            ("a.css", "@media (min-width: 600px) { a { b: c } }", "@media (min-width:600px){a{b:c}}"),
            ("b.css", "@media (min-width: calc(1px + 2em)) {a{b:c}}", "@media (min-width:calc(1px + 2em)){a{b:c}}"),
            ("c.css", 'a { content: "(x>=1)" }', 'a{content:"(x>=1)"}'),
            ("d.css", '@charset "utf-8"; a { content: "é" }', '@charset "utf-8";a{content:"é"}'),
            ("e.css", "\ufeffa { b: c }", "\ufeffa{b:c}"),
            ("f.js", "x = a !== null && a !== undefined ? a : b", "x=a!=null?a:b"),
            ("g.html", '<input  type="text">', "<input type=text>"),
            (
                "h.svg",
                '<svg><text xml:space="preserve">  a  </text></svg>',
                '<svg><text xml:space="preserve">  a  </text></svg>',
            ),
            (
                "i.css",
                "@media (-webkit-min-device-pixel-ratio: 2){a{b:c}}",
                "@media (-webkit-min-device-pixel-ratio:2){a{b:c}}",
            ),
        ],
    )
    def test_meaning_and_reach_are_kept(self, root: Path, name: str, before: str, after: str) -> None:
        write(root / "static", {name: before})
        _, out = run(root, MINIFIED)
        assert (out / name).read_text() == after

    def test_the_heavy_libraries_stay_out_of_this_process(self, root: Path) -> None:
        write(root / "static", {"a.css": RULES, "a.js": "var  a"})
        (root / "out").mkdir()
        program = (
            "import sys; from pathlib import Path; from reconciler.host.assets import process, tool_versions\n"
            "from reconciler.model.manifest import StaticFolder\n"
            "settings = StaticFolder(source='static', url='/s/'); tool_versions(settings)\n"
            "process(Path(sys.argv[1], 'static'), Path(sys.argv[1], 'out'), settings)\n"
            "print(sorted({'minify', 'lightningcss', 'brotli', 'zstandard'} & sys.modules.keys()))"
        )
        project = Path(__file__).resolve().parents[1]
        command = [sys.executable, "-c", program, str(root)]
        result = subprocess.run(command, cwd=project, capture_output=True, text=True, timeout=60, check=True)
        assert result.stdout == "[]\n"


class TestBundles:
    def test_members_are_joined_in_the_order_of_the_manifest(self, root: Path) -> None:
        write(root / "static", {"a.css": "a { x: 1 }\n", "b.css": "b { x: 2 }\n", "c.css": "c { x: 3 }\n"})
        settings = replace(MINIFIED, bundles={"all/site.css": ("c.css", "a.css", "b.css")})
        report, out = run(root, settings)
        assert (out / "all/site.css").read_text() == "c{x:3}\na{x:1}\nb{x:2}\n"
        assert (report.files, report.bundles) == (3, 1)
        assert (out / "a.css").exists()

    def test_scripts_do_not_run_into_each_other(self, root: Path) -> None:
        write(root / "static", {"a.js": "var a = 1 // note", "b.js": "(function () { a = 2 })()"})
        for number, minify in enumerate((False, True)):
            settings = replace(PLAIN, minify=minify, bundles={"app.js": ("a.js", "b.js")})
            _, out = run(root, settings, f"out{number}")
            assert re.search(r"a ?= ?1[^\n]*\n;\n\(", (out / "app.js").read_text())

    def test_statements_of_the_top_stay_at_the_top(self, root: Path) -> None:
        write(
            root / "static",
            {
                "a.css": '\ufeff@charset "utf-8";\n@layer base, app;\n/* x */ @import "x.css" screen;\na { b: c }\n',
                "b.css": '@charset "utf-8"; /* @import "no"; */@import url(https://example.com/f?w@400;700); b{c:d}',
                "c.css": "@namespace svg url(http://www.w3.org/2000/svg);\n@layer app { c { d: e } }",
            },
        )
        for number, minify in enumerate((False, True)):
            settings = replace(PLAIN, minify=minify, bundles={"site.css": ("a.css", "b.css", "c.css")})
            _, out = run(root, settings, f"out{number}")
            text = (out / "site.css").read_text()
            order = [
                "@layer base,",
                '@import "x.css" screen',
                "https://example.com/f?w@400;700",
                "@namespace svg",
                "@layer app",
            ]
            positions = [text.index(part) for part in order]
            assert positions == sorted(positions), text
            assert text.count("@charset") == (0 if minify else 1)
            assert minify or text.startswith('@charset "utf-8";')

    def test_references_lead_to_the_same_files_from_another_folder(self, root: Path) -> None:
        text = (
            "a{b:url(img/x.png)}c{d:url('../up.png?v#i')}e{f:url(/abs.png)}g{h:url(data:,x)}i{j:url(#frag)}"
            "\n/*# sourceMappingURL=a.css.map */"
        )
        write(root / "static", {"lib v/css/a.css": text})
        _, out = run(root, replace(PLAIN, bundles={"build/site.css": ("lib v/css/a.css",)}))
        assert (out / "build/site.css").read_text() == (
            "a{b:url(../lib%20v/css/img/x.png)}c{d:url('../lib%20v/css/../up.png?v#i')}"
            "e{f:url(/abs.png)}g{h:url(data:,x)}i{j:url(#frag)}\n"
        )

    def test_a_missing_member_is_named_with_the_nearest_file(self, root: Path) -> None:
        write(root / "static", {"css/base.css": ""})
        error = failure(root, replace(PLAIN, bundles={"site.css": ("css/bse.css",)}))
        assert str(error) == "the bundle site.css names css/bse.css, which is not in static"
        assert error.hint == "did you mean css/base.css?"

    def test_a_broken_member_is_named_itself(self, root: Path) -> None:
        write(root / "static", {"a.css": "a{b:c}", "b.css": "\n}}"})
        assert str(failure(root, replace(MINIFIED, bundles={"s.css": ("a.css", "b.css")}))).startswith(
            "static/b.css:2: "
        )

    @pytest.mark.parametrize(
        ("bundles", "message"),
        [
            ({"a.css": ("b.css",)}, "has the name of a file"),
            ({"a.css/x.css": ("b.css",)}, "has the name of a file"),
            ({"sub": ("b.css",)}, "has the name of a file"),
            ({".": ("b.css",)}, "has the name of a file"),
            ({"x.css": ()}, "has no files"),
            ({"x.css": ("b.css", "c.js")}, "is of another type"),
            ({"x.css": ("x.css",)}, "is not in static"),
            ({"x.css": ("b.css",), "x.css/y.css": ("b.css",)}, "cannot be processed"),
        ],
    )
    def test_impossible_bundles_are_refused(
        self, root: Path, bundles: dict[str, tuple[str, ...]], message: str
    ) -> None:
        write(root / "static", {"a.css": "a{}", "b.css": "b{}", "c.js": "1", "sub/x": ""})
        assert message in str(failure(root, replace(PLAIN, bundles=bundles)))


class TestFingerprints:
    def test_every_file_gets_a_second_name_from_its_content(self, root: Path) -> None:
        write(root / "static", {"app.js": "1", "img/a b.ü.png": b"\x89PNG", "LICENSE": "x", ".hidden": "y"})
        report, out = run(root, FINGERPRINTED)
        names = manifest(out)
        digest = hashlib.sha256(b"1").hexdigest()[:12]
        assert names["app.js"] == f"app.{digest}.js"
        assert re.fullmatch(r"img/a b\.ü\.[0-9a-f]{12}\.png", names["img/a b.ü.png"])
        assert re.fullmatch(r"LICENSE\.[0-9a-f]{12}", names["LICENSE"])
        assert report.fingerprinted == 4
        for plain, second in names.items():
            assert (out / plain).read_bytes() == (out / second).read_bytes()

    def test_a_change_of_an_image_travels_up_the_chain_of_stylesheets(self, root: Path) -> None:
        files = {
            "site.css": '@import "css/theme.css";',
            "css/theme.css": "@import url('./parts/button.css?x=1');",
            "css/parts/button.css": "a { background: url(../../img/logo%20a.png#i) }",
            "img/logo a.png": "one",
            "other.css": "b { c: d }",
        }
        write(root / "static", files)
        _, first = run(root, FINGERPRINTED, "first")
        before = manifest(first)
        assert Path(before["css/theme.css"]).name in (first / before["site.css"]).read_text()
        assert (
            f"./parts/{Path(before['css/parts/button.css']).name}?x=1"
            in (first / before["css/theme.css"]).read_text()
        )
        assert (
            f"logo%20a.{before['img/logo a.png'].split('.')[1]}.png#i"
            in (first / before["css/parts/button.css"]).read_text()
        )
        assert (first / "site.css").read_text() == (first / before["site.css"]).read_text()
        write(root / "static", {"img/logo a.png": "two"})
        _, second = run(root, FINGERPRINTED, "second")
        after = manifest(second)
        assert {name for name in files if before[name] != after[name]} == set(files) - {"other.css"}

    def test_every_way_to_refer_is_found_and_nothing_else(self, root: Path) -> None:
        kept = (
            'a{content:"x.png"}/* url(x.png) */b{c:url(data:image/png;base64,x.png)}d{e:url(https://example.com/x.png)}'
            "f{g:url(gone.png)}h{i:url(../x.png)}j{k:url(/other/x.png)}l{m:my-url(x.png)}n{o:url(#x.png)}"
        )
        found = (
            "a{b:url(x.png)}a{b:URL( \"x.png\" )}a{b:url('x.png?q#f')}a{b:url(./sub/../x.png)}a{b:url(/static/x.png)}"
            'a{b:image-set("x.png" 1x type("x.png"), url(x.png) 2x)}a{b:url(\\78.png)}a{b:url(x%2epng)}'
            "/*# sourceMappingURL=x.png */"
        )
        write(root / "static", {"x.png": "x", "kept.css": kept, "found.css": found})
        _, out = run(root, FINGERPRINTED)
        second = manifest(out)["x.png"]
        digest = second.split(".")[1]
        assert (out / "kept.css").read_text() == kept
        result = (out / "found.css").read_text()
        assert result.count(digest) == 10
        assert 'type("x.png")' in result
        assert f"url(\\78.{digest}.png)" in result and f"url({second})" in result

    def test_stylesheets_in_a_circle_name_each_other_plainly(self, root: Path) -> None:
        files = {
            "a.css": '@import "b.css"; a{b:url(x.png)}',
            "b.css": '@import "a.css";',
            "self.css": '@import "self.css";',
            "top.css": '@import "a.css"; @import "leaf.css";',
            "leaf.css": "a{b:url(x.png)}",
            "x.png": "x",
        }
        write(root / "static", files)
        _, out = run(root, FINGERPRINTED)
        names = manifest(out)
        assert set(names) == set(files)
        assert (out / "a.css").read_text() == f'@import "b.css"; a{{b:url({names["x.png"]})}}'
        assert (out / "b.css").read_text() == '@import "a.css";'
        assert (out / "self.css").read_text() == '@import "self.css";'
        assert (out / "top.css").read_text() == f'@import "a.css"; @import "{names["leaf.css"]}";'

    def test_bundles_are_fingerprinted_too(self, root: Path) -> None:
        write(root / "static", {"css/a.css": "a { b: url(x.png) }", "css/x.png": "x"})
        _, out = run(root, replace(FINGERPRINTED, minify=True, bundles={"site.css": ("css/a.css",)}))
        names = manifest(out)
        assert (out / names["site.css"]).read_text() == f"a{{b:url({names['css/x.png']})}}\n"

    @pytest.mark.parametrize("name", [MANIFEST_NAME, f"a.{hashlib.sha256(b'a').hexdigest()[:12]}.txt"])
    def test_a_taken_name_is_an_error(self, root: Path, name: str) -> None:
        write(root / "static", {"a.txt": "a", name: "app's own"})
        assert name in str(failure(root, FINGERPRINTED))

    def test_an_app_may_ship_its_own_manifest_json(self, root: Path) -> None:
        write(root / "static", {"manifest.json": "{}", MANIFEST_NAME: "{}"})
        _, out = run(root, PLAIN)
        assert (out / MANIFEST_NAME).read_text() == "{}"

    def test_scanning_a_hostile_stylesheet_takes_linear_time(self) -> None:
        hostile = ["url(" * 50_000, "a" * 500_000, '"' * 300_001, "/*" * 200_000, "@import " * 60_000, "(" * 300_000]
        hostile += [
            "url(" + " " * 300_000,
            "\\" * 300_000,
            "image-set(" * 50_000,
            "'\\\n" * 100_000,
            "url('a" * 50_000,
        ]
        for text in hostile:
            started = time.perf_counter()
            list(references(text))
            assert time.perf_counter() - started < 5, text[:20]


class TestPrecompressing:
    def test_every_coding_can_be_undone(self, root: Path) -> None:
        write(root / "static", {"a.css": RULES, "ü b.txt": "text " * 5000, "c.wasm": bytes(5000)})
        report, out = run(root, replace(PLAIN, precompress=tuple(Encoding)))
        assert report.compressed == 9
        for name in ("a.css", "ü b.txt", "c.wasm"):
            plain = (out / name).read_bytes()
            assert gzip.decompress((out / f"{name}.gz").read_bytes()) == plain
            assert brotli.decompress((out / f"{name}.br").read_bytes()) == plain
            assert zstandard.ZstdDecompressor().decompress((out / f"{name}.zst").read_bytes()) == plain
            times = {(out / f"{name}{suffix}").stat().st_mtime for suffix in ("", ".gz", ".br", ".zst")}
            assert len(times) == 1

    def test_only_what_gains_is_compressed(self, root: Path) -> None:
        files: dict[str, str | bytes] = {
            "small.css": "a{b:c}",
            "noise.txt": os.urandom(5000),
            "photo.jpg": bytes(5000),
            "DATA.JSON": "[" * 9000,
        }
        write(root / "static", files)
        _, out = run(root, replace(PLAIN, precompress=(Encoding.GZIP,)))
        assert {path.name for path in out.iterdir()} == {*files, "DATA.JSON.gz"}

    def test_only_the_codings_asked_for_are_made(self, root: Path) -> None:
        write(root / "static", {"a.css": RULES})
        _, out = run(root, replace(PLAIN, precompress=(Encoding.BROTLI,)))
        assert {path.name for path in out.iterdir()} == {"a.css", "a.css.br"}

    def test_fingerprinted_names_have_theirs(self, root: Path) -> None:
        write(root / "static", {"a.css": RULES})
        report, out = run(root, EVERYTHING)
        second = manifest(out)["a.css"]
        for suffix in (".gz", ".br", ".zst"):
            assert (out / (second + suffix)).read_bytes() == (out / ("a.css" + suffix)).read_bytes()
        assert report.compressed == 3

    def test_an_old_compressed_file_of_the_app_does_not_survive_beside_new_content(self, root: Path) -> None:
        write(root / "static", {"a.css": RULES, "a.css.gz": gzip.compress(b"stale"), "archive.tar.gz": b"kept"})
        _, out = run(root, replace(EVERYTHING, precompress=(Encoding.GZIP,)))
        assert gzip.decompress((out / "a.css.gz").read_bytes()) == (out / "a.css").read_bytes()
        assert (out / "archive.tar.gz").read_bytes() == b"kept"
        assert "a.css.gz" not in manifest(out)


class TestOutput:
    @pytest.mark.long
    def test_equal_input_gives_equal_trees(self, root: Path) -> None:
        files = {f"{n % 7}/f{n}.{kind}": RULES for n in range(10) for kind in ("css", "txt", "json.map")}
        write(root / "static", files | {"main.css": '@import "0/f0.css"; a{b:url(1/f1.txt)}'})
        settings = replace(EVERYTHING, bundles={"all.css": ("1/f1.css", "main.css", "0/f0.css")})
        _, first = run(root, settings, "first")
        shutil.copytree(root / "static", root / "copy")
        for path in (root / "copy").rglob("*"):
            os.utime(path, (1, 1))
        shutil.rmtree(root / "static")
        (root / "copy").rename(root / "static")
        _, second = run(root, settings, "second")
        assert tree(first) == tree(second)
        assert gzip.compress(b"", mtime=0)[4:8] == (first / "all.css.gz").read_bytes()[4:8]

    def test_all_files_have_the_time_of_the_processing(self, root: Path) -> None:
        write(root / "static", {"a.css": RULES})
        os.utime(root / "static/a.css", (1, 1))
        started = int(time.time())
        _, out = run(root, EVERYTHING)
        times = {path.stat().st_mtime for path in out.iterdir()}
        assert len(times) == 1 and times.pop() >= started

    def test_versions_are_those_of_the_tools_in_use(self) -> None:
        assert tool_versions(PLAIN) == {}
        assert list(tool_versions(MINIFIED)) == ["lightningcss", "tdewolff-minify"]
        assert tool_versions(replace(PLAIN, precompress=(Encoding.GZIP,))) == {}
        assert tool_versions(EVERYTHING)["brotli"] == metadata.version("brotli")
        assert "zstandard" in tool_versions(EVERYTHING)

    def test_two_thousand_files_take_not_much_longer_than_cp(self, root: Path) -> None:
        for n in range(2000):
            suffix, content = [
                ("css", ".a { color: red; }\n" * 20),
                ("png", "x" * 3000),
                ("js", "var a = 1;\n" * 20),
            ][n % 3]
            write(root / "static", {f"d{n % 40}/file{n}.{suffix}": content})
        started = time.perf_counter()
        subprocess.run(["cp", "-r", root / "static", root / "cp"], check=True, timeout=60)
        copying = time.perf_counter() - started
        for label, settings in (
            ("copy", PLAIN),
            ("minify and gzip", replace(MINIFIED, precompress=(Encoding.GZIP,))),
        ):
            started = time.perf_counter()
            report, _ = run(root, settings, label.replace(" ", "-"))
            seconds = time.perf_counter() - started
            print(f"2,000 files, {label}: {seconds:.2f} s, {seconds / copying:.1f} times cp -r ({copying:.2f} s)")
            assert report.files == 2000
            assert seconds < 30
