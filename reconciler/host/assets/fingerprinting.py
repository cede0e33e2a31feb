"""Second names that carry a digest of the content, so that they can be cached for ever."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from graphlib import CycleError, TopologicalSorter
from pathlib import Path, PurePosixPath
from urllib.parse import quote

from reconciler.host.assets.references import Reference, references, replaced
from reconciler.model.errors import StageFailed

MANIFEST_NAME = "assets-manifest.json"
"""Maps plain names to fingerprinted ones: ``{"version": 1, "files": {"site.css": "site.0123456789ab.css"}}``."""
MANIFEST_VERSION = 1
DIGEST_DIGITS = 12

_Links = Sequence[tuple[Reference, str]]


def fingerprint(folder: Path, names: Sequence[str], mount: str) -> dict[str, str]:
    """Give each file a second, fingerprinted name (a hard link), and write the manifest; return second names by name.

    References in stylesheets to files of the folder, relative or below the URL ``mount``, are turned to the second
    names, files that are referred to first, so a change travels up to every file that leads to it. Stylesheets that
    import each other in a circle, and those that import such, name each other plainly: plain names always work.

    Raises :class:`StageFailed` when a name that must be written is taken by a file of the app.
    """
    if MANIFEST_NAME in names:
        raise StageFailed(
            f"{MANIFEST_NAME} is a file of the app, and the name of the list of fingerprinted files",
            hint="give the app's file another name, or set fingerprint: false",
        )
    known = set(names)
    texts = {name: _text(folder / name) for name in names if name.lower().endswith(".css")}
    links = {name: list(_links(name, text, mount, known)) for name, text in texts.items()}
    second = {name: _second_name(name, _digest(folder / name)) for name in names if name not in texts}
    for name in _order(links):
        _turn(folder / name, texts[name], links[name], second)
        second[name] = _second_name(name, _digest(folder / name))
    circular = sorted(texts.keys() - second.keys())
    plain = dict(second)
    for name in circular:
        _turn(folder / name, texts[name], links[name], plain)
        second[name] = _second_name(name, _digest(folder / name))
    _write(folder, second)
    return second


def _write(folder: Path, second: Mapping[str, str]) -> None:
    for name, other in second.items():
        try:
            os.link(folder / name, folder / other)
        except FileExistsError as error:
            raise StageFailed(
                f"{other} is a file of the app, and the fingerprinted name of {name}", hint="remove it from the app"
            ) from error
    content = {"version": MANIFEST_VERSION, "files": dict(sorted(second.items()))}
    (folder / MANIFEST_NAME).write_text(json.dumps(content, indent=1) + "\n")


def _links(name: str, text: str, mount: str, known: set[str]) -> Iterator[tuple[Reference, str]]:
    for reference in references(text):
        target = reference.target(name, mount)
        if target in known:
            yield reference, target


def _order(links: Mapping[str, _Links]) -> Iterator[str]:
    """Stylesheets after those that they refer to; those in a circle, and above one, do not come up."""
    sorter = TopologicalSorter(
        {name: sorted({target for _, target in found if target in links}) for name, found in links.items()}
    )
    # what lies outside the circles can be had in spite of them
    with contextlib.suppress(CycleError):
        sorter.prepare()
    while ready := sorter.get_ready():
        yield from ready
        sorter.done(*ready)


def _turn(path: Path, text: str, found: _Links, second: Mapping[str, str]) -> None:
    changes = [
        (reference, _turned(reference, target, second[target])) for reference, target in found if target in second
    ]
    if changes:
        path.write_bytes(replaced(text, changes).encode("utf-8", "surrogateescape"))


def _turned(reference: Reference, target: str, second: str) -> str:
    """The reference with the digest put in, and all else (escapes, query, fragment) as it was."""
    path = reference.path
    rest = reference.raw[len(path) :]
    suffix = PurePosixPath(target).suffix
    digest = PurePosixPath(second).stem.rpartition(".")[2] if suffix else PurePosixPath(second).suffix[1:]
    if path.endswith(suffix):
        return f"{path[: len(path) - len(suffix)]}.{digest}{suffix}{rest}"
    start = path.rfind("/") + 1
    return f"{path[:start]}{quote(PurePosixPath(second).name)}{rest}"


def _second_name(name: str, digest: str) -> str:
    path = PurePosixPath(name)
    return str(path.with_name(f"{path.stem}.{digest}{path.suffix}"))


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:DIGEST_DIGITS]


def _text(path: Path) -> str:
    return path.read_bytes().decode("utf-8", "surrogateescape")
