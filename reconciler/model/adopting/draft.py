"""What has been found out about a hand-made app so far, and the manifest that follows from it."""

from __future__ import annotations

import posixpath
import re
from dataclasses import dataclass, field

from reconciler.model.adopting import reasons
from reconciler.model.manifest import API_VERSION, KIND
from reconciler.model.tls_checks import HTTPS_PORT

FILES_OF_USERS = re.compile(r"(media|uploads?|user[_-]?files|attachments)$")
"""Names of folders that an app writes into while it runs."""

FOR_UPLOADS = {"honour-range": ["true"], "offload-threads": ["1"]}
"""With ``static-map``: films can be wound, and no worker waits for a file to be sent."""


@dataclass(frozen=True, slots=True, order=True)
class LeftOut:
    """A setting that the manifest does not have: where it stands (``line`` from 1), its words, and why.

    ``why`` ends with what to do, after its last semicolon.
    """

    file: str
    line: int
    what: str
    why: str

    @property
    def is_done(self) -> bool:
        """Whether there is nothing to decide."""
        return self.why.endswith(reasons.NOTHING)

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.what}: {self.why}"


@dataclass(frozen=True, slots=True)
class Folder:
    """A folder that nginx serves: its URL with a `/` at both ends, and its path below the app's folder."""

    url: str
    source: str


@dataclass(slots=True)
class Draft:
    """Filled by the readers of the two files. ``folder`` is the app's folder on the host, an absolute path.

    ``sockets`` are the addresses that uWSGI listens on, as its file has them. What uWSGI does by default is the
    default here too: one process with one thread.
    """

    name: str
    repository: str
    directory: str
    folder: str
    module: str | None = None
    processes: int = 1
    threads: int = 1
    user: str | None = None
    env: dict[str, str] = field(default_factory=dict)
    options: dict[str, list[str]] = field(default_factory=dict)
    static: list[Folder] = field(default_factory=list)
    shared: list[str] = field(default_factory=list)
    listen: int = 80
    certificate: str | None = None
    key: str | None = None
    tls_listen: int | None = None
    redirects: bool = False
    server_names: list[str] = field(default_factory=list)
    body_size: str | None = None
    access_log: bool = True
    template: str | None = None
    probe: str | None = None
    sockets: list[str] = field(default_factory=list)
    left: list[LeftOut] = field(default_factory=list)

    def leave(self, file: str, line: int, what: str, why: str) -> None:
        """Say that something is not carried over."""
        self.left.append(LeftOut(file, line, what, why))

    @property
    def has_tls(self) -> bool:
        """Whether the site spoke HTTPS, with a certificate that was found."""
        return self.tls_listen is not None and self.certificate is not None and self.key is not None

    def below(self, path: str) -> str | None:
        """A path of the host, relative to the app's folder (``.`` for that itself); ``None``: it lies elsewhere."""
        whole = posixpath.normpath(posixpath.join(self.folder, path))
        return posixpath.relpath(whole, self.folder) if f"{whole}/".startswith(f"{self.folder}/") else None

    def serve(self, url: str, source: str) -> int:
        """Have a folder served, in place of what the URL led to so far; its number in ``spec.static``."""
        wanted = Folder(f"{url.rstrip('/')}/", source)
        for number, folder in enumerate(self.static):
            if folder.url == wanted.url:
                self.static[number] = wanted
                return number
        self.static.append(wanted)
        return len(self.static) - 1

    def answer_to(self, *names: str) -> None:
        """Add server names."""
        self.server_names += [name for name in names if name not in self.server_names]

    def publish(self, url: str, source: str) -> None:
        """Keep a folder that the app writes into across releases, and have uWSGI serve it."""
        self.share(source)
        maps = self.options.setdefault("static-map", [])
        wanted = f"{url.rstrip('/')}/={source}"
        if wanted not in maps:
            maps.append(wanted)

    def share(self, source: str) -> None:
        """Keep a folder across releases."""
        if source not in self.shared:
            self.shared.append(source)


def holds_files_of_users(source: str) -> bool:
    """Whether a folder's name says that the app writes into it."""
    return FILES_OF_USERS.search(source.lower()) is not None


def manifest_of(draft: Draft) -> dict[str, object]:
    """The manifest as plain data; what is the manifest's default is left out where uWSGI has no other one."""
    uwsgi: dict[str, object] = {"module": draft.module, "processes": draft.processes, "threads": draft.threads}
    if draft.options:
        options = {**(FOR_UPLOADS if "static-map" in draft.options else {}), **draft.options}
        uwsgi["options"] = {name: _value(values) for name, values in options.items()}
    spec: dict[str, object] = {
        "source": _given(repository=draft.repository, directory=draft.directory if draft.directory != "." else None),
        # files reach browsers as they are in git, as they did before
        "static": [{"source": f.source, "url": f.url, "minify": False} for f in draft.static],
        "shared": draft.shared,
        "uwsgi": uwsgi,
        "nginx": _given(
            listen=draft.listen if draft.listen != 80 else None,
            serverNames=draft.server_names,
            tls=_tls(draft) if draft.has_tls else None,
            template=f"{draft.name}.conf.j2" if draft.template is not None else None,
            clientMaxBodySize=draft.body_size,
            accessLog=None if draft.access_log else False,
        ),
        "user": draft.user,
        "env": draft.env,
        "verify": {"probes": [{"path": draft.probe}]} if draft.probe is not None else None,
    }
    return {
        "apiVersion": API_VERSION,
        "kind": KIND,
        "metadata": {"name": draft.name},
        "spec": _given(**spec),
    }


def _tls(draft: Draft) -> dict[str, object]:
    return _given(
        certificate=draft.certificate,
        key=draft.key,
        listen=draft.tls_listen if draft.tls_listen != HTTPS_PORT else None,
        redirect=None if draft.redirects else False,
    )


def _given(**values: object) -> dict[str, object]:
    return {name: value for name, value in values.items() if value not in (None, [], {})}


def _value(values: list[str]) -> object:
    if len(values) > 1:
        return values
    (text,) = values
    if re.fullmatch(r"0|[1-9][0-9]{0,9}", text):
        return int(text)
    return {"true": True, "false": False}.get(text, text)
