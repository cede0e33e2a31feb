"""The table of hostile app repositories: what each holds, and what must become of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from forge import FILE, FOLDER, LINK, SUBMODULE, Content, Forge, Link, Module, Raw
from world import wsgi_app

APP = wsgi_app("harmless")
NOWHERE = "1" * 40
GIT_REFUSES = r"holds an object that git refuses"
FILES_LIMIT = 20_000
SIZE_LIMIT = "64m"


@dataclass(frozen=True)
class Scene:
    """What lies around the repositories: a folder that nothing may read or write, and a program that must not run."""

    outside: Path
    trap: Path


Files = Mapping[str | bytes, Content]
Maker = Callable[[Forge, Scene], Files | str]
"""Makes the repository's objects; returns the files of its root, or the id of its tree."""


@dataclass(frozen=True)
class Case:
    """A repository; ``refused`` is a pattern of the sentence that refuses it, ``None``: it is deployed, harmlessly.

    ``spec`` are further keys of the app's manifest.
    """

    holds: Maker
    refused: str | None = None
    spec: Callable[[Scene], Mapping[str, Any]] = field(default=lambda _scene: {})


def files(more: Files, refused: str | None = None, **spec: Any) -> Case:
    """An app with more files."""
    return Case(lambda _forge, _scene: {"wsgi.py": APP, **more}, refused, lambda _scene: spec)


def placed(more: Callable[[Scene], Files], refused: str | None = None, **spec: Any) -> Case:
    """An app with more files that depend on where it is."""
    return Case(lambda _forge, scene: {"wsgi.py": APP, **more(scene)}, refused, lambda _scene: spec)


def forged(more: Maker, refused: str | None = None, **spec: Any) -> Case:
    """An app with objects that are made one by one: more files, or the whole tree."""

    def holds(forge: Forge, scene: Scene) -> Files | str:
        made = more(forge, scene)
        return made if isinstance(made, str) else {"wsgi.py": APP, **made}

    return Case(holds, refused, lambda _scene: spec)


def named(name: bytes, refused: str | None = GIT_REFUSES, mode: str = FILE) -> Case:
    """A tree with one entry of a strange name beside the app."""

    def holds(forge: Forge, _scene: Scene) -> str:
        app = (FILE, b"wsgi.py", forge.blob(APP))
        content = forge.tree({"inner": "x"}) if mode == FOLDER else forge.blob("x")
        return forge.raw_tree(sorted([app, (mode, name, content)], key=lambda entry: entry[1]))

    return Case(holds, refused)


STATIC = [{"source": "static", "url": "/static/"}]
PLAIN_STATIC = [{"source": "static", "url": "/static/", "minify": False}]


def static(more: Files, refused: str | None = None, *, minify: bool = True, **keys: Any) -> Case:
    """An app whose static folder has these files."""
    folder = {"source": "static", "url": "/static/", "minify": minify, **keys}
    return files({"static": {"site.css": "a{color:red}", **more}}, refused, static=[folder])


def requirements(text: str | bytes, refused: str | None = None, more: Files | None = None) -> Case:
    """An app with a requirements file; ``OUTSIDE`` in it is the folder outside."""

    def holds(_forge: Forge, scene: Scene) -> Files:
        raw = text.encode() if isinstance(text, str) else text
        content = raw.replace(b"OUTSIDE", str(scene.outside).encode())
        return {"wsgi.py": APP, "requirements.txt": content, **(more or {})}

    return Case(holds, refused)


def project(table: str, refused: str | None, *, lock: str | None = None, more: Files | None = None) -> Case:
    """An app with a pyproject.toml, and a uv.lock where there is one; ``OUTSIDE`` as above."""

    def holds(_forge: Forge, scene: Scene) -> Files:
        head = '[project]\nname = "app"\nversion = "1"\nrequires-python = ">=3.11"\n'
        made: dict[str | bytes, Content] = {"wsgi.py": APP, "pyproject.toml": head + table, **(more or {})}
        if lock is not None:
            made["uv.lock"] = 'version = 1\nrequires-python = ">=3.11"\n' + lock
        place = str(scene.outside)
        return {
            name: content.replace("OUTSIDE", place) if isinstance(content, str) else content
            for name, content in made.items()
        }

    return Case(holds, refused)


