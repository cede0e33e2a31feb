"""What each location of the app's site becomes: a static folder, the way to the app, or a part of a template."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from reconciler.model.adopting import reasons
from reconciler.model.adopting.draft import Draft, holds_files_of_users
from reconciler.model.adopting.nginx_syntax import Directive, quoted

UWSGI_PARAMS = {
    "QUERY_STRING": "$query_string",
    "REQUEST_METHOD": "$request_method",
    "CONTENT_TYPE": "$content_type",
    "CONTENT_LENGTH": "$content_length",
    "REQUEST_URI": "$request_uri",
    "PATH_INFO": "$document_uri",
    "DOCUMENT_ROOT": "$document_root",
    "SERVER_PROTOCOL": "$server_protocol",
    "REQUEST_SCHEME": "$scheme",
    "REMOTE_ADDR": "$remote_addr",
    "REMOTE_PORT": "$remote_port",
    "SERVER_PORT": "$server_port",
    "SERVER_NAME": "$server_name",
}
"""The parameters that every site passes, which are those of nginx's own file ``uwsgi_params``."""

LOADS_ANOTHER_APP = re.compile(r"UWSGI_(CHDIR|SCRIPT|MODULE|CALLABLE|PYHOME|FILE|HOME|SETENV)$")
LIKE_PROXY = frozenset({
    "connect_timeout", "read_timeout", "send_timeout", "buffering", "buffers", "buffer_size", "busy_buffers_size",
    "request_buffering", "intercept_errors", "hide_header", "pass_header", "ignore_client_abort", "ignore_headers",
    "max_temp_file_size", "next_upstream", "pass_request_headers", "pass_request_body", "limit_rate",
})  # fmt: skip
"""What nginx calls ``proxy_…`` for HTTP and ``uwsgi_…`` for uWSGI, with the same meaning."""
FILE_WORDS = ("alias", "root")
SAID_BY_EVERY_SITE = frozenset({"uwsgi_pass", "proxy_pass", "try_files", "error_log", "index", *FILE_WORDS})
PARAMETER_FILES = ("uwsgi_params", "proxy_params")
URL = re.compile(r"/(?:(?!\.{1,2}/)[A-Za-z0-9._~!&'()*+,=:@%-]+/)*(?!\.{1,2}$)[A-Za-z0-9._~!&'()*+,=:@%-]*")
"""What the URL of a static folder may be, with or without the ``/`` at its end."""
HTTP_PORT = 80
NGINX_FILES_ONLY = frozenset({
    "autoindex", "autoindex_exact_size", "autoindex_format", "autoindex_localtime", "default_type", "types",
    "gzip_static", "brotli_static", "disable_symlinks", "aio", "directio", "mp4", "flv",
})  # fmt: skip
"""What nginx does with files that it reads itself."""


@dataclass(slots=True)
class Site:
    """The app's site while it is read.

    ``own`` are the targets of ``uwsgi_pass`` that mean the app. The lists hold what only a template can say: inside
    the server (``server``), as locations, as further servers, and beside them. ``names`` are patterns of server
    names, ``listens`` further ports. ``special`` says that the locations need a template, ``at_the_top`` that ``/``
    leads to the app.
    """

    own: frozenset[str]
    upstreams: dict[str, Directive]
    draft: Draft
    root: Directive | None = None
    default_server: bool = False
    names: list[str] = field(default_factory=list)
    listens: list[Directive] = field(default_factory=list)
    server: list[Directive] = field(default_factory=list)
    locations: list[Directive] = field(default_factory=list)
    servers: list[Directive] = field(default_factory=list)
    beside: list[Directive] = field(default_factory=list)
    special: bool = False
    at_the_top: bool = False

    @property
    def needs_template(self) -> bool:
        """Whether the keys of ``spec.nginx`` cannot say all of it."""
        named = self.default_server and bool(self.draft.server_names)
        lists = (self.names, self.listens, self.server, self.servers, self.beside)
        return self.special or named or any(lists)


