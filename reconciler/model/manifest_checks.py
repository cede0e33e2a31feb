"""What the types of a manifest cannot say: keys that contradict each other, and keys that are not built yet.

The checks look at the plain data, as written, and step over what has the wrong type: so that one mistake in a
manifest does not hide the others.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from reconciler.model import uwsgi_options
from reconciler.model.tls_checks import tls_mistakes
from reconciler.model.vassal_environment import RESERVED_NAMES, RESERVED_PREFIX
from reconciler.model.yaml_documents import Path

OWN_PREFIX = "RECONCILER_"
"""The reconciler tells an app about its release in variables that begin so."""
SERVERS = frozenset({"emperor", "nginx"})
"""Names of sockets and logs of the servers; an app of such a name would take them."""
OLDEST_MINOR = 8
"""The oldest minor version of Python 3 that there are wheels of uWSGI for."""
BUNDLE_ENDINGS = (".css", ".js", ".mjs")

Finding = tuple[Path, str]
"""Where a mistake is, and the sentence about it."""


@dataclass(frozen=True, slots=True)
class Unbuilt:
    """A key, or a value of it, that the manifest knows and that no stage acts on yet."""

    path: Path
    asks: Callable[[Any], bool]
    sentence: str


def _given(value: object) -> bool:
    return value is not None


UNBUILT = (
    Unbuilt(
        ("spec", "build", "python", "implementation"),
        lambda value: value == "pypy",
        "uWSGI runs PyPy only with a compiler at every start, and cannot tell whether a worker has loaded the app, "
        'so that no release could be proven; write the version of a CPython, such as python: "3.11"',
    ),
)
"""Whoever builds one of these deletes its row."""


SHARED_AT_URL = re.compile(r"/[^=]*[^=/]/=([^=/][^=]*)")
"""The value of uWSGI's ``static-map`` that maps a URL to a folder below the app's."""


def check_manifest(data: Mapping[str, Any], allowed_options: Collection[str] = ()) -> Iterator[Finding]:
    """Every mistake that the types let through; ``allowed_options`` are those of uWSGI that agent.yaml allows."""
    yield from unbuilt_keys(data)
    spec = _mapping(data.get("spec"))
    app = _mapping(data.get("metadata")).get("name")
    if app in SERVERS:
        yield ("metadata", "name"), f"the name {app} is a server's own; choose another one"
    yield from _interpreter(_mapping(spec.get("build")).get("python"))
    yield from _static(_items(spec.get("static")))
    yield from _shared(_items(spec.get("shared")), _items(spec.get("static")))
    yield from _server_names(_items(_mapping(spec.get("nginx")).get("serverNames")))
    yield from tls_mistakes(_mapping(spec.get("nginx")), _items(spec.get("static")))
    yield from _depends_on(_items(spec.get("dependsOn")), app)
    yield from _environment(_mapping(spec.get("env")), "env")
    yield from _environment(_mapping(spec.get("secrets")), "secrets")
    for name in _mapping(spec.get("secrets")):
        if name in _mapping(spec.get("env")):
            yield ("spec", "secrets", name), f"{name} is in spec.env already, which is plain text"
    shared = [_clean(path) for path in _items(spec.get("shared")) if _text(path) is not None]
    for option, value in _mapping(_mapping(spec.get("uwsgi")).get("options")).items():
        instead = uwsgi_options.refusal(option, allowed_options)
        if instead is not None and not _publishes_shared(option, value, shared):
            yield ("spec", "uwsgi", "options", option), f"this option cannot be set here: {instead}"


def unbuilt_keys(data: Mapping[str, Any]) -> Iterator[Finding]:
    """The keys in ``data`` whose stage is not built yet."""
    for row in UNBUILT:
        value: Any = data
        for key in row.path:
            value = _mapping(value).get(str(key))
        if row.asks(value):
            yield row.path, row.sentence


def _interpreter(python: object) -> Iterator[Finding]:
    path: Path = ("spec", "build", "python")
    yield from _too_old(python, path)
    if not isinstance(python, dict) or python.get("implementation") == "pypy":
        return
    yield from _too_old(python.get("version"), (*path, "version"))
    if python.get("source") is not None and python.get("sha256") is None:
        yield (*path, "sha256"), "this key is required: it says which archive may be built, whoever serves it"
    if python.get("source") is None:
        if python.get("optimize") is not None:
            yield (*path, "optimize"), "this belongs to a source, and there is none"
        if python.get("version") is None:
            yield (*path, "version"), "this key is required: it says which Python of the host is used"
        if python.get("sha256") is not None:
            yield (*path, "sha256"), "a sha256 belongs to a source, and there is none"


def _too_old(version: object, path: Path) -> Iterator[Finding]:
    match = re.match(r"3\.(\d+)", version) if isinstance(version, str) else None
    if match is not None and int(match[1]) < OLDEST_MINOR:
        yield path, f"no uWSGI of an environment runs Python {match[0]}; the oldest is 3.{OLDEST_MINOR}"


def _static(folders: list[Any]) -> Iterator[Finding]:
    urls: dict[str, int] = {}
    for number, folder in enumerate(folders):
        entry = _mapping(folder)
        path: Path = ("spec", "static", number)
        if _text(entry.get("source")) is not None and _clean(entry["source"]) == ".":
            yield (*path, "source"), "'.' would publish the whole app; name a folder in it"
        url = _text(entry.get("url"))
        if url is not None:
            sentence = _url_sentence(url)
            if sentence is None and url in urls:
                sentence = f"{url!r} is already served by spec.static[{urls[url]}]"
            if sentence is not None:
                yield (*path, "url"), sentence
            urls.setdefault(url, number)
        yield from _bundles(_mapping(entry.get("bundles")), (*path, "bundles"))


def _url_sentence(url: str) -> str | None:
    if not url.startswith("/") or not url.endswith("/"):
        return "the URL of a folder begins and ends with '/', such as /static/"
    if any(part in ("", ".", "..") for part in url[1:].split("/")[:-1]):
        return "the URL of a folder has no empty part, '.' or '..', because nginx would never match it"
    return None


def _bundles(bundles: Mapping[str, Any], path: Path) -> Iterator[Finding]:
    names: dict[str, str] = {}
    for name, parts in bundles.items():
        ending = PurePosixPath(name).suffix
        if ending not in BUNDLE_ENDINGS:
            yield (
                (*path, name),
                f"the name of a bundle ends with {', '.join(BUNDLE_ENDINGS[:-1])} or {BUNDLE_ENDINGS[-1]}",
            )
        elif _clean(name) in names:
            yield (*path, name), f"this is the same file as the bundle {names[_clean(name)]!r}"
        names.setdefault(_clean(name), name)
        if parts == []:
            yield (*path, name), "a bundle needs at least one file"
        for number, part in enumerate(_items(parts)):
            if _text(part) is None:
                continue
            if _clean(part) == _clean(name):
                yield (*path, name, number), "a bundle cannot be a part of itself"
            elif ending in BUNDLE_ENDINGS and PurePosixPath(part).suffix != ending:
                yield (*path, name, number), f"{part[:80]!r} cannot be joined into a {ending} file"


def _shared(shared: list[Any], static: list[Any]) -> Iterator[Finding]:
    sources = {
        _clean(entry["source"]): number
        for number, entry in enumerate(map(_mapping, static))
        if _text(entry.get("source")) is not None
    }
    known: dict[str, int] = {}
    around: dict[str, int] = {}
    for number, value in enumerate(shared):
        if _text(value) is None:
            continue
        name = _clean(value)
        path: Path = ("spec", "shared", number)
        parents = [str(parent) for parent in PurePosixPath(name).parents if str(parent) != "."]
        other = around.get(name, next((known[parent] for parent in parents if parent in known), None))
        if name == ".":
            yield path, "'.' is the whole app, and a release cannot share all of itself"
        elif name in known:
            yield path, f"{name[:80]!r} is already given as spec.shared[{known[name]}]"
        elif name in sources:
            yield (
                path,
                f"{name[:80]!r} is the source of spec.static[{sources[name]}], of which every release has its own",
            )
        elif other is not None:
            yield path, f"{name[:80]!r} and spec.shared[{other}] lie in each other"
        known.setdefault(name, number)
        for parent in parents:
            around.setdefault(parent, number)


def _publishes_shared(option: str, value: object, shared: list[str]) -> bool:
    """Whether uWSGI is to serve shared folders of the app: what users upload, which is in no release."""
    given = value if isinstance(value, list) else [value]
    found = [SHARED_AT_URL.fullmatch(one) for one in given if isinstance(one, str)]
    places = [PurePosixPath(match[1]) for match in found if match is not None]
    inside = all(any(place.is_relative_to(path) for path in shared) and ".." not in place.parts for place in places)
    return option == "static-map" and 0 < len(given) == len(places) and inside


def _server_names(names: list[Any]) -> Iterator[Finding]:
    known: dict[str, int] = {}
    for number, name in enumerate(names):
        if _text(name) is None:
            continue
        if name.lower() in known:
            yield ("spec", "nginx", "serverNames", number), f"{name[:80]!r} is given twice"
        known.setdefault(name.lower(), number)


def _depends_on(names: list[Any], own: object) -> Iterator[Finding]:
    known: dict[str, int] = {}
    for number, name in enumerate(names):
        if _text(name) is None:
            continue
        if name == own:
            yield ("spec", "dependsOn", number), f"{name[:80]!r} is this app itself, which cannot wait for itself"
        elif name in known:
            yield ("spec", "dependsOn", number), f"{name[:80]!r} is given twice"
        known.setdefault(name, number)


def _environment(variables: Mapping[str, Any], key: str) -> Iterator[Finding]:
    for name in variables:
        path: Path = ("spec", key, name)
        if name.startswith(RESERVED_PREFIX):
            yield (
                path,
                f"uWSGI reads every variable that begins with {RESERVED_PREFIX} as an option; use spec.uwsgi.options",
            )
        elif name.startswith(OWN_PREFIX):
            yield path, f"variables that begin with {OWN_PREFIX} are set by the reconciler"
        elif name in RESERVED_NAMES:
            yield path, "this variable belongs to the shell that starts the app, and cannot be set"


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _items(value: object) -> list[Any]:
    return value if isinstance(value, list) else []


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None


def _clean(value: str) -> str:
    return "/".join(part for part in value.split("/") if part not in ("", ".")) or "."
