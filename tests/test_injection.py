"""Proves that what a manifest says reaches nginx and uWSGI as a value, and which options of uWSGI it may set."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from command_line import reconciler
from reconciler.host.nginx_binary import find_nginx
from reconciler.host.uwsgi import find_uwsgi
from reconciler.model.configuration_reading import read_configuration
from reconciler.model.errors import ConfigurationError, StageFailed
from reconciler.model.manifest_reading import read_manifests
from reconciler.model.rendering import ini_value, nginx_quote, render
from reconciler.model.uwsgi_options import is_settable, refusal
from world import free_port, manifest

PROGRAM_SECONDS = 60.0

TRICKS = [
    "a b", "a;b", "a{b}", "a}b", "a # b", "#a", ";a", "'", '"', "a'b\"c", "\\", "a\\", "\\n", "a\\nb", "\\\"", "\\\\",
    "%", "%%", "%d", "%n", "100%", "%(a", "a=b", "=", "[uwsgi]", "[x]", "ünï", "✓", "😀", "-", "--ini",
    "@a", "$ a", "a$", "*", "~", "${a", "|", "&&", "`id`", "<a>", "x" * 2000, "{{ 1 }}", "{% raw %}", "..",
]  # fmt: skip
TEXTS = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]), min_size=1, max_size=30)


def nginx_reads(quoted: str) -> str:
    """A quoted string of nginx's configuration, by its documented rules."""
    assert quoted[0] == quoted[-1] == '"'
    assert not re.search(r'(?<!\\)(\\\\)*"', quoted[1:-1])
    escapes = {"t": "\t", "r": "\r", "n": "\n"}
    return re.sub(r"\\(.)", lambda match: escapes.get(match[1], match[1]), quoted[1:-1])


@given(TEXTS)
def test_a_quoted_value_is_read_back_by_the_rules_of_nginx(text: str) -> None:
    try:
        quoted = nginx_quote(text)
    except ValueError:
        assert "$" in text
        return
    assert nginx_reads(quoted) == text


@pytest.mark.parametrize("text", ["a\nb", "a\rb", "a\0b", "a\x7fb", "$uri", "a$", "\x1b"])
def test_what_nginx_cannot_say_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="control character|variable"):
        nginx_quote(text)


def test_nginx_itself_reads_quoted_values_back(tmp_path: Path) -> None:
    values = [text for text in TRICKS if "$" not in text]
    port = free_port()
    locations = "".join(f"location = /{n} {{ return 200 {nginx_quote(v)}; }}\n" for n, v in enumerate(values))
    (tmp_path / "n.conf").write_text(
        f"daemon off; pid {tmp_path}/pid; error_log stderr; events {{}}\n"
        f"http {{ access_log off; server {{ listen 127.0.0.1:{port}; {locations} }} }}\n"
    )
    with subprocess.Popen(
        [
            find_nginx(),
            "-p",
            tmp_path,
            "-c",
            tmp_path / "n.conf",
        ],
        stderr=subprocess.DEVNULL,
    ) as process:
        try:
            transport = httpx.HTTPTransport(retries=30)
            with httpx.Client(trust_env=False, transport=transport, timeout=PROGRAM_SECONDS) as client:
                answers = [client.get(f"http://127.0.0.1:{port}/{number}").text for number in range(len(values))]
        finally:
            process.terminate()
    assert answers == values


def test_uwsgi_itself_reads_values_back(tmp_path: Path) -> None:
    said, values = [], []
    for text in TRICKS:
        try:
            said.append(f"add-header = {ini_value(text)}\n")
            values.append(text)
        except ValueError:
            assert any(part in text for part in ("$(", "@(", "%(")), text
    (tmp_path / "u.ini").write_text("[uwsgi]\n" + "".join(said))
    shown = subprocess.run(
        [find_uwsgi(), "--ini", tmp_path / "u.ini", "--show-config", "--no-server"],
        capture_output=True, text=True, timeout=PROGRAM_SECONDS, check=False,
    )  # fmt: skip
    read = re.findall(r"^add-header = (.*)$", shown.stdout + shown.stderr, re.MULTILINE)
    assert read == values


@given(TEXTS)
def test_an_ini_value_is_one_line_without_expansion(text: str) -> None:
    try:
        written = ini_value(text)
    except ValueError:
        return
    assert "\n" not in written
    assert not re.search(r"[$@]\(", written)
    assert re.fullmatch(r"([^%]|%%)*", written)
    assert written.replace("%%", "%") == text


ESCAPES = [
    "{{ ''.__class__.__mro__ }}", "{{ cycler.__init__.__globals__ }}", "{{ self._TemplateReference__context }}",
    "{% include '/etc/passwd' %}", "{% import 'x' as y %}", "{{ app.__init__.__globals__['os'].popen('id').read() }}",
    "{{ (1).__class__.__base__.__subclasses__() }}", "{{ ''.format.__globals__ }}", "{{ lipsum.__globals__ }}",
    "{{ '{0.__class__}'.format(1) }}", "{{ [].append(1) }}", "{% for a in range(10**9) %}{% endfor %}",
]  # fmt: skip


@pytest.mark.parametrize("template", ESCAPES)
def test_a_template_reaches_neither_python_nor_files(template: str) -> None:
    with pytest.raises(StageFailed):
        render(template, {"app": "blog"}, name="x")