def carry_location(location: Directive, site: Site) -> None:
    """Put one location into the site. What a template would say of it is kept, in case that one is needed."""
    modifier, path = path_of(location)
    if not modifier.startswith("~") and not path.startswith(("/", "@")):
        site.draft.leave(location.file, location.line, str(location), reasons.NO_REQUEST)
    elif _passes_to_app(location, site):
        _carry_app(location, site)
    elif any(one.name in FILE_WORDS for one in location.inner):
        _carry_files(location, site)
    elif (root := _inherited(location, site)) is not None:
        _carry_files(replace(location, block=(root, *location.inner)), site)
    elif _fallback(location.inner) is not None:
        _carry_tried(location, site)
    else:
        site.special = True
        site.locations.append(location)


def _passes_to_app(location: Directive, site: Site) -> bool:
    return any(one.arguments and one.arguments[0] in site.own for one in location.inner if one.name.endswith("_pass"))


def _inherited(location: Directive, site: Site) -> Directive | None:
    """The ``root`` of the server, for a location that looks for files below it."""
    if any(one.name.endswith("_pass") or one.name in ("return", "deny") for one in location.inner):
        return None
    return site.root


def path_of(location: Directive) -> tuple[str, str]:
    """The modifier (``=``, ``~``, ``^~``, …; empty without one) and the path of a location."""
    if len(location.arguments) > 1:
        return location.arguments[0], location.arguments[1]
    word = location.arguments[0] if location.arguments else "/"
    # nginx takes the modifier without a blank too
    found = re.match(r"(=|\^~|~\*|~)(/.*)", word)
    return (found[1], found[2]) if found else ("", word)


def port_of(listen: Directive) -> int | None:
    """The port of a ``listen``; ``None`` where it is a path, or says nothing."""
    if not listen.arguments:
        return None
    found = re.fullmatch(r"(?:.*:)?([0-9]+)", listen.arguments[0])
    if found is not None:
        return int(found[1])
    return None if "unix:" in listen.arguments[0] else HTTP_PORT


def _carry_app(location: Directive, site: Site) -> None:
    modifier, path = path_of(location)
    extras = [kept for one in location.inner if (kept := _of_app(one, site)) is not None]
    named = path.startswith("@")
    site.special = site.special or bool(extras) or bool(modifier) or not (named or path == "/")
    if path == "/":
        site.at_the_top = True
    elif not named and not modifier.startswith("~"):
        site.draft.probe = site.draft.probe or path
    for one in location.named("try_files"):
        site.draft.leave(one.file, one.line, str(one), reasons.TRIED_FILES)
    marker = Directive("uwsgi_pass", ("app",), location.file, location.line)
    site.locations.append(replace(location, block=(marker, *extras)))


def _carry_tried(location: Directive, site: Site) -> None:
    """A location without files that asks the app for what it does not find."""
    _, path = path_of(location)
    if path == "/":
        why = f"without a root there are no files to try, and every request goes to the app; {reasons.NOTHING}"
        site.draft.leave(location.file, location.line, str(location), why)
        return
    if path.startswith("/"):
        site.draft.probe = site.draft.probe or path
    site.special = True
    site.locations.append(location)


def _of_app(one: Directive, site: Site) -> Directive | None:
    """A directive of the app's location as a template says it; ``None`` where every site says it, or none can."""
    why = None
    kept: Directive | None = one
    if one.name in SAID_BY_EVERY_SITE:
        kept = None
    elif one.name == "include":
        kept = None
        if posixpath.basename(one.arguments[0] if one.arguments else "") not in PARAMETER_FILES:
            why = reasons.MISSING_FILE
    elif one.name == "uwsgi_param" and one.arguments:
        kept = None if UWSGI_PARAMS.get(one.arguments[0]) == "".join(one.arguments[1:2]) else one
        if LOADS_ANOTHER_APP.match(one.arguments[0]):
            kept, why = None, "the app is what spec.uwsgi.module names; correct that if it is another one"
    elif one.name == "proxy_set_header" and len(one.arguments) == 2:
        kept = _header(one)
    elif one.name.startswith("proxy_"):
        alike = one.name.removeprefix("proxy_") in LIKE_PROXY
        kept = replace(one, name=one.name.replace("proxy_", "uwsgi_", 1)) if alike else None
        why = None if alike else reasons.HTTP_ONLY
    if why is not None:
        site.draft.leave(one.file, one.line, str(one), why)
    return kept


