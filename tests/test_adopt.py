"""Proves that an adopted manifest tells uWSGI and nginx what the hand-made files did, and lists what it does not."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from certificates import Authority
from command_line import reconciler
from reconciler.cli.adopting import Adoption, Request, adopt
from reconciler.cli.validating import validate
from reconciler.host.layout import Layout
from reconciler.host.templates import default_template
from reconciler.host.uwsgi import find_uwsgi
from reconciler.model.adopting.draft import FOR_UPLOADS
from reconciler.model.adopting.nginx_locations import path_of
from reconciler.model.adopting.nginx_syntax import Directive, parse, written
from reconciler.model.adopting.uwsgi_ini import Option, read_ini
from reconciler.model.adopting.uwsgi_settings import SET_BY_THE_RECONCILER
from reconciler.model.errors import ReconcilerError, UsageError
from reconciler.model.manifest import Tls
from reconciler.model.manifest_reading import read_manifests
from reconciler.model.plan import Outcome
from reconciler.model.rendering import render
from reconciler.model.stage import StageName
from reconciler.stages.nginx import site_context
from reconciler.stages.stage import Facts
from reconciler.stages.vassal import vassal_context
from serving import Served, serving
from world import free_port, new_world, of, wsgi_app

CASES = sorted(path for path in (Path(__file__).parent / "adopt").iterdir() if path.is_dir())
REPOSITORY = "https://git.example.com/app.git"
CAPABILITIES = frozenset({"http2", "gzip", "gzip_static", "ssl"})

every_case = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)


def place_of(case: Path) -> str:
    """Where the ini file lay on its server."""
    return "/srv/forum/forum.ini" if case.name == "with-logic" else "/etc/uwsgi/vassals/uwsgi.ini"


def adopted(case: Path) -> Adoption:
    return adopt(Request(case / "uwsgi.ini", case / "site.conf", REPOSITORY, name=case.name, at=place_of(case)))


def facts_of(
    adoption: Adoption, layout: Layout, *, port: int | None = None, capabilities: frozenset[str] = CAPABILITIES
) -> Facts:
    """What the stages look at; ``port`` is the embedded profile's, else the app's own."""
    files = {name: text.encode() for name, text in adoption.files.items() if name.startswith("manifests/")}
    (placed,) = read_manifests(files).manifests
    host: Any = SimpleNamespace(
        layout=layout,
        nginx=SimpleNamespace(capabilities=lambda: capabilities),
        tenants=SimpleNamespace(account_of=lambda app, user: ""),
        listen=lambda own, tls=False: (
            (f"127.0.0.1:{free_port() if tls else port}",) if port else (f"0.0.0.0:{own}", f"[::]:{own}")
        ),
        port_of=lambda own, tls=False: own,
        distribution_uwsgi=None,
        token="t",
    )
    upstream = dict.fromkeys((StageName.SOURCE, StageName.BUILD, StageName.STATIC), "0" * 64)
    source: Any = None
    return Facts(placed.manifest, source, REPOSITORY, host, lambda name: None, upstream=upstream)


def rendered_site(adoption: Adoption, facts: Facts) -> str:
    own = adoption.files.get(f"templates/{adoption.app}.conf.j2")
    text = default_template("site.conf.j2") if own is None else own
    return render(text, site_context(facts), name="site.conf.j2")


def is_left(adoption: Adoption, file: str, line: int) -> bool:
    return any(one.file == file and one.line == line for one in adoption.left)


@every_case
def test_the_manifest_is_valid_and_says_what_is_missing(case: Path, tmp_path: Path) -> None:
    adoption = adopted(case)
    for name, text in adoption.files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    assert validate(tmp_path).problems == ()
    found = [f"{Path(one.file).relative_to(case)}:{one.line}: {one.what}" for one in adoption.left]
    expected = (case / "left.txt").read_text().splitlines()
    assert found == expected
    # the reason, then what to do about it
    assert [one.why for one in adoption.left if "; " not in one.why] == []


@every_case
def test_every_option_of_uwsgi_is_rendered_or_listed(case: Path, tmp_path: Path) -> None:
    adoption = adopted(case)
    facts = facts_of(adoption, Layout(tmp_path))
    spec = facts.manifest.spec
    text = render(default_template("vassal.ini.j2"), vassal_context(facts, "r"), name="vassal.ini.j2")
    rendered = [(one.name, one.value) for one in read_ini(text, "vassal.ini", str(tmp_path / "v.ini")).options]
    names = [name for name, _ in rendered]
    ini = read_ini((case / "uwsgi.ini").read_text(), str(case / "uwsgi.ini"), place_of(case))
    (chdir,) = [option.value for option in ini.options if option.name == "chdir"]

    def says(option: Option) -> bool:
        """Whether the vassal, or another key of the manifest, has what the option asked for."""
        name, value = option.name, option.value
        inside = value.removeprefix(chdir).strip("/")
        if name in ("processes", "workers"):
            return ("processes", value) in rendered
        if name in ("module", "wsgi-file", "callable", "mount"):
            (module,) = [text for key, text in rendered if key == "module"]
            file = value.removeprefix("/=").removesuffix(".py").replace("/", ".")
            return module in (file, f"{file}:application") or value in module.split(":") or file in module.split(":")
        if name == "env":
            return spec.env[value.partition("=")[0]] == value.partition("=")[2]
        if name in ("uid", "gid"):
            return spec.user == value
        if name == "plugins":
            return re.fullmatch(r"python\d*", value) is not None
        if name == "chdir":
            return "chdir" in names
        if name == "static-map" and ("static-map", f"{value.partition('=')[0]}/={inside}") not in rendered:
            url, _, folder = value.partition("=")
            return (f"{url}/", folder.removeprefix(f"{chdir}/")) in [(one.url, one.source) for one in spec.static]
        if name == "pythonpath":
            return inside == "" or (name, inside) in rendered
        return (name, value) in rendered

    asked = [option for option in ini.options if not is_left(adoption, option.file, option.line)]
    variables = {name for name in ini.variables if name not in names and name not in ("chdir", "module")}
    for option in asked:
        if option.name in variables or (option.name in SET_BY_THE_RECONCILER and option.is_true):
            continue
        assert says(option), str(option)
    # and nothing is said that was not: beyond the shipped vassal there are only options of the old file
    plain = {one.name for one in read_ini(default_template("vassal.ini.j2"), "t", "/t").options}
    uploads = {*FOR_UPLOADS, "static-map"} if "static-map" in spec.uwsgi.options else set()
    assert set(names) - plain - {option.name for option in asked} - uploads == set()


def within(
    directives: tuple[Directive, ...], context: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], Directive]]:
    for one in directives:
        yield context, one
        here = one.name if one.name != "location" else f"location {' '.join(path_of(one)).strip(' ^~').rstrip('/')}"
        yield from within(one.inner, (*context, here))


def words(directive: Directive) -> tuple[str, ...]:
    return (directive.name, *directive.arguments)


SAID_OTHERWISE = {
    "server", "location", "include", "uwsgi_pass", "proxy_pass", "alias", "root", "index", "error_log", "access_log",
    "listen", "server_name", "http", "events", "user", "worker_processes", "worker_connections", "sendfile",
    "default_type", "uwsgi_param", "proxy_set_header", "upstream", "try_files", "ip_hash",
}  # fmt: skip
"""Directives that are looked at by themselves below, or that stand in nginx.conf."""


@every_case
def test_every_directive_of_nginx_is_rendered_or_listed(case: Path, tmp_path: Path) -> None:
    adoption = adopted(case)
    facts = facts_of(adoption, Layout(tmp_path))
    spec = facts.manifest.spec
    text = rendered_site(adoption, facts)
    rendered = list(within(parse(text, "rendered")))
    said = {words(one) for _, one in rendered}
    everywhere = " ".join(" ".join(one) for one in said)
    asked: list[Directive] = []

    def gather(directives: tuple[Directive, ...]) -> None:
        for one in directives:
            if not is_left(adoption, one.file, one.line):
                asked.append(one)
                gather(one.inner)

    for file in (case / "site.conf", *case.rglob("*/*.conf")):
        gather(parse(file.read_text(), str(file)))
    for one in asked:
        name, given = one.name, one.arguments
        if name == "location":
            places = {
                " ".join(path_of(two)).strip(" ^~").rstrip("/") for _, two in rendered if two.name == "location"
            }
            place = " ".join(path_of(one)).strip(" ^~").rstrip("/")
            # a named location that only `/` led to is the location `/`
            assert place in places or (place.startswith("@") and {"", "@app"} & places), str(one)
        elif name in ("ssl_certificate", "ssl_certificate_key"):
            assert spec.nginx.tls is not None
            assert given[0] in (spec.nginx.tls.certificate, spec.nginx.tls.key)
        elif name == "listen" and "ssl" in given:
            assert spec.nginx.tls is not None
            assert given[0].rpartition(":")[2] == str(spec.nginx.tls.listen)
        elif name == "listen":
            assert any(
                str(port) in given[0] for port in (spec.nginx.listen, *re.findall(r"listen (\d+)", everywhere))
            )
        elif name == "server_name":
            wanted = {word.removeprefix(".") for word in given if word != "_"}
            assert wanted <= set(everywhere.split()), str(one)
        elif name == "access_log":
            assert words(one) in said or given[0] != "off"
        elif name in ("uwsgi_param", "proxy_set_header") and given[0] not in ("Host", "Upgrade", "Connection"):
            wanted = given[0] if name == "uwsgi_param" else f"HTTP_{given[0].upper().replace('-', '_')}"
            assert ("uwsgi_param", wanted, *given[1:]) in said, str(one)
        elif name in ("alias", "root") and any(given[0].rstrip("/").endswith(two.source) for two in spec.static):
            assert any(re.search(r"/static/\d", " ".join(two)) for two in said if two[0] in ("alias", "root"))
        elif name in ("alias", "root") and any(path in given[0] for path in spec.shared):
            assert "static-map" in spec.uwsgi.options
        elif name not in SAID_OTHERWISE and one.block is None and name not in ("server", "default"):
            like = (name.replace("proxy_", "uwsgi_"), *given)
            assert words(one) in said or like in said, str(one)
        elif name in ("map", "limit_req_zone", "if"):
            assert words(one) in said, str(one)


@every_case
def test_nginx_takes_the_site(case: Path, nginx: Served) -> None:
    adoption = adopted(case)
    facts = facts_of(adoption, nginx.layout, port=nginx.nginx.port, capabilities=nginx.nginx.capabilities())
    # a second port of the old site may be taken on this machine
    text = rendered_site(adoption, facts).replace("listen 8080", f"listen 127.0.0.1:{free_port()}")
    if facts.manifest.spec.nginx.tls is not None:
        pair = Authority().pair("portal.example.com")
        nginx.layout.pairs.mkdir(exist_ok=True)
        nginx.layout.pair(adoption.app).write_text(pair.certificate + pair.key)
    nginx.nginx.test({f"{adoption.app}.conf": text})


@pytest.fixture(scope="module")
def nginx() -> Iterator[Served]:
    with serving() as found:
        yield found


@pytest.mark.parametrize(
    "text",
    [
        r"location ~* \.(js|css)$ { expires 30d; }",
        r'rewrite "^/x\d{1}\"" /y; # a comment with ; and }',
        r"add_header X 'a;b \"c\" ${host}'; set $a ${b}c; return 200 '';",
        'if ($host ~ "^a{2}") { return 301 https://$host$request_uri; }',
        r"log_format a '$host\t\\ \n';",
    ],
)
def test_what_is_written_is_read_as_the_same_words(text: str) -> None:
    def plain(directive: Directive) -> object:
        return (words(directive), [plain(one) for one in directive.inner])

    read = parse(text, "a")
    again = parse("".join(map(written, read)), "a")
    assert [plain(one) for one in again] == [plain(one) for one in read]


@pytest.mark.parametrize(
    ("text", "line", "sentence"),
    [
        ("server {\n listen 80\n}", 2, "no ';' after '80'"),
        ("server {\n", 1, "'{' without its '}'"),
        ("a;\n}", 2, "'}' without its '{'"),
        ("a 'b", 1, "quote"),
        ("{ }", 1, "no directive"),
    ],
)
def test_what_nginx_would_refuse_is_named_with_its_line(text: str, line: int, sentence: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse(text, "site.conf")
    assert f"site.conf:{line}:" in str(caught.value)
    assert sentence in str(caught.value)


def test_an_ini_file_is_read_as_uwsgi_reads_it() -> None:
    text = "[other]\na=1\n[uwsgi]\n; no\n # no\nbase = /srv/%c ; #not a comment\nkey=%(base)/%n%%\nempty\nkey = 2\n"
    options = read_ini(text, "a.ini", "/etc/sites/blog.ini").options
    assert [(one.name, one.value, one.line) for one in options] == [
        ("base", "/srv/sites ; #not a comment", 6),
        ("key", "/srv/sites ; #not a comment/blog%", 7),
        ("empty", "", 8),
        ("key", "2", 9),
    ]


def test_uwsgi_itself_reads_the_same(tmp_path: Path) -> None:
    file = tmp_path / "blog.ini"
    file.write_text(
        "[base]\nthreads = 3\nlater = %(base)/z\n[uwsgi]\n; c\n  # d\nini = :base\nearly = %(base)/x\n"
        "base = /srv/%n ; no comment\nmaster= off\nfmt = 50%% x\nempty\na = %d|%c|%s|%p|%e|%0|%9\n"
        "foo = bar\\\nbaz=1=2\n[other]\nq = 1\n"
    )
    command = [str(find_uwsgi()), "--ini", str(file), "--show-config", "--no-server"]
    shown = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    lines = (shown.stdout + shown.stderr).partition("\n[uwsgi]\n")[2].partition("\n;end of")[0].splitlines()
    ours = {"ini", "show-config", "no-server"}
    theirs = [tuple(line.split(" = ", 1)) for line in lines if line.partition(" ")[0] not in ours]
    options = read_ini(file.read_text(), "blog.ini", str(file)).options
    assert [(one.name, one.value) for one in options] == theirs


@pytest.mark.parametrize(
    ("ini", "site", "sentence"),
    [
        ("[uwsgi]\nmaster = 1\n", None, "names no WSGI callable"),
        ("[other]\n", None, "no section [uwsgi]"),
        ("[uwsgi]\nmodule=a:b\n", "server { listen 80; }", "no server passes requests"),
        (
            "[uwsgi]\nmodule=a:b\n",
            "server { location / { uwsgi_pass unix:/a; } location /b { uwsgi_pass unix:/b; } }",
            "cannot be told which of unix:/a, unix:/b",
        ),
    ],
)
def test_what_cannot_be_adopted_is_said(ini: str, site: str | None, sentence: str, tmp_path: Path) -> None:
    (tmp_path / "blog.ini").write_text(ini)
    (tmp_path / "site").write_text(site or "")
    with pytest.raises(UsageError, match=re.escape(sentence)):
        adopt(Request(tmp_path / "blog.ini", tmp_path / "site" if site else None, REPOSITORY))


def test_a_site_with_tls_says_the_same_in_the_manifest(tmp_path: Path) -> None:
    (tmp_path / "blog.ini").write_text("[uwsgi]\nmodule=a:b\n")
    pair = "ssl_certificate /etc/ssl/b.pem; ssl_certificate_key /etc/ssl/b.key;"
    site = tmp_path / "site"

    def tls_of(text: str) -> Tls | None:
        site.write_text(text)
        adoption = adopt(Request(tmp_path / "blog.ini", site, REPOSITORY))
        assert adoption.left == ()
        return facts_of(adoption, Layout(tmp_path)).manifest.spec.nginx.tls

    app, paths = "server_name b.example.com; location / { uwsgi_pass unix:/a; }", ("/etc/ssl/b.pem", "/etc/ssl/b.key")
    assert tls_of(f"server {{ listen 80; {app} }}") is None
    assert tls_of(f"server {{ listen 443 ssl; {pair} {app} }}") == Tls(*paths)
    assert tls_of(f"server {{ listen 80; listen 8443 ssl; {pair} {app} }}") == Tls(
        *paths, listen=8443, redirect=False
    )
    assert tls_of(f"server {{ listen 80; {app} }} server {{ listen 443 ssl; {pair} {app} }}") == Tls(
        *paths, redirect=False
    )
    # as certbot leaves it
    led = "if ($host = b.example.com) { return 301 https://$host$request_uri; } listen 80; return 404;"
    led = f"server {{ server_name b.example.com; {led} }}"
    assert tls_of(f"server {{ listen 443 ssl; {pair} {app} }} {led}") == Tls(*paths)


def test_a_redirecting_server_keeps_a_port_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "blog.ini").write_text("[uwsgi]\nmodule=a:b\n")
    (tmp_path / "site").write_text(
        "server { server_name blog.example.com; location / { uwsgi_pass unix:/a; } }"
        "server { listen 8080; server_name old.example.com; return 301 http://blog.example.com/; }"
        "server { listen 80; server_name www.example.com; return 301 http://blog.example.com/; }"
    )
    adoption = adopt(Request(tmp_path / "blog.ini", tmp_path / "site", REPOSITORY))
    servers = parse(rendered_site(adoption, facts_of(adoption, Layout(tmp_path))), "site")
    assert [[one.arguments[0] for one in server.named("listen")] for server in servers] == [
        ["8080"],
        ["0.0.0.0:80", "[::]:80"],
        ["0.0.0.0:80", "[::]:80"],
    ]
    assert adoption.left == ()


@pytest.mark.parametrize(
    ("location", "why"),
    [
        ("location static { alias /srv/blog/static; }", "no request has such a path"),
        ("location /a/../b/ { alias /srv/blog/static; }", "spec.static has no way"),
        ("location / { root /srv/blog/static; }", "publish the app's whole folder"),
        ("location /up/ { alias /srv/uploads/; }", "ReadWritePaths=/srv/uploads"),
        ("location /media/ { alias /srv/blog/media/; autoindex on; }", "let the app answer"),
        ("location /files/ { alias files; }", "relative to nginx's own folder"),
        ("include missing.conf;", "cannot be read here"),
    ],
)
def test_what_a_site_cannot_say_is_listed(location: str, why: str, tmp_path: Path) -> None:
    (tmp_path / "blog.ini").write_text("[uwsgi]\nmodule=a:b\nchdir=/srv/blog\n")
    (tmp_path / "site").write_text(f"server {{ location @a {{ uwsgi_pass unix:/a; }}\n{location} }}")
    adoption = adopt(Request(tmp_path / "blog.ini", tmp_path / "site", REPOSITORY))
    assert [(one.line, why in one.why) for one in adoption.left] == [(2, True)]


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="nowhere cannot be read: No such file"):
        adopt(Request(tmp_path / "nowhere", None, REPOSITORY))
    with pytest.raises(UsageError, match="cannot be read: Is a directory"):
        adopt(Request(tmp_path, None, REPOSITORY))


def test_other_formats_of_uwsgi_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="only uWSGI's ini files"):
        adopt(Request(tmp_path / "app.yaml", None, REPOSITORY))


def test_a_wrong_option_of_the_command_is_a_mistake_of_the_manifest(tmp_path: Path) -> None:
    (tmp_path / "blog.ini").write_text("[uwsgi]\nmodule=a:b\n")
    with pytest.raises(ReconcilerError, match="not a repository address"):
        adopt(Request(tmp_path / "blog.ini", None, "ftp.example.com"))


def test_the_command_writes_into_the_config_repository_once(tmp_path: Path) -> None:
    case = CASES[0]
    arguments = (
        "adopt", str(case / "uwsgi.ini"), "--site", str(case / "site.conf"), "--repository", REPOSITORY,
        "--name", "blog", "--into", str(tmp_path),
    )  # fmt: skip
    looked = reconciler(*arguments, "--json")
    assert looked.status == 0, looked.err
    assert not list(tmp_path.iterdir())
    first = reconciler(*arguments)
    assert first.status == 0, first.err
    assert first.out.startswith("Wrote manifests/blog.yaml and templates/blog.conf.j2.")
    files = {str(file.relative_to(tmp_path)): file.read_text() for file in tmp_path.rglob("*") if file.is_file()}
    assert files == json.loads(looked.out)["files"]
    again = reconciler(*arguments)
    said = f"Nothing to do: {' and '.join(sorted(files))} already say this."
    assert (again.status, again.out.splitlines()[0]) == (0, said)
    assert {file for file in tmp_path.rglob("*") if file.is_file()} == {tmp_path / name for name in files}
    (tmp_path / "manifests/blog.yaml").write_text("# changed by hand\n")
    refused = reconciler(*arguments)
    assert refused.status == 2
    assert "blog.yaml exists already, and says something else" in refused.err
    assert (tmp_path / "manifests/blog.yaml").read_text() == "# changed by hand\n"


@pytest.mark.long
def test_an_adopted_app_is_served_with_its_template(tmp_path: Path) -> None:
    (tmp_path / "uwsgi.ini").write_text(
        "[uwsgi]\nchdir = /srv/app\nmodule = wsgi:app\nsocket = /run/a.sock\nprocesses = 1\n"
    )
    (tmp_path / "site.conf").write_text(
        "server { listen 80; server_name a.example.com; add_header X-Old yes;"
        " location /old { return 301 /new; }"
        " location /static/ { root /srv/app; expires 1h; } location /media { alias /srv/app/media; expires 2h; }"
        " location / { include uwsgi_params; uwsgi_read_timeout 9s; uwsgi_pass unix:/run/a.sock; } }"
    )
    with new_world() as world:
        world.configure()
        adoption = adopt(Request(tmp_path / "uwsgi.ini", tmp_path / "site.conf", ".", "apps/a", "a"))
        world.commit({**adoption.files, "apps/a/wsgi.py": wsgi_app("adopted"), "apps/a/static/a.css": "a {}\n"})
        result = world.once()
        assert [(app.app, app.error) for app in result.apps] == [("a", None)]
        answer = world.get("/", "a.example.com")
        assert answer.text.startswith("adopted")
        assert answer.headers["x-old"] == "yes"
        assert world.get("/old", "a.example.com").headers["location"].endswith("/new")
        assert world.get("/static/a.css", "a.example.com").headers["cache-control"] == "max-age=3600"
        # what the app writes is in no release, and is served as it was
        assert adoption.moves == (("/srv/app/media", "shared/a/media"),)
        (world.root / "shared/a/media/photo.svg").write_text("<svg/>")
        (world.root / "shared/a/media/out").symlink_to(world.agent_file)
        photo = world.get("/media/photo.svg", "a.example.com")
        assert (photo.text, photo.headers["cache-control"]) == ("<svg/>", "max-age=7200")
        assert world.get("/media/out", "a.example.com").text.startswith("adopted")
        assert of(world.once(), "a").outcome is Outcome.UNCHANGED