def modules(text: str, refused: str | None, more: Files | None = None) -> Case:
    """An app with a .gitmodules file and a submodule at ``lib``."""
    return files({".gitmodules": text, "lib": Module(NOWHERE), **(more or {})}, refused, source={"submodules": True})


def section(name: str = "lib", path: str = "lib", url: str = "https://git.example.com/x.git") -> str:
    """A submodule as .gitmodules has it."""
    return f'[submodule "{name}"]\n\tpath = {path}\n\turl = {url}\n'


def _many_submodules(forge: Forge, _scene: Scene) -> Files:
    # a submodule that is there: the repository itself, at a commit of its own
    inner = forge.commit(forge.tree({"a": "a"}), "refs/heads/inner")
    text = "".join(section(f"m{n}", f"m{n}", f"file://{forge.folder}") for n in range(102))
    return {".gitmodules": text, **{f"m{n}": Module(inner) for n in range(102)}}


def _submodules_in_each_other(forge: Forge, _scene: Scene) -> Files:
    url = f"file://{forge.folder}"
    commit = forge.commit(forge.tree({"a": "a"}), "refs/heads/depth0")
    for depth in range(1, 8):
        tree = forge.tree({".gitmodules": section(url=url), "lib": Module(commit)})
        commit = forge.commit(tree, f"refs/heads/depth{depth}")
    return {".gitmodules": section(url=url), "lib": Module(commit)}


def _bomb(forge: Forge, _scene: Scene) -> str:
    return forge.grown(9, 10, forge.blob(APP))


def _wide(forge: Forge, _scene: Scene) -> Files:
    tree = forge.grown(2, 317, forge.blob("x"))
    return {"many": Raw(FOLDER, tree)}


def _huge(forge: Forge, _scene: Scene) -> Files:
    return {"zeros.bin": Raw(FILE, forge.blob(bytes(80 * 1024 * 1024)))}


def _huge_together(forge: Forge, _scene: Scene) -> Files:
    one = forge.blob(bytes(1024 * 1024))
    return {"zeros": Raw(FOLDER, forge.raw_tree([(FILE, f"z{n:03}".encode(), one) for n in range(100)]))}


def _deep(forge: Forge, _scene: Scene) -> Files:
    return {"d": Raw(FOLDER, forge.nested(1500, forge.tree({"f": "x"})))}


def _twice(first: tuple[str, str], second: tuple[str, str]) -> Maker:
    def holds(forge: Forge, scene: Scene) -> str:
        contents = {
            "link": forge.blob(str(scene.outside)), "file": forge.blob("x"), "folder": forge.tree({"secret": "x"}),
        }  # fmt: skip
        entries = [(mode, b"name", contents[what]) for mode, what in (first, second)]
        return forge.raw_tree([*entries, (FILE, b"wsgi.py", forge.blob(APP))])

    return holds


def _config_traps(forge: Forge, scene: Scene) -> Files:
    """Settings and hooks of the repository at the server's side that start programs."""
    trap = scene.trap
    with (forge.folder / "config").open("a") as config:
        config.write(
            f"[core]\n\tfsmonitor = {trap}\n\tsshCommand = {trap}\n\tpager = {trap}\n\teditor = {trap}\n"
            f"\taskPass = {trap}\n\tgitProxy = {trap}\n\talternateRefsCommand = {trap}\n\thooksPath = hooks\n"
            f'[filter "trap"]\n\tsmudge = {trap}\n\tprocess = {trap}\n\trequired = true\n'
            f'[diff "trap"]\n\ttextconv = {trap}\n\tcommand = {trap}\n[merge "trap"]\n\tdriver = {trap}\n'
            f"[uploadpack]\n\tpackObjectsHook = {trap}\n[credential]\n\thelper = !{trap}\n[gpg]\n\tprogram = {trap}\n"
            f'[alias]\n\tfetch = !{trap}\n[url "ext::{trap} "]\n\tinsteadOf = https://\n'
        )
    (forge.folder / "hooks").mkdir()
    for name in ("post-checkout", "post-update", "pre-receive", "reference-transaction", "fsmonitor-watchman"):
        hook = forge.folder / "hooks" / name
        hook.write_text(f"#!/bin/sh\n{trap}\n")
        hook.chmod(0o755)
    hook_file = f"#!/bin/sh\n{trap}\n"
    return {
        ".gitattributes": "* filter=trap diff=trap merge=trap\n",
        "hooks": {"post-checkout": hook_file},
        ".githooks": {"post-checkout": hook_file},
        ".gitconfig": f"[core]\n\tfsmonitor = {trap}\n",
    }


