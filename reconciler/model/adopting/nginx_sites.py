"""Which of the servers in nginx's configuration is the app's, and what its site says in a manifest."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from reconciler.model.adopting import reasons
from reconciler.model.adopting.draft import Draft
from reconciler.model.adopting.nginx_locations import Site, carry_location, path_of, port_of
from reconciler.model.adopting.nginx_syntax import Directive, written
from reconciler.model.adopting.site_template import site_template
from reconciler.model.errors import UsageError

PASSES = ("uwsgi_pass", "proxy_pass")
NGINX_ITSELF = frozenset({
    "user", "worker_processes", "worker_rlimit_nofile", "worker_cpu_affinity", "pid", "events", "daemon",
    "include", "load_module", "default_type", "sendfile", "tcp_nopush", "tcp_nodelay", "types_hash_max_size", "types",
    "server_tokens", "server_names_hash_bucket_size", "server_names_hash_max_size", "error_log", "access_log", "env",
    "pcre_jit", "log_format",
})  # fmt: skip
"""Directives outside of servers that belong to nginx as a whole and to no app."""
BESIDE_SERVERS = frozenset({
    "map", "geo", "limit_req_zone", "limit_conn_zone", "split_clients",
    "uwsgi_cache_path", "proxy_cache_path", "map_hash_max_size", "map_hash_bucket_size",
})  # fmt: skip
"""Directives outside of servers that a site template can bring along."""
SAID_WITH_TLS = frozenset({
    ("ssl_protocols", "TLSv1.2", "TLSv1.3"), ("ssl_prefer_server_ciphers", "off"), ("ssl_session_tickets", "off"),
    ("ssl_session_timeout", "1d"), ("ssl_stapling", "off"),
})  # fmt: skip
"""Settings of TLS that every site with a certificate has."""
SERVER_NAME = re.compile(r"(\*\.)?([A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?\.?)+")
SIZE = re.compile(r"[0-9]{1,6}[kKmMgG]?")


@dataclass(frozen=True, slots=True)
class _Beside:
    """What stands beside the servers."""

    servers: tuple[Directive, ...]
    upstreams: dict[str, Directive]
    others: tuple[Directive, ...]


def carry_nginx(directives: Iterable[Directive], draft: Draft) -> None:
    """Put the app's site into the draft.

    Raises :class:`UsageError` when no server, or more than one app's, passes requests to uWSGI.
    """
    beside = _look(_opened(directives))
    targets = {server: frozenset(_targets(server)) for server in beside.servers}
    own = _own_targets(targets, beside, draft)
    mine = [server for server in beside.servers if targets[server] & own]
    main = min(mine, key=_is_tls)
    site = Site(own, beside.upstreams, draft)
    _carry_tls(mine, beside.servers, site)
    _carry_server(_with_settings_for_all(main, beside.others), site)
    for server in beside.servers:
        if server is main:
            continue
        if server in mine:
            _carry_second(server, main, site)
        else:
            _carry_other(server, site)
    used = "".join(map(written, (*site.server, *site.locations, *site.servers)))
    site.beside += [one for one in beside.others if one.name in BESIDE_SERVERS]
    site.beside += [one for name, one in beside.upstreams.items() if f"//{name}" in used or f"_pass {name}" in used]
    for name in sorted(_own_upstreams(own, beside)):
        _leave_servers(beside.upstreams[name], draft)
    if site.needs_template:
        draft.template = site_template(site)


def _opened(directives: Iterable[Directive]) -> Iterator[Directive]:
    """The same without the ``http { }`` around them."""
    for one in directives:
        if one.name == "http":
            yield from one.inner
        else:
            yield one


def _look(directives: Iterable[Directive]) -> _Beside:
    found = tuple(directives)
    return _Beside(
        tuple(one for one in found if one.name == "server"),
        {one.arguments[0]: one for one in found if one.name == "upstream" and one.arguments},
        tuple(one for one in found if one.name not in NGINX_ITSELF and one.name != "server"),
    )


def _with_settings_for_all(server: Directive, beside: Iterable[Directive]) -> Directive:
    """The server with what is said beside it for all servers, where it does not say it anew."""
    own = {one.name for one in server.inner}
    left = (*BESIDE_SERVERS, "upstream", *own)
    return replace(server, block=(*(one for one in beside if one.name not in left), *server.inner))


def _within(directive: Directive) -> Iterator[Directive]:
    for one in directive.inner:
        yield one
        yield from _within(one)


def _targets(server: Directive) -> Iterator[str]:
    return (one.arguments[0] for one in _within(server) if one.name in PASSES and one.arguments)


def _own_targets(targets: dict[Directive, frozenset[str]], beside: _Beside, draft: Draft) -> frozenset[str]:
    """The targets that are this app's: those with its sockets, else the only one that there is."""
    everything = sorted({target for found in targets.values() for target in found})
    sockets = {_address(socket) for socket in draft.sockets}
    matching = {target for target in everything if _addresses(target, beside.upstreams) & sockets}
    if matching:
        return frozenset(matching)
    passed = [one for server in beside.servers for one in _within(server) if one.name == "uwsgi_pass"]
    found = {one.arguments[0] for one in passed if one.arguments} or set(everything)
    if len(found) == 1:
        return frozenset(found)
    files = ", ".join(sorted({server.file for server in beside.servers})) or "the site file"
    if not found:
        raise UsageError(f"{files}: no server passes requests to uWSGI", hint="name the file that has `uwsgi_pass`")
    raise UsageError(
        f"{files}: it cannot be told which of {', '.join(sorted(found))} is the app's",
        hint="name the same socket in uWSGI's file, or leave only the app's servers in nginx's",
    )