def options_of_uwsgi() -> list[tuple[str, str]]:
    shown = subprocess.run(
        [find_uwsgi(), "--help"], capture_output=True, text=True, timeout=PROGRAM_SECONDS, check=False
    )
    found = re.findall(r"^\s+(?:-\S\|)?--(\S+)\s+(.*)$", shown.stdout + shown.stderr, re.MULTILINE)
    assert len(found) > 500
    return found


RISKY = re.compile(
    r"\b(run|exec\w*|import|load|plugins?|attach|daemon|spawn|crons?|mules?|spool\w*|uid|gid|chroot|hooks?|eval|dlopen|"
    r"symbol|include|inherit|command|shell|script|binary)\b",
    re.IGNORECASE,
)
HARMLESS = re.compile(
    r"(no-)?harakiri.*|no-harakiri.*|mule-(harakiri|reload-mercy|msg-size)|skip-atexit|min-worker-lifetime|flock.*|"
    r"touch-(mules|spoolers)-reload|stats-no-metrics|lazy(-apps)?|cheap|cheaper-.*|(.*-)?route-run|offload-threads?|"
    r"close-on-exec2?|cflags|test|no-site|py-call-uwsgi-fork-hooks|gevent-early-monkey-patch|http-cheap|wait-.*|dot-h|binary-append-data"
)
"""Options whose description has a word of the above, and that change when something happens, not what."""


def test_every_option_of_uwsgi_that_runs_or_loads_something_is_refused() -> None:
    open_ones = [name for name, about in options_of_uwsgi() if refusal(name) is None and RISKY.search(about)]
    assert [name for name in open_ones if not HARMLESS.fullmatch(name)] == []


NAMED = [
    "exec-pre-app",
    "exec-as-root",
    "exec-asap",
    "hook-post-app",
    "hook-as-user",
    "uid",
    "gid",
    "chdir",
    "ini",
    "include",
    "inherit",
    "import",
    "emperor",
    "attach-daemon",
    "attach-daemon2",
    "smart-attach-daemon",
    "master-fifo",
    "spooler",
    "mule",
    "mules",
    "plugin",
    "plugins",
    "plugin-dir",
    "dlopen",
    "cron",
    "cron2",
    "unique-cron",
    "pyrun",
    "shared-import",
    "symcall",
    "worker-exec",
    "fastrouter",
    "http",
    "alarm",
    "touch-exec",
    "static-map",
    "rrdtool-lib",
    "fastrouter-uid",
]


@pytest.mark.parametrize("option", NAMED)
def test_options_that_act_outside_the_app_are_refused(option: str) -> None:
    text = manifest("blog", uwsgi={"options": {option: "x"}})
    (problem,) = read_manifests({"a.yaml": text.encode()}).problems
    assert problem.field == f"spec.uwsgi.options.{option}"
    assert "this option cannot be set here" in problem.message


@pytest.mark.parametrize(
    "option", ["max-requests", "buffer-size", "harakiri", "lazy-apps", "cheaper", "listen", "route"]
)
def test_ordinary_options_are_not_refused(option: str) -> None:
    assert refusal(option) is None


@pytest.mark.parametrize(
    ("value", "valid"),
    [
        ("/media/=media", True),
        (["/media/=media", "/b/=data/b"], True),
        ("/media/=media/../x", False),
        ("/media/=/etc", False),
        ("/media/=mediator", False),
        ("/=media", False),
        ("/media=media", False),
        (["/media/=media", "/x/=x"], False),
        ([], False),
    ],
)
def test_uwsgi_may_serve_what_an_app_shares_and_nothing_else(value: object, valid: bool) -> None:
    text = manifest("blog", shared=["media", "data"], uwsgi={"options": {"static-map": value}})
    fields = [problem.field for problem in read_manifests({"a.yaml": text.encode()}).problems]
    assert (fields == []) == valid, fields


def test_agent_yaml_allows_what_is_refused_by_default_and_nothing_that_the_reconciler_sets(tmp_path: Path) -> None:
    text = manifest("blog", uwsgi={"options": {"cron2": "hour=1 true", "socket": "x"}}).encode()
    problems = read_manifests({"a.yaml": text}, allowed_options=["cron2", "socket"]).problems
    assert [problem.field for problem in problems] == ["spec.uwsgi.options.socket"]
    assert is_settable("cron2")
    assert not is_settable("uid")
    good = b"repository: {url: ./c}\nallow: {uwsgiOptions: [cron2]}\n"
    assert read_configuration(good, file="agent.yaml").allow.uwsgi_options == ("cron2",)
    with pytest.raises(ConfigurationError, match="'uid' cannot be allowed"):
        read_configuration(good.replace(b"cron2", b"uid"), file="agent.yaml")
    (tmp_path / "manifests").mkdir()
    (tmp_path / "manifests" / "a.yaml").write_bytes(text.replace(b"socket", b"threads-stacksize"))
    (tmp_path / "agent.yaml").write_bytes(good)
    assert reconciler("validate", str(tmp_path)).status == 1
    allowed = reconciler("-c", str(tmp_path / "agent.yaml"), "validate", str(tmp_path))
    assert allowed.status == 0, allowed.out
