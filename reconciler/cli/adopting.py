"""Reading the files of a hand-made server, and writing what follows from them into a config repository."""

from __future__ import annotations

import os
import posixpath
import re
from dataclasses import dataclass
from pathlib import Path

import yaml

from reconciler.host.files import write_whole
from reconciler.host.processes import run
from reconciler.host.uwsgi import find_uwsgi
from reconciler.model.adopting.draft import Draft, LeftOut, manifest_of
from reconciler.model.adopting.nginx_sites import carry_nginx
from reconciler.model.adopting.nginx_syntax import ReadIncluded, parse, with_includes
from reconciler.model.adopting.uwsgi_ini import read_ini
from reconciler.model.adopting.uwsgi_settings import app_folder, carry_uwsgi
from reconciler.model.errors import CommandFailed, HostError, ManifestError, UsageError
from reconciler.model.manifest_reading import read_manifests

NGINX_FOLDER = Path("/etc/nginx")
NOT_INCLUDED = re.compile(r"(uwsgi_params|fastcgi_params|proxy_params|mime\.types|.*ssl.*)$")
"""Files that say nothing about an app, or about TLS only."""
NAME_CHARACTERS = 40
HELP_SECONDS = 10.0
LINE_CHARACTERS = 110


@dataclass(frozen=True, slots=True)
class Request:
    """What is adopted. ``at`` is where uWSGI's file lies on its server, where that is not where it is read."""

    uwsgi: Path
    site: Path | None
    repository: str
    directory: str = "."
    name: str | None = None
    module: str | None = None
    at: str | None = None


@dataclass(frozen=True, slots=True)
class Adoption:
    """What was made of it: the texts of the files to write, by their paths, and all that is not in them.

    ``moves`` are folders of the old host and where the new one keeps them, below its state folder.
    """

    app: str
    files: dict[str, str]
    left: tuple[LeftOut, ...]
    moves: tuple[tuple[str, str], ...] = ()

    def as_json(self) -> dict[str, object]:
        """The object that ``adopt --json`` prints."""
        left = [{"file": one.file, "line": one.line, "what": one.what, "why": one.why} for one in self.left]
        moves = [{"from": old, "to": new} for old, new in self.moves]
        return {"app": self.app, "files": self.files, "left": left, "moves": moves}


def adopt(request: Request) -> Adoption:
    """Read both files and make the manifest; writes nothing.

    Raises :class:`UsageError` for what cannot be read, :class:`ManifestError` for a manifest that is not valid.
    """
    if request.uwsgi.suffix in (".xml", ".yaml", ".yml", ".json"):
        raise UsageError(
            f"{request.uwsgi}: only uWSGI's ini files can be adopted", hint="write the same options into an ini file"
        )
    path = request.at or os.path.abspath(request.uwsgi)  # noqa: PTH100  not through links: uWSGI does neither
    ini = read_ini(_text(request.uwsgi), str(request.uwsgi), path)
    if not ini.options:
        raise UsageError(f"{request.uwsgi} has no section [uwsgi]", hint="name uWSGI's ini file")
    draft = Draft(request.name or _name(path), request.repository, request.directory, app_folder(ini, path))
    carry_uwsgi(ini, draft, _known_options())
    draft.module = request.module or draft.module
    if draft.module is None:
        raise UsageError(
            f"{request.uwsgi} names no WSGI callable that a manifest can name",
            hint="name it with `--module MODULE:CALLABLE`, such as `--module wsgi:app`",
        )
    if request.site is not None:
        directives = parse(_text(request.site), str(request.site))
        carry_nginx(with_includes(directives, _reader(request.site)), draft)
    return _checked(draft, request)


def write(adoption: Adoption, folder: Path) -> bool:
    """Write the files below ``folder``; returns whether that changed anything.

    Raises :class:`UsageError` before anything is written when one is there that says something else.
    """
    missing = {name: text for name, text in adoption.files.items() if not _is_there(folder / name, text)}
    for name, text in missing.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        write_whole(folder / name, text.encode())
    return bool(missing)


def _is_there(file: Path, text: str) -> bool:
    if file.is_symlink() or (file.exists() and not file.is_file()):
        raise UsageError(f"{file} is no file of its own", hint="choose another `--name`, or move it away")
    if not file.exists():
        return False
    if file.read_bytes() != text.encode():
        raise UsageError(
            f"{file} exists already, and says something else", hint="choose another `--name`, or move it away"
        )
    return True


def _checked(draft: Draft, request: Request) -> Adoption:
    made_from = " and ".join(path.name for path in (request.uwsgi, request.site) if path is not None)
    data = yaml.safe_dump(manifest_of(draft), sort_keys=False, allow_unicode=True, width=LINE_CHARACTERS)
    files = {f"manifests/{draft.name}.yaml": f"# made from {made_from} by `reconciler adopt`\n{data}"}
    problems = read_manifests({name: text.encode() for name, text in files.items()}).problems
    if problems:
        raise ManifestError(problems, hint="correct the option of this command, or the setting that it comes from")
    if draft.template is not None:
        files[f"templates/{draft.name}.conf.j2"] = draft.template
    moves = tuple((posixpath.join(draft.folder, path), f"shared/{draft.name}/{path}") for path in draft.shared)
    return Adoption(draft.name, files, tuple(sorted(set(draft.left))), moves)


def _name(path: str) -> str:
    """A name for the app, from the file's name, or its folder's where the file has a usual one."""
    stem, folder = Path(path).stem, Path(path).parent.name
    word = folder if stem in ("uwsgi", "app", "vassal", "config", "production") and folder else stem
    plain = re.sub(r"[^a-z0-9]+", "-", re.sub(r"[._-]?uwsgi[._-]?", "", word.lower()) or word.lower())
    return re.sub(r"^[^a-z]+", "", plain)[:NAME_CHARACTERS].strip("-") or "app"


def _text(file: Path) -> str:
    try:
        return file.read_text("utf-8")
    except UnicodeDecodeError:
        raise UsageError(f"{file} is not text in UTF-8", hint="name a file of settings") from None
    except OSError as error:
        hint = "name uWSGI's ini file, and nginx's file with the site after --site"
        raise UsageError(f"{file} cannot be read: {error.strerror}", hint=hint) from None


def _reader(site: Path) -> ReadIncluded:
    """How ``include`` finds files: beside the site file, above it (``sites-enabled``), and in nginx's own folder."""
    places = (site.parent, site.parent.parent, NGINX_FOLDER)

    def read(pattern: str) -> list[tuple[str, str]] | None:
        if not pattern or NOT_INCLUDED.fullmatch(Path(pattern).name):
            return None
        for place in places:
            whole = os.path.normpath(os.path.join(place.absolute(), pattern))  # noqa: PTH118
            found = sorted(Path("/").glob(whole.lstrip("/"))) if whole != "/" else []
            if found:
                return [(str(file), _text(file)) for file in found if file.is_file()]
        return [] if "*" in pattern else None

    return read


def _known_options() -> frozenset[str] | None:
    """The names of uWSGI's options, as the uWSGI of this host lists them; ``None`` where there is none."""
    try:
        text = run((str(find_uwsgi()), "--help"), timeout=HELP_SECONDS, what="uwsgi --help").text
    except (CommandFailed, HostError):
        return None
    found = frozenset(re.findall(r"^\s+(?:-.\|)?--([a-z0-9-]+)", text, re.MULTILINE))
    # one without Python in it does not know what its plugin would add
    return found if "wsgi-file" in found else None