def _hostile_refs(forge: Forge, scene: Scene) -> Files:
    commit = forge.commit(forge.tree({"a": "a"}), "refs/heads/other")
    names = (
        "--upload-pack=trap", "-x", "$(trap)", "`trap`", ";trap;", "a&&trap", "a|trap", "'", '"', "%(trap)", "!trap",
        "{{x}}", "<b>", "main'--", "x" * 200, "ünï", "\u202eevil", "HEAD", "refs/heads/main",
    )  # fmt: skip
    for name in names:
        forge.point(f"refs/heads/{name}", commit)
        forge.point(f"refs/tags/{name}", commit)
    # nothing that any revision could mean
    forge.point("refs/tags/v1.0.0", forge.blob("a version that is a file"))
    forge.point("refs/tags/v1.0.1", forge.tree({"a": "a"}))
    tag = commit
    for depth in range(200):
        tag = forge.tag("v1.1.0", tag, "commit" if not depth else "tag")
    forge.point("refs/tags/v1.1.0", tag)
    packed = "".join(f"{commit} refs/heads/many/{number:05}\n" for number in range(20_000))
    (forge.folder / "packed-refs").write_text(packed)
    return {}


def _version_is_a_file(forge: Forge, _scene: Scene) -> Files:
    forge.point("refs/tags/v1.0.0", forge.blob("no commit"))
    return {}


LFS = "version https://git-lfs.github.com/spec/v1\noid sha256:{oid}\nsize {size}\n"
ENTITIES = "".join(f'<!ENTITY a{n} "{f"&a{n - 1};" * 10}">' for n in range(1, 12))

