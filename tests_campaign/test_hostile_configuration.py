"""Proves that a hostile config repository is refused in a sentence, file by file, and that nothing of it is run."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import canary
from breaking import show
from forge import FILE, FOLDER, Content, Forge, Link, Raw
from hostile_sources import Scene
from reconciler.engine.results import PassResult
from test_hostile_repositories import badly_said, host
from world import World, manifest, of, wsgi_app

Files = Mapping[str, str | bytes | Link]


@dataclass(frozen=True)
class Case:
    """What the config repository holds for an app (given its name), and a pattern of the sentence that refuses it;
    ``None``: the app is deployed.
    """

    holds: Callable[[str, Scene], Files]
    refused: str | None


def written(text: Callable[[str], str | bytes], refused: str | None) -> Case:
    """A manifest as it stands in the file."""
    return Case(lambda name, _scene: {f"manifests/{name}.yaml": text(name)}, refused)


def spec(refused: str | None, more: Callable[[str, Scene], Files] = lambda _n, _s: {}, **keys: Any) -> Case:
    """A manifest with these keys, and more files."""
    return Case(
        lambda name, scene: {f"manifests/{name}.yaml": manifest(name, **_filled(keys, scene)), **more(name, scene)},
        refused,
    )


def _filled(keys: dict[str, Any], scene: Scene) -> dict[str, Any]:
    return {name: value(scene) if callable(value) else value for name, value in keys.items()}


def template(text: str, refused: str | None) -> Case:
    """A site template; ``OUTSIDE`` in it is the folder outside."""
    return Case(
        lambda name, scene: {
            f"templates/{name}.j2": text.replace("OUTSIDE", str(scene.outside)),
            f"manifests/{name}.yaml": manifest(name, nginx={"template": f"{name}.j2"}),
        },
        refused,
    )


def secret(content: str | bytes | Link, refused: str, ending: str = "yaml") -> Case:
    """An encrypted file that is none."""
    return Case(
        lambda name, _scene: {
            f"secrets/{name}.{ending}": content,
            f"manifests/{name}.yaml": manifest(name, secrets={"A": f"secrets/{name}.{ending}#a"}),
        },
        refused,
    )


LAUGHS = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{name}: &{name} [{', '.join([f'*{before}'] * 9)}]\n"
    for before, name in zip("abcdefgh", "bcdefghi", strict=True)
)
SEALED = "a: ENC[AES256_GCM,data:{a},iv:AAAA,tag:AAAA,type:str]\nsops:\n    age: [{{recipient: x, enc: y}}]\n"
LOOP = "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}"

MANIFESTS = {
    "billion-laughs": written(lambda name: LAUGHS + manifest(name), r"more than 20,000 values"),
    "python-tag": written(
        lambda name: manifest(name) + "x: !!python/object/apply:os.system ['trap']\n",
        r"the tag !!python.* is not allowed",
    ),
    "deep-values": written(lambda name: manifest(name) + "x: " + "[" * 100_000, r"nested deeper than 50 levels"),
    "huge-number": written(
        lambda name: manifest(name, retain=0).replace("retain: 0", "retain: " + "9" * 5000), r"too long"
    ),
    "infinite-number": written(
        lambda name: manifest(name, retain=0).replace("retain: 0", "retain: 1e999"), r"retain"
    ),
    "key-twice": written(lambda name: manifest(name) + "kind: App\n", r"the key is given twice"),
    "no-encoding": written(lambda name: manifest(name).encode() + b"# \xff\xfe\n", r"not UTF-8"),
    "null-byte": written(lambda name: manifest(name) + "# \0\n", r"U\+0000 is not allowed"),
    "merge-key": written(lambda name: manifest(name) + "<<: {a: b}\n", r"merge keys"),
    "megabytes": written(lambda name: manifest(name) + "#" * 1_100_000, r"1,048,576 are the limit"),
    "documents-without-end": written(lambda name: manifest(name) + "---\n" * 2_000, r"more than 1,000 documents|"),
    "byte-order-mark": written(lambda name: b"\xef\xbb\xbf" + manifest(name).encode(), None),
    "name-that-climbs": written(lambda name: manifest("../../x").replace("apps/../../x", "x"), r"is not a name|"),
    "file-that-is-a-link": Case(
        lambda name, scene: {f"manifests/{name}.yaml": Link(f"{scene.outside}/secret.txt")}, r""
    ),
}
VALUES = {
    "directory-that-climbs": spec(r"must be a relative path", source={"directory": "../../outside"}),
    "program-as-repository": spec(r"only https, ssh and file", source={"repository": "ext::trap"}),
    "option-as-revision": spec(r"is not a branch", source={"revision": "--upload-pack=trap"}),
    "name-with-directives": spec(r"is not a host name", nginx={"serverNames": ["a; include /etc/passwd"]}),
    "size-with-directives": spec(r"is not a size", nginx={"clientMaxBodySize": "1m; include /etc/passwd"}),
    "url-with-directives": spec(r"is not a URL path", static=[{"source": "s", "url": "/s/{ return 200 }"}]),
    "module-with-code": spec(r"is not module:callable", uwsgi={"module": "os:system('trap')"}),
    "option-that-runs": spec(r"cannot be set here", uwsgi={"options": {"exec-asap": "trap"}}),
    "option-with-expansion": spec(r"which uWSGI would replace", uwsgi={"options": {"route": "@(exec://trap)"}}),
    "template-outside": spec(r"must be a relative path", nginx={"template": "../../outside/secret.txt"}),
    "secret-outside": spec(r"is not FILE#KEY", secrets={"A": "../outside/secret.yaml#a"}),
    "variable-with-a-line-break": spec(None, env={"A": "x\nexec-asap = trap\n$(trap)`trap`'\"@(exec://trap)%(x)"}),
    "shared-outside": spec(r"must be a relative path", shared=["../../outside"]),
    "shared-git": spec(r"must be a relative path", shared=[".git"]),
}
TEMPLATES = {
    "template-of-python": template("{{ ''.__class__.__mro__[1].__subclasses__() }}", r"unsafe|not"),
    "template-of-globals": template("{{ cycler.__init__.__globals__.os.system('trap') }}", r"unsafe|not"),
    "template-that-includes": template("{% include 'OUTSIDE/secret.txt' %}", r"no loader"),
    "template-without-end": template(LOOP, r"does not end within 5 s"),
    "template-of-gigabytes": template("{{ 'a' * 9999999999 }}", r"does not end|MemoryError"),
    "template-of-padding": template("{{ '%9999999999d' % 1 }}", r"line 1"),
    "template-of-megabytes": template("{{ 'a' * 9000000 }}", r"1,048,576 are the limit"),
    "template-of-numbers": template("{{ 9 ** 9 ** 9 }}", r"does not end|line 1"),
    "template-that-recurses": template("{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}", r"recursion"),
    "site-that-includes": template("include OUTSIDE/package/*;", r"nginx refuses"),
    "site-that-loads": template("load_module OUTSIDE/x.so;", r"nginx refuses"),
    "site-of-rubbish": template("}\n\0 {{ app }", r"templates/"),
}
SECRETS = {
    "secret-in-the-clear": secret("a: b\n", r"is not encrypted"),
    "secret-of-depth": secret("a: " + "[" * 100_000, r"more than 50 deep"),
    "secret-of-json-depth": secret('{"a": ' + "[" * 100_000, r"more than 50 deep", "json"),
    "secret-of-aliases": secret("a: &a [x]\nb: *a\n", r"an anchor, an alias or a tag"),
    "secret-of-tags": secret("a: !!python/object/apply:os.system [trap]\n", r"an anchor, an alias or a tag"),
    "secret-of-megabytes": secret("a: b\n" + "#" * 300_000, r"262,144 are the limit"),
    "secret-of-bytes": secret(b"\xff\xfe", r"not UTF-8"),
    "secret-behind-a-link": secret(Link("/etc/passwd"), r"is not"),
    "secret-without-a-code": secret(SEALED.format(a="AAAA"), r"no message authentication code"),
    "secret-with-an-endless-pattern": secret(
        "a" * 40 + "!: ENC[AES256_GCM,data:AA==,iv:AAAA,tag:AAAA,type:str]\nsops:\n"
        '    age: [{recipient: x, enc: y}]\n    lastmodified: "2026-01-01T00:00:00Z"\n    mac: x\n'
        '    encrypted_regex: "(a+)+$"\n',
        r"is encrypted for x|takes more than",
    ),
    "secret-twice": secret("a: b\na: c\n", r"the same key twice"),
    "secret-of-no-format": secret("A\nB", r"has no '='", "env"),
}
CASES: dict[str, Case] = {**MANIFESTS, **VALUES, **TEMPLATES, **SECRETS}


def commit_forged(world: World, files: Mapping[str, Any]) -> None:
    """Commit files into the config repository, whatever their names and kinds are."""
    forge = Forge(world.home / "forged.git")
    root: dict[str | bytes, Content] = {}
    for path, content in files.items():
        *folders, name = path.split("/")
        place = root
        for folder in folders:
            place = place.setdefault(folder, {})
        place[name] = content
    forge.commit(forge.tree(root))


@pytest.mark.parametrize("kind", ["manifests", "values", "templates", "secrets"])
def test_every_hostile_file_of_the_config_repository_holds_its_own_app(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    cases = {"manifests": MANIFESTS, "values": VALUES, "templates": TEMPLATES, "secrets": SECRETS}[kind]
    with host(monkeypatch, repository="{url: ./forged.git, branch: main, interval: 1s}") as (world, scene):
        files: dict[str, Any] = dict(canary.provide(world.home))
        for name in (*cases, "bystander"):
            files[f"apps/{name}/wsgi.py"] = wsgi_app("harmless")
        for name, case in cases.items():
            files |= case.holds(name, scene)
        files["manifests/bystander.yaml"] = manifest("bystander")
        files["manifests/a\nb\x1b[31m.yaml"] = "{["
        commit_forged(world, files)
        result = world.once()
        show(result)
        wrong = [f"{name}: {told}" for name, case in cases.items() for told in complaints(world, result, name, case)]
        assert not wrong, "\n".join(wrong)
        assert world.text("bystander.example.com") == "harmless"
        assert all(problem.isprintable() for problem in result.problems), result.problems


def complaints(world: World, result: PassResult, name: str, case: Case) -> list[str]:
    """What is not as the table has it; a mistake in a file of no known app is a problem of the pass."""
    apps = {app.app for app in result.apps}
    if case.refused is None:
        page = world.text(f"{name}.example.com")
        return [] if page.startswith("harmless") else [f"it answers {page[:80]!r}"]
    if name in apps and (app := of(result, name)).error is not None:
        return list(badly_said(app, case.refused))
    if any(f"/{name}.yaml" in problem and re.search(case.refused, problem) for problem in result.problems):
        return []
    return ["it is not refused"]


WHOLE: dict[str, tuple[Callable[[Forge], Mapping[str | bytes, Content]], str]] = {
    "bomb of manifests": (
        lambda forge: {"manifests": Raw(FOLDER, forge.grown(9, 10, forge.blob("x")))},
        r"holds more than 200,000 files",
    ),
    "too many manifests": (
        lambda forge: {"manifests": {f"m{number}.yaml": "x" for number in range(10_001)}},
        r"10,001 manifests",
    ),
    "too large manifests": (
        lambda forge: {"manifests": Raw(FOLDER, _many_large(forge))},
        r"bytes of manifests",
    ),
    "a path that git refuses": (lambda forge: {"manifests": {}, "..": {"a": "a"}}, r"an object that git refuses"),
    "manifests that are a link": (lambda forge: {"manifests": Link("/etc")}, r"has no folder manifests"),
    "manifests that are a file": (lambda forge: {"manifests": "x"}, r"has no folder manifests"),
}


def _many_large(forge: Forge) -> str:
    """A folder of manifests that are each just small enough."""
    one = forge.blob(b"#" * (1024 * 1024))
    return forge.raw_tree([(FILE, f"m{number:03}.yaml".encode(), one) for number in range(70)])


@pytest.mark.parametrize("name", WHOLE)
def test_a_config_repository_that_is_hostile_as_a_whole_changes_nothing(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    holds, refused = WHOLE[name]
    with host(monkeypatch, repository="{url: ./forged.git, branch: main, interval: 1s}") as (world, _scene):
        forge = Forge(Path(world.home / "forged.git"))
        forge.commit(forge.tree(holds(forge)))
        result = world.once()
        show(result)
        assert result.error is not None
        assert re.search(refused, str(result.error)), str(result.error)
        assert result.error.hint
        assert result.apps == ()