def _addresses(target: str, upstreams: dict[str, Directive]) -> set[str]:
    name = re.sub(r"^(uwsgi|suwsgi|https?)://", "", target).split("/")[0] if "unix:" not in target else target
    if name in upstreams:
        return {_address(server.arguments[0]) for server in upstreams[name].named("server") if server.arguments}
    return {_address(re.sub(r"^(uwsgi|suwsgi|https?)://", "", target))}


def _address(text: str) -> str:
    """A socket as one spelling: its path, or ``:PORT``."""
    path = text.removeprefix("unix:")
    if path.startswith("/"):
        return posixpath.normpath("/" + path.lstrip("/")).removesuffix(":")
    return ":" + path.split("/")[0].rpartition(":")[2]


def _own_upstreams(own: frozenset[str], beside: _Beside) -> set[str]:
    names = {re.sub(r"^(uwsgi|suwsgi|https?)://", "", target).split("/")[0] for target in own}
    return names & beside.upstreams.keys()


def _leave_servers(upstream: Directive, draft: Draft) -> None:
    """Of the app's own upstream nothing but its one server is needed."""
    first, *others = upstream.named("server") or (None,)
    for one in others:
        if one is not None:
            draft.leave(one.file, one.line, str(one), reasons.OTHER_HOST)
    if first is not None and len(first.arguments) > 1:
        draft.leave(first.file, first.line, str(first), reasons.ONE_SERVER)
    for one in upstream.inner:
        if one.name != "server":
            draft.leave(one.file, one.line, str(one), reasons.ONE_SERVER)


def _is_tls(server: Directive) -> bool:
    """Whether a server speaks TLS only."""
    listens = server.named("listen")
    return bool(listens) and all(_speaks_tls(one) for one in listens)


def _speaks_tls(listen: Directive) -> bool:
    return "ssl" in listen.arguments or "quic" in listen.arguments or port_of(listen) == 443


def _carry_tls(mine: Iterable[Directive], servers: Iterable[Directive], site: Site) -> None:
    """Where the app's servers speak HTTPS, with which certificate, and whether HTTP only leads there."""
    draft, plain = site.draft, False
    for server in mine:
        for one in server.inner:
            value = one.arguments[0] if one.arguments else ""
            if one.name == "listen" and _speaks_tls(one) and draft.tls_listen is None:
                draft.tls_listen = port_of(one)
            elif one.name == "ssl_certificate" and value.startswith("/") and "$" not in value:
                draft.certificate = draft.certificate or value
            elif one.name == "ssl_certificate_key" and value.startswith("/") and "$" not in value:
                draft.key = draft.key or value
        listens = server.named("listen")
        leads = any(map(_redirects_to_tls, server.inner))
        plain = plain or (not leads and (not listens or not all(map(_speaks_tls, listens))))
    draft.redirects = not plain
    if draft.has_tls:
        names = {name for server in mine for one in server.named("server_name") for name in one.arguments}
        for server in servers:
            if server not in mine and _only_leads_to_tls(server, names) and (at := server.named("listen")):
                draft.listen = port_of(at[0]) or draft.listen


def _only_leads_to_tls(server: Directive, names: set[str]) -> bool:
    """Whether a server is what `redirect` says: over HTTP, for the app's names, and nothing but the way to HTTPS."""
    own = {name for one in server.named("server_name") for name in one.arguments}
    said = {"listen", "server_name", "return", "rewrite", "if", "location", "access_log", "error_log"}
    plain = not any(map(_speaks_tls, server.named("listen"))) and all(one.name in said for one in server.inner)
    return plain and own <= {*names, "_", ""} and any(map(_redirects_to_tls, _within(server)))


def _leave_tls(one: Directive, site: Site) -> None:
    """List a setting of TLS, unless the manifest or every site with TLS says it."""
    draft, words = site.draft, (one.name, *one.arguments)
    if not draft.has_tls:
        draft.leave(one.file, one.line, str(one), reasons.WITHOUT_CERTIFICATE)
        return
    carried = words in (("ssl_certificate", draft.certificate), ("ssl_certificate_key", draft.key))
    if one.name == "listen":
        carried = port_of(one) == draft.tls_listen
    if not carried and words not in SAID_WITH_TLS:
        draft.leave(one.file, one.line, str(one), reasons.OWN_TLS)


