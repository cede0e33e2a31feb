"""A site template that says what the keys of ``spec.nginx`` cannot, made of the directives of the old site."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from reconciler.model.adopting.nginx_locations import UWSGI_PARAMS, Site, path_of, port_of
from reconciler.model.adopting.nginx_syntax import Directive, quoted, written

_HEAD = """\
server {
{% for address in listen %}
    listen {{ address | nginx_quote }}{{ DEFAULT }};
{% endfor %}
"""
_LISTENS = _HEAD.partition("\n")[2]
_REDIRECT = """\
{% if tls and tls.redirect %}
server {
LISTENS
NAMES
    location / {
        return 301 https://$host{{ tls.port_in_address }}$request_uri;
    }
}
{% endif %}
""".replace("LISTENS\n", _LISTENS)
"""What is before the app's server where HTTP leads to HTTPS."""
_TLS = """\
{% if tls %}
{% for address in tls.listen %}
    listen {{ address | nginx_quote }} ssl{{ tls.http2 }}{{ DEFAULT }};
{% endfor %}
    ssl_certificate {{ tls.certificate | nginx_quote }};
    ssl_certificate_key {{ tls.key | nginx_quote }};
    ssl_protocols TLSv1.2 TLSv1.3;
    ssl_ciphers {{ tls.ciphers }};
    ssl_prefer_server_ciphers off;
    ssl_session_cache shared:reconciler:10m;
    ssl_session_timeout 1d;
    ssl_session_tickets off;
{% endif %}
"""
_MIDDLE = """\
{% if http2 %}
    http2 on;
{% endif %}
    client_max_body_size {{ client_max_body_size }};
    error_log {{ error_log | nginx_quote }} warn;
{% if access_log %}
    access_log {{ access_log | nginx_quote }};
{% else %}
    access_log off;
{% endif %}
"""
_TO_THE_APP = """\
        # through the public link, which nginx follows anew for every request: renaming it moves the traffic
        uwsgi_pass {{ ("unix:" ~ uwsgi_socket) | nginx_quote }};
        add_header Reconciler-Release $reconciler_release always;
"""
_WITHOUT_PROBES = """\
        # the token of the agent's probes stays between the agent and nginx
        uwsgi_param HTTP_RECONCILER_PROBE "" if_not_empty;
"""


def site_template(site: Site) -> str:
    """The template's text: Jinja2, for the config repository's folder ``templates``."""
    parts = [f"# site of the app {site.draft.name}, made from a hand-made one by `reconciler adopt`\n"]
    parts += [_verbatim(one) for one in site.beside]
    parts += [_server(one, site) for one in site.servers]
    default = '" default_server"' if site.default_server else '" default_server" if default_server else ""'
    parts.append(_server_head(site).replace("DEFAULT", default))
    parts += [_verbatim(one, 1) for one in site.listens]
    parts += [_names(site), _MIDDLE]
    parts += [_verbatim(one, 1) for one in site.server]
    parts += [_location(one, site) for one in site.locations]
    return "".join(parts) + "}\n"


def _verbatim(directive: Directive, depth: int = 0) -> str:
    return _literal(written(directive, depth))


def _literal(text: str) -> str:
    """Text that Jinja2 leaves as it is."""
    if not any(mark in text for mark in ("{{", "{%", "{#")):
        return text
    return "{% raw %}" + text + "{% endraw %}\n"


def _server_head(site: Site) -> str:
    """How the app's server begins, with what leads to it."""
    if not site.draft.has_tls:
        return _HEAD
    before = _REDIRECT.replace("NAMES\n", _names(site))
    return f"{before}server {{\n{{% if not (tls and tls.redirect) %}}\n{_LISTENS}{{% endif %}}\n{_TLS}"


def _names(site: Site) -> str:
    patterns = "".join(f" {_literal(quoted(name))}" for name in site.names)
    names = "{% for name in server_names %} {{ name | nginx_quote }}{% endfor %}"
    if not site.draft.server_names:
        patterns = patterns or ' ""'
        return f"    server_name{patterns};\n"
    return f"    server_name{names}{patterns};\n"


def _server(server: Directive, site: Site) -> str:
    """Another server, which listens where the app's does when it did so before."""
    own = [one for one in server.named("listen") if port_of(one) == site.draft.listen]
    rest = [one for one in server.inner if one not in own]
    listens = "" if not own and server.named("listen") else _HEAD.replace("{{ DEFAULT }}", "").partition("\n")[2]
    return "server {\n" + listens + "".join(_verbatim(one, 1) for one in rest) + "}\n"


def _location(location: Directive, site: Site) -> str:
    marker, *extras = location.inner or (Directive("", (), location.file, location.line),)
    if marker.name == "uwsgi_pass" and marker.arguments == ("app",):
        return _app(location, extras, site)
    if marker.name in ("alias", "root") and marker.arguments[0].isdecimal():
        return _files(location, marker, extras)
    return "\n" + _verbatim(location, 1)


def _app(location: Directive, extras: list[Directive], site: Site) -> str:
    modifier, path = path_of(location)
    if path.startswith("@") and not _is_named(path, site):
        path = "/"
    given = {one.arguments[0] for one in extras if one.name == "uwsgi_param" and one.arguments}
    own_headers = any(one.name == "add_header" for one in extras)
    # a location with a header of its own, as this one has, loses those of its server
    headers = [] if own_headers else [one for one in site.server if one.name == "add_header"]
    server_name = '{{ "$server_name" if server_names else "$host" }}'
    parameters = {**UWSGI_PARAMS, "SERVER_NAME": server_name, "HTTPS": "$https if_not_empty"}
    return "".join([
        "\n",
        _head(modifier, path),
        _TO_THE_APP,
        *(_verbatim(one, 2) for one in headers),
        *(f"        uwsgi_param {name} {value};\n" for name, value in parameters.items() if name not in given),
        _WITHOUT_PROBES,
        *(_verbatim(one, 2) for one in extras),
        "    }\n",
    ])  # fmt: skip


def _is_named(path: str, site: Site) -> bool:
    """Whether something leads to a named location, or another location has the top."""
    return site.at_the_top or any(path in one.arguments for one in _within([*site.server, *site.locations]))


def _within(directives: Iterable[Directive]) -> Iterator[Directive]:
    """All directives in all braces, but not the names of the locations, which lead nowhere."""
    for one in directives:
        if one.name != "location":
            yield one
        yield from _within(one.inner)


def _files(location: Directive, marker: Directive, extras: list[Directive]) -> str:
    modifier, path = path_of(location)
    number, *file = marker.arguments
    folder = f"static[{number}].alias"
    if file:
        value = f'{{{{ ({folder} ~ "{file[0]}") | nginx_quote }}}}'
    elif path.endswith("/"):
        value = f"{{{{ {folder} | nginx_quote }}}}"
    else:
        value = f'{{{{ {folder}.rstrip("/") | nginx_quote }}}}'
    text = [_head(modifier, path), f"        {marker.name} {value};\n"]
    return "\n" + "".join(text) + "".join(_verbatim(one, 2) for one in extras) + "    }\n"


def _head(modifier: str, path: str) -> str:
    words = [quoted(word) for word in ("location", modifier, path) if word]
    return _literal("    " + " ".join(words) + " {\n")
