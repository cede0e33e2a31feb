"""Templates stay in their sandbox, name file and line when they fail, and quote what nginx and uWSGI read."""

from __future__ import annotations

import configparser
import subprocess
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reconciler.host import template_program
from reconciler.host.foreign_templates import render_apart
from reconciler.host.layout import Layout
from reconciler.model.errors import HostError, StageFailed
from reconciler.model.rendering import ini_value, nginx_quote, render
from reconciler.model.vassal_environment import render_environment
from serving import Served


def test_a_value_is_written_as_it_is() -> None:
    assert render("a {{ name }}\n", {"name": "<b>"}, name="x.j2") == "a <b>\n"


@pytest.mark.parametrize(
    ("template", "line", "words"),
    [
        ("ok\n{{ missing }}\n", 2, "missing"),
        ("ok\nok\n{% if %}\n", 3, ""),
        ("ok\n{{ value.__class__.__mro__ }}\n", 2, "unsafe"),
        ("ok\n\n{{ value | nginx_quote }}\n", 3, "'$'"),
        ("{{ none }}\n", 1, "null"),
        ("{% include 'other' %}", 1, "loader"),
        ("{{ items.append(1) }}", 1, "unsafe"),
        ("{{ 1 // 0 }}", 1, "zero"),
    ],
)
def test_a_failing_template_is_named_with_its_line(template: str, line: int, words: str) -> None:
    with pytest.raises(StageFailed) as caught:
        render(template, {"value": "$x", "none": None, "items": []}, name="site.conf.j2")
    assert f"site.conf.j2, line {line}:" in str(caught.value)
    assert words in str(caught.value)


@pytest.mark.parametrize(
    "template", ["{% for i in range(9**9) %}{% for j in range(9**9) %}{% endfor %}{% endfor %}", "{{ 'a' * 9**10 }}"]
)
def test_a_template_without_end_is_told_from_a_program_that_fails(
    template: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(template_program, "__name__", "reconciler.host.not_installed")
    with pytest.raises(HostError, match="no template can be rendered.*not_installed"):
        render_apart(template, {}, name="x.j2")
    monkeypatch.undo()
    with pytest.raises(StageFailed, match="x.j2"):
        render_apart(template, {}, name="x.j2")


def test_nginx_strings_keep_quotes_and_backslashes() -> None:
    assert nginx_quote('a"b\\c') == '"a\\"b\\\\c"'


@pytest.mark.parametrize("value", ["a\nb", "a\x00", "$host", "a\x7f"])
def test_nginx_strings_refuse_what_nginx_cannot_say(value: str) -> None:
    with pytest.raises(ValueError, match="nginx"):
        nginx_quote(value)


@pytest.mark.parametrize("value", ["a\nb", "$(HOME)", "@(/etc/shadow)", "%(key)", " a", "a ", "a\rb"])
def test_uwsgi_values_refuse_what_uwsgi_would_change(value: str) -> None:
    with pytest.raises(ValueError, match="uWSGI"):
        ini_value(value)


def test_uwsgi_values_double_percent_signs_and_spell_booleans() -> None:
    assert ini_value("50%") == "50%%"
    assert ini_value(value=True) == "true"
    assert ini_value(5000) == "5000"


def test_options_of_the_user_come_last(tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    layout.create()
    served = Served(layout, nginx=None, emperor=None)  # type: ignore[arg-type]
    served.write("blog", options={"vacuum": ["false"], "ignore-sigpipe": ["true"], "mule": ["a.py", "b.py"]})
    lines = (layout.vassals / "blog.ini").read_text().splitlines()
    assert lines[-4:] == ["vacuum = false", "ignore-sigpipe = true", "mule = a.py", "mule = b.py"]
    assert configparser.RawConfigParser(strict=False).read(layout.vassals / "blog.ini")


@settings(max_examples=30, deadline=None)
@given(st.dictionaries(st.from_regex(r"\ATEST_[A-Z]{1,8}\Z"), st.text().filter(lambda text: "\x00" not in text)))
def test_any_variable_comes_through_the_shell_unchanged(variables: dict[str, str]) -> None:
    variables = {name: value.encode("utf-8", "replace").decode() for name, value in variables.items()}
    script = render_environment(variables, Path("/bin/uwsgi")) + "exec env -0\n"
    printed = subprocess.run(["/bin/sh", "-c", script], env={}, stdout=subprocess.PIPE, check=True, timeout=20).stdout
    found = dict(entry.split("=", 1) for entry in printed.decode().split("\0") if entry.startswith("TEST_"))
    assert found == variables


@pytest.mark.parametrize("name", ["RECONCILER_UWSGI", "UWSGI_EMPEROR_FD", "UID", "A B", "A=B", "1A"])
def test_a_variable_that_cannot_be_handed_on_is_refused_without_its_value(name: str) -> None:
    with pytest.raises(StageFailed) as caught:
        render_environment({name: "s3cret"}, Path("/bin/uwsgi"))
    assert "s3cret" not in str(caught.value)