LINKS = {
    "link-to-a-file": placed(lambda scene: {"secret.txt": Link(f"{scene.outside}/secret.txt")}),
    "link-to-a-folder": placed(lambda scene: {"etc": Link(str(scene.outside)), "root": Link("/")}),
    "link-in-a-circle": files({"a": Link("b"), "b": Link("a"), "c": Link("."), "d": Link("")}, GIT_REFUSES + "|link"),
    "link-in-static": files(
        {"static": {"secret.txt": Link("/etc/passwd")}}, r"static/secret\.txt is a link that leads out", static=STATIC
    ),
    "link-as-static": placed(
        lambda scene: {"static": Link(str(scene.outside))}, r"static folder static is ", static=STATIC
    ),
    "links-one-after-the-other": placed(
        lambda scene: {"static": {"a": Link("b")}, "b": Link("c"), "c": Link(str(scene.outside))},
        r"static/a is a link that leads",
        static=STATIC,
    ),
    "link-that-climbs": files(
        {"static": {"a.txt": Link("../" * 30 + "etc/passwd")}},
        r"static/a\.txt is a link that leads out",
        static=STATIC,
    ),
    "static-in-a-circle": files({"static": {"a": Link(".")}}, r"static/a is a link to a folder", static=STATIC),
    "link-as-requirements": placed(
        lambda scene: {"requirements.txt": Link(f"{scene.outside}/requirements.txt")},
        r"requirements\.txt.* not in the app's folder",
        build={"requirements": "requirements.txt"},
    ),
    "link-on-the-way-to-shared": placed(
        lambda scene: {"media": Link(str(scene.outside))}, r"leads through the link media", shared=["media/uploads"]
    ),
    "link-in-place-of-shared": placed(lambda scene: {"data": Link(str(scene.outside))}, shared=["data"]),
    "proc-and-dev": files(
        {"static": {"mem": Link("/proc/self/environ"), "zero": Link("/dev/zero")}}, "leads out", static=STATIC
    ),
}
NAMES = {
    "dot-git": named(b".git", mode=FOLDER),
    "dot-git-file": named(b".git"),
    "dot-git-in-capitals": named(b".GIT", mode=FOLDER),
    "dot-git-with-a-hidden-character": named(".g\u200cit".encode(), mode=FOLDER),
    "dot-git-of-windows": named(b"git~1", mode=FOLDER),
    "dot-git-with-a-dot": named(b".git.", mode=FOLDER),
    "parent": named(b"..", mode=FOLDER),
    "itself": named(b".", mode=FOLDER),
    "absolute": named(b"/etc", mode=FOLDER),
    "climbing": named(b"../../outside/evil"),
    "slash": named(b"a/b"),
    "empty": named(b"", refused=GIT_REFUSES + "|cannot be read"),
    "too-long": named(b"x" * 300, refused="File name too long"),
    "link-and-folder": Case(_twice((LINK, "link"), (FOLDER, "folder")), GIT_REFUSES),
    "file-twice": Case(_twice((FILE, "file"), (FILE, "file")), GIT_REFUSES),
    "gitmodules-as-a-link": files({".gitmodules": Link("/etc/passwd")}, GIT_REFUSES),
    "strange-names": files(
        {
            "a\nb": "x", "a\rb": "x", "\x1b]0;title\x07": "x", "\t": "x", " ": "x", "-rf": "x", "--config=x": "x",
            "$(trap)": "x", "`trap`": "x", ";trap;": "x", "a'b\"c": "x", "%(x)": "x", "@(exec:trap)": "x",
            "{{ 1 }}": "x", "*": "x", "\\": "x", "..\\..\\x": "x", b"\xff\xfe": "x", "x" * 255: "x", "CON": "x",
            "\u202egpj.exe": "x", "...": "x", "..a": "x", "a:b": "x", "~": "x", "ünï": {"✓": "x"}, "\x7f": "x",
        }
    ),
    "names-that-collide": files(
        {"README": "a", "readme": "b", "ReadMe": {"x": "c"}, "é": "nfc", "e\u0301": "nfd", "ﬁ": "a", "fi": "b"}
    ),
    "strange-static-names": static(
        {
            "a\nb.css": "a{}", "a b.css": "a{}", "$uri.css": "a{}", "a;b.css": "a{}", 'a"b.css': "a{}",
            "%2e%2e%2fsecret.css": "a{}", "a{b}.css": "a{}", b"\xff.css": "a{}", "\\..\\x.css": "a{}",
            "?x.css": "a{}",
            "#x.css": "a{}", "-x.css": "a{}",
        },
        fingerprint=True,
        precompress=["gzip", "brotli", "zstd"],
    ),
}  # fmt: skip
MODES = {
    "device": forged(lambda forge, _: {"sda": Raw("60000", forge.blob("x"))}),
    "socket": forged(lambda forge, _: {"web": Raw("140000", forge.blob("x"))}),
    "pipe": forged(lambda forge, _: {"pipe": Raw("10000", forge.blob("x"))}),
    "setuid": forged(lambda forge, _: {"su": Raw("104755", forge.blob("x")), "w": Raw("100666", forge.blob("x"))}),
    "folder-that-is-a-file": forged(lambda forge, _: {"f": Raw(FOLDER, forge.blob("x"))}, ""),
    "file-that-is-a-folder": forged(lambda forge, _: {"f": Raw(FILE, forge.tree({"a": "a"}))}, ""),
    "object-that-is-missing": forged(lambda _f, _s: {"f": Raw(FILE, NOWHERE)}, ""),
    "null-object": forged(lambda _f, _s: {"f": Raw(FILE, "0" * 40)}, ""),
}
ATTRIBUTES = {
    "hooks-and-settings-of-the-server": forged(_config_traps),
    "attributes-that-rewrite": files(
        {
            ".gitattributes": "*.txt text eol=crlf ident\n*.u16 working-tree-encoding=UTF-16\n"
            "v export-subst\n[attr]evil filter=trap\n*.e evil\n",
            "a.txt": "$Id$\nline\n", "b.u16": "text\n", "v": "$Format:%H$", "c.e": "x",
        }
    ),
    "attributes-without-end": files({".gitattributes": "x" * 100_000 + " filter=trap\n"}, GIT_REFUSES),
    "attributes-that-make-no-sense": files({".gitattributes": "* working-tree-encoding=NO-SUCH\n\"\\377\" a=\n"}),
    "attributes-as-a-link": files({".gitattributes": Link("/etc/passwd"), ".gitignore": Link("/etc/passwd")}),
}  # fmt: skip
MODULES = {
    "submodule-option": modules(section(url="-u./trap"), GIT_REFUSES),
    "submodule-upload-pack": modules(section(url="--upload-pack=trap"), GIT_REFUSES),
    "submodule-name-climbs": modules(section(name="../../../outside/x"), GIT_REFUSES),
    "submodule-path-option": modules(section(path="-lib"), GIT_REFUSES),
    "submodule-path-climbs": modules(section(path="../lib"), r"submodule 'lib' without path and url"),
    "submodule-program": modules(section(url="ext::trap"), r"only https, ssh and file addresses are allowed"),
    "submodule-program-in-capitals": modules(section(url="EXT::trap"), r"only https, ssh and file"),
    "submodule-fd": modules(section(url="fd::17"), r"only https, ssh and file addresses are allowed"),
    "submodule-ssh-option": modules(section(url="ssh://-oProxyCommand=trap/x"), r"not a repository|git refuses"),
    "submodule-with-a-line-break": modules(
        section(url='"https://git.example.com/\\nhost=evil.example.com"'), r"is not a repository address|git refuses"
    ),
    "submodule-without-settings": modules("", r"submodule 'lib' without path and url in \.gitmodules"),
    "submodule-includes": placed(
        lambda scene: {".gitmodules": f"[include]\n\tpath = {scene.outside}/gitmodules\n", "lib": Module(NOWHERE)},
        r"submodule 'lib' without path and url",
        source={"submodules": True},
    ),
    "submodule-of-rubbish": modules('[submodule "lib\n\x00\xff[[[', r"\.gitmodules|bad config|git refuses"),
    "submodule-that-is-gone": modules(section(url="file:///nowhere/x.git"), r"/nowhere/x\.git.* cannot be read"),
    "submodules-by-the-hundred": forged(_many_submodules, r"more than 100 submodules", source={"submodules": True}),
    "submodules-in-each-other": forged(
        _submodules_in_each_other, r"nested deeper than 5", source={"submodules": True}
    ),
    "submodule-not-asked-for": files({".gitmodules": section(url="https://x"), "lib": Module(NOWHERE)}),
}
LARGE_FILES = {
    "lfs-that-is-missing": files(
        {"a.bin": LFS.format(oid="a" * 64, size=5)}, r"LFS object of a\.bin", source={"lfs": True}
    ),
    "lfs-without-end": files(
        {"a.bin": LFS.format(oid="a" * 64, size=10**17)}, r"GiB of files", source={"lfs": True}
    ),
    "lfs-that-climbs": files(
        {"a.bin": LFS.format(oid="../../../../outside/secret.txt", size=5)}, source={"lfs": True}
    ),
    "lfs-elsewhere": files(
        {"a.bin": LFS.format(oid="b" * 64, size=5), ".lfsconfig": "[lfs]\n\turl = http://127.0.0.1:1/lfs\n"},
        r"only https, ssh and file|LFS object of", source={"lfs": True},
    ),
    "lfs-with-a-program": placed(
        lambda scene: {
            "a.bin": LFS.format(oid="c" * 64, size=5),
            ".lfsconfig": "[lfs]\n\tstandalonetransferagent = trap\n"
            f'[lfs "customtransfer.trap"]\n\tpath = {scene.trap}\n'
            f"[lfs \"extension.trap\"]\n\tsmudge = {scene.trap}\n\tclean = {scene.trap}\n",
        },
        r"LFS object of a\.bin", source={"lfs": True},
    ),
}  # fmt: skip
SIZES = {
    "bomb-of-trees": Case(_bomb, rf"holds more than {FILES_LIMIT:,} files"),
    "hundred-thousand-files": forged(_wide, rf"holds more than {FILES_LIMIT:,} files"),
    "huge-file": forged(_huge, r"holds 0\.1 GiB of files"),
    "huge-together": forged(_huge_together, r"holds 0\.1 GiB of files"),
    "deep-folders": forged(_deep, r"deeper than 200 folders"),
    "refs-of-all-kinds": forged(_hostile_refs),
    "version-that-is-a-file": forged(_version_is_a_file, "", source={"revision": "^1"}),
}
REQUIREMENTS = {
    "includes-a-file-of-the-host": requirements("-r OUTSIDE/requirements.txt\n", r"outside the app's folder"),
    "includes-etc": requirements("-r /etc/passwd\n", r"outside the app's folder"),
    "includes-what-climbs": requirements("-c ../../x.txt\n", r"outside the app's folder"),
    "includes-an-address": requirements("-r https://example.com/r.txt\n", r"which is not in git"),
    "editable-parent": requirements("-e ..\n", r"outside the app's folder"),
    "folder-of-the-host": requirements("OUTSIDE/package\n", r"outside the app's folder"),
    "named-folder-of-the-host": requirements("evil @ file://OUTSIDE/package\n", r"outside the app's folder"),
    "folder-behind-a-link": Case(
        lambda _forge, scene: {
            "wsgi.py": APP, "requirements.txt": "./package\n", "package": Link(f"{scene.outside}/package"),
        },
        r"requirements\.txt",
    ),
    "climbing-behind-a-variable": requirements("${PROJECT_ROOT}/../../package\n", r"outside the app's folder"),
    "variable-of-the-agent": requirements("-r ${HOME}/requirements.txt\n", r"not in the app's folder"),
    "requirements-that-include-themselves": requirements("-r requirements.txt\n-c requirements.txt\n"),
    "requirements-of-zeros": requirements(b"\0" * 100, "requirements.txt"),
    "requirements-of-megabytes": requirements("#" * 2_000_000, r"requirements\.txt has 2000000 bytes"),
    "requirements-in-no-encoding": requirements(b"\xff\xfe\0x", r"not UTF-8"),
    "requirements-as-a-folder": files({"requirements.txt": {"a": "flask"}}),
    "program-of-git": requirements("evil @ git+ext::trap%20x\n", "requirements.txt"),
    "git-of-the-host": requirements("evil @ git+file://OUTSIDE/package\n", "requirements.txt"),
    "sources-of-the-host": project(
        'dependencies = ["evil"]\n[tool.uv.sources]\nevil = {path = "OUTSIDE/package"}\n', r"outside the app's folder"
    ),
    "workspace-above": project('[tool.uv.workspace]\nmembers = ["../*"]\n', "pyproject"),
    "lock-of-the-host": project(
        "", r"outside the app's folder",
        lock='[[package]]\nname = "evil"\nversion = "1"\nsource = { directory = "OUTSIDE/package" }\n',
    ),
    "lock-that-climbs": project(
        "", r"outside the app's folder",
        lock='[[package]]\nname = "evil"\nversion = "1"\nsource = { editable = "../../package" }\n',
    ),
    "readme-of-the-host": project(
        'readme = "OUTSIDE/secret.txt"\n[build-system]\nrequires = []\nbuild-backend = "evil"\n', "pyproject"
    ),
    "installs-elsewhere": project(
        'dependencies = []\n[build-system]\nrequires = []\n', r"sets pip\.target",
        more={"uv.toml": '[pip]\ntarget = "OUTSIDE/target"\n'},
    ),
    "installs-elsewhere-too": project('[tool.uv.pip]\nprefix = "OUTSIDE/target"\n', r"sets pip\.prefix"),
    "settings-beside-requirements": placed(
        lambda scene: {
            "requirements.txt": "./inner\n", "uv.toml": f'[pip]\ntarget = "{scene.outside}/target"\n',
            "inner": {"pyproject.toml": '[project]\nname = "inner"\nversion = "1"\n'},
        },
    ),
    "nested-toml": files({"pyproject.toml": "a = " + "[" * 50_000}, r"not TOML"),
}  # fmt: skip
ASSETS = {
    "css-of-braces": static({"a.css": "a{" * 100_000}, r"static/a\.css"),
    "js-of-brackets": static({"a.js": "(" * 50_000}, r"static/a\.js"),
    "svg-of-entities": static({"a.svg": f"<!DOCTYPE s [<!ENTITY a0 'x'>{ENTITIES}]><svg>&a11;</svg>"}),
    "svg-of-a-file": static({"a.svg": "<!DOCTYPE s [<!ENTITY a SYSTEM 'file:///etc/passwd'>]><svg>&a;</svg>"}),
    "html-and-json-of-depth": static(
        {"a.html": "<b>" * 20_000, "a.json": "[" * 20_000},
    ),
    "css-that-refers-outside": static(
        {"a.css": "@import '../../../../etc/passwd';b{background:url(../wsgi.py)}c{background:url(/etc/passwd)}"},
        minify=False,
        fingerprint=True,
    ),
    "css-in-a-circle": static({"a.css": "@import 'b.css';", "b.css": "@import 'a.css';"}, fingerprint=True),
    "compressed-bomb": static({"a.css.gz": bytes(100), "a.css.br": b"\xff" * 100, "b.svgz": b"\x1f\x8b"}),
    "command-makes-a-pipe": files(
        {}, r"named pipe|pipe", static=[{"source": "out", "url": "/o/", "command": "mkdir out; mkfifo out/p"}]
    ),
    "command-makes-a-link": files(
        {}, r"leads out", static=[{"source": "out", "url": "/o/", "command": "mkdir out; ln -s /etc/passwd out/p"}]
    ),
    "build-leaves-a-pipe": files(
        {},
        build={"commands": ["mkfifo here"]},
        static=[{"source": "out", "url": "/o/", "command": "mkdir out"}],
    ),
    "build-leaves-deep-folders": files(
        {},
        r"deeper than 200 folders",
        build={"commands": ['python -c \'import os\nfor _ in range(1500): os.mkdir("d"); os.chdir("d")\'']},
    ),
    "command-leaves-deep-folders": files(
        {},
        r"deeper than",
        static=[
            {
                "source": "out",
                "url": "/o/",
                "command": 'mkdir out; python -c \'import os\nos.chdir("out")\n'
                'for _ in range(1500): os.mkdir("d"); os.chdir("d")\'',
            }
        ],
    ),
    "names-in-commands": files(
        {"a{b}'c\"; d": {"wsgi.py": APP, "static": {"x.css": "a{}"}}},
        source={"directory": "a{b}'c\"; d"},
        static=STATIC,
    ),
    "expansion-in-a-folder": files(
        {"$(trap)": {"wsgi.py": APP}},
        source={"directory": "$(trap)"},
    ),
}

SOURCES: dict[str, Case] = {
    **LINKS, **NAMES, **MODES, **ATTRIBUTES, **MODULES, **LARGE_FILES, **SIZES, **REQUIREMENTS, **ASSETS,
}  # fmt: skip
"""Every case by the name of its app; an empty pattern: it is refused, in any words."""

__all__ = ["FILES_LIMIT", "SIZE_LIMIT", "SOURCES", "SUBMODULE", "Case", "Scene"]