def _header(one: Directive) -> Directive | None:
    """A header of the request, which uWSGI is told as a parameter; the host and the connection it knows anyway."""
    header, value = one.arguments
    if header.lower() in ("host", "connection", "upgrade"):
        return None
    return replace(one, name="uwsgi_param", arguments=(f"HTTP_{header.upper().replace('-', '_')}", value))


def _carry_files(location: Directive, site: Site) -> None:
    """A location with files: those of the app's folder are served from releases, others stay where they are."""
    modifier, path = path_of(location)
    word = next(one for one in location.inner if one.name in FILE_WORDS)
    folder = _folder(word, path)
    inside = site.draft.below(folder) if folder.startswith("/") else None
    extras = [one for one in location.inner if one is not word]
    fallback = _fallback(extras)
    if inside is None:
        if _file_exists_nowhere(word):
            site.draft.leave(word.file, word.line, str(location), reasons.RELATIVE)
            return
        if holds_files_of_users(folder.rstrip("/")) and "$" not in folder:
            why = reasons.UPLOADS_ELSEWHERE.format(folder=folder.rstrip("/"))
            site.draft.leave(word.file, word.line, str(word), why)
        site.special = True
        site.locations.append(location)
    elif modifier == "=":
        _carry_file(location, word, inside, extras, site)
    elif modifier.startswith("~"):
        site.draft.leave(location.file, location.line, str(location), reasons.PATTERN)
    elif not URL.fullmatch(path) or not re.fullmatch(r"[^\\]+", inside):
        site.draft.leave(location.file, location.line, str(location), reasons.NO_URL)
    elif inside == "." or (fallback is None and path == "/"):
        why = reasons.WHOLE_FOLDER
        site.draft.leave(location.file, location.line, str(location), why)
    elif holds_files_of_users(inside):
        _carry_uploads(location, path, inside, extras, site)
    else:
        number = site.draft.serve(path, inside)
        others = [one for one in extras if one.name not in ("try_files", "index")] if path == "/" else extras
        site.special = site.special or bool(others)
        marker = Directive("alias" if path != "/" else "root", (str(number),), location.file, location.line)
        site.locations.append(replace(location, block=(marker, *extras)))


def _carry_uploads(location: Directive, path: str, inside: str, extras: list[Directive], site: Site) -> None:
    """A folder that the app writes into: no release has it, and uWSGI serves it with the rights of the app."""
    site.draft.publish(path, inside)
    kept = []
    for one in extras:
        if one.name in NGINX_FILES_ONLY:
            site.draft.leave(one.file, one.line, str(one), reasons.FROM_UWSGI)
        elif one.name not in ("try_files", "index"):
            kept.append(one)
    site.special = site.special or bool(kept)
    marker = Directive("uwsgi_pass", ("app",), location.file, location.line)
    site.locations.append(replace(location, block=(marker, *kept)))


def _folder(word: Directive, path: str) -> str:
    given = word.arguments[0] if word.arguments else ""
    return given if word.name == "alias" or not given.startswith("/") else posixpath.join(given, path.strip("/"))


def _file_exists_nowhere(word: Directive) -> bool:
    return not word.arguments or not word.arguments[0].startswith(("/", "$"))


def _fallback(extras: Iterable[Directive]) -> str | None:
    """The named location that requests go to for which there is no file."""
    found = [one.arguments[-1] for one in extras if one.name == "try_files" and one.arguments]
    return found[-1] if found and found[-1].startswith("@") else None


def _carry_file(location: Directive, word: Directive, inside: str, extras: list[Directive], site: Site) -> None:
    """``location = /favicon.ico``: kept where it lies in a folder that is served."""
    for number, folder in enumerate(site.draft.static):
        if inside.startswith(f"{folder.source}/"):
            marker = Directive("alias", (str(number), inside.removeprefix(f"{folder.source}/")), word.file, word.line)
            site.special = True
            site.locations.append(replace(location, block=(marker, *extras)))
            return
    why = f"spec.static serves folders; put {quoted(posixpath.basename(inside))} into one with a URL"
    site.draft.leave(location.file, location.line, str(location), why)