def _carry_server(server: Directive, site: Site) -> None:
    draft = site.draft
    _carry_listens(server, site)
    for one in server.inner:
        if one.name == "server_name":
            _carry_names(one, site)
        elif one.name == "client_max_body_size":
            _carry_size(one, draft)
        elif one.name == "access_log":
            _carry_access_log(one, draft)
        elif one.name in ("listen", "error_log", "http2", "root", "index", "location"):
            continue
        elif one.name.startswith("ssl_"):
            _leave_tls(one, site)
        elif _redirects_to_tls(one):
            if not draft.has_tls:
                draft.leave(one.file, one.line, str(one), reasons.WITHOUT_CERTIFICATE)
        elif one.name == "include":
            _leave_include(one, draft)
        else:
            site.server.append(one)
    site.root = next((one for one in reversed(server.named("root")) if one.arguments), None)
    # a single file is looked for in the folders that other locations serve
    for one in sorted(server.named("location"), key=lambda location: path_of(location)[0] == "="):
        carry_location(one, site)
    if site.at_the_top:
        draft.probe = None


def _carry_listens(server: Directive, site: Site) -> None:
    draft, chosen = site.draft, False
    for one in server.named("listen"):
        port, given = port_of(one), one.arguments
        if port is None:
            draft.leave(one.file, one.line, str(one), reasons.NO_PORT)
        elif _speaks_tls(one):
            _leave_tls(one, site)
        elif chosen and port != draft.listen:
            site.listens.append(one)
        else:
            draft.listen, chosen = port, True
            address = given[0].rpartition(":")[0]
            if address not in ("", "*", "0.0.0.0", "[::]"):  # noqa: S104  read, not listened on
                draft.leave(one.file, one.line, str(one), reasons.LISTENS_ELSEWHERE)
        if "default_server" in given or "default" in given:
            site.default_server = True


def _carry_names(directive: Directive, site: Site) -> None:
    for name in directive.arguments:
        if name in ("_", ""):
            continue
        if name.startswith(".") and SERVER_NAME.fullmatch(name[1:]):
            site.draft.answer_to(name[1:], f"*{name}")
        elif SERVER_NAME.fullmatch(name):
            site.draft.answer_to(name)
        else:
            site.names.append(name)


def _carry_size(directive: Directive, draft: Draft) -> None:
    value = directive.arguments[0] if directive.arguments else ""
    if SIZE.fullmatch(value):
        draft.body_size = value
    else:
        draft.leave(directive.file, directive.line, str(directive), reasons.NO_SIZE)


def _carry_access_log(directive: Directive, draft: Draft) -> None:
    if directive.arguments[:1] == ("off",):
        draft.access_log = False
    elif len(directive.arguments) > 1:
        why = reasons.OWN_LOG
        draft.leave(directive.file, directive.line, str(directive), why)


def _redirects_to_tls(directive: Directive) -> bool:
    if directive.name in ("return", "rewrite"):
        return any(word.startswith("https://$") for word in directive.arguments)
    return directive.name == "if" and any(_redirects_to_tls(one) for one in directive.inner)


def _leave_include(directive: Directive, draft: Draft) -> None:
    name = posixpath.basename(directive.arguments[0]) if directive.arguments else ""
    if name in ("uwsgi_params", "mime.types"):
        return
    why = reasons.OWN_TLS if "ssl" in name else reasons.MISSING_FILE
    draft.leave(directive.file, directive.line, str(directive), why)


def _carry_second(server: Directive, main: Directive, site: Site) -> None:
    """Another server of the same app: what it says beyond the first one is left out."""
    known = {_words(one) for one in main.inner}
    for one in server.inner:
        if one.name.startswith("ssl_") or (one.name == "listen" and _speaks_tls(one)):
            _leave_tls(one, site)
        elif one.name == "listen":
            site.draft.leave(one.file, one.line, str(one), reasons.ANOTHER_PORT)
        elif _words(one) not in known and one.name not in ("http2", "error_log"):
            site.draft.leave(one.file, one.line, str(one), reasons.BESIDES)


def _words(directive: Directive) -> tuple[object, ...]:
    """All that a directive says, wherever it stands."""
    return (directive.name, directive.arguments, *map(_words, directive.inner))


def _carry_other(server: Directive, site: Site) -> None:
    """A server that does not lead to the app: one that redirects to its names is kept, all others are not."""
    redirects = [one for one in server.inner if one.name in ("return", "rewrite", "if")]
    plain = all(one.name in ("listen", "server_name", "return", "rewrite", "access_log") for one in server.inner)
    names = {name for one in server.named("server_name") for name in one.arguments}
    own_names = names & set(site.draft.server_names)
    if site.draft.has_tls and _only_leads_to_tls(server, set(site.draft.server_names)):
        return
    if any(map(_redirects_to_tls, _within(server))) or (own_names and redirects):
        secure = any("https://" in word for one in _within(server) for word in one.arguments)
        why = reasons.LEADS_ELSEWHERE if secure else reasons.BESIDES
        site.draft.leave(server.file, server.line, "server { … }", why)
    elif redirects and plain and not _is_tls(server) and all(port_of(one) for one in server.named("listen")):
        site.servers.append(server)
    else:
        why = reasons.LEADS_ELSEWHERE if _is_tls(server) and redirects else reasons.NOT_THE_APPS
        site.draft.leave(server.file, server.line, "server { … }", why)
