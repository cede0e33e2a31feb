"""Proves that any bytes become plain data by YAML 1.2's core schema, or problems with a line, in bounded time."""

from __future__ import annotations

import math
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reconciler.model.yaml_documents import field_name
from reconciler.model.yaml_reading import FILE_BYTES, read_documents

HOSTILE_SECONDS = 3.0
"""Far more than any input within the limits takes, also beside other work on the same machine."""


def problems(text: bytes) -> list[str]:
    read = read_documents(text, file="f.yaml")
    return [str(p) for p in (*read.problems, *(p for document in read.documents for p in document.problems))]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("no", "no"),
        ("on", "on"),
        ("y", "y"),
        ("1_000", "1_000"),
        ("2024-01-02", "2024-01-02"),
        ("12:30:45", "12:30:45"),
        ("=", "="),
        ("1.2.3", "1.2.3"),
        ("0b1", "0b1"),
        ("3.10", 3.1),
        ("3", 3),
        ("-7", -7),
        ("0o17", 15),
        ("0x1F", 31),
        ("017", 17),
        ("1e3", 1000.0),
        (".5", 0.5),
        (".inf", math.inf),
        ("-.INF", -math.inf),
        ("null", None),
        ("~", None),
        ("", None),
        ("True", True),
        ("FALSE", False),
        ("tRUE", "tRUE"),
        ('"3"', "3"),
        ("'true'", "true"),
        ("! 3", "3"),
        ("!!str 3", "3"),
        ("!!int '3'", 3),
        ("!!float 3", 3.0),
        ("!!seq [a]", ["a"]),
        ("{a: {b: [c]}}", {"a": {"b": ["c"]}}),
    ],
)
def test_scalars_follow_the_core_schema(text: str, value: object) -> None:
    (document,) = read_documents(b"key: " + text.encode(), file="f.yaml").documents
    assert document.problems == ()
    assert document.data == {"key": value}
    assert type(document.data["key"]) is type(value)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (b"a: 1\na: 2\n", "f.yaml:2: a: the key is given twice, first on line 1"),
        (b"a:\n  b: 1\n  b: [x]\n", "f.yaml:3: a.b: the key is given twice, first on line 2"),
        (b"1: x", 'f.yaml:1: ["1"]: a key must be text; write it in quotes: "1"'),
        (b"? [a]\n: b", "f.yaml:1: a key must be text, and here it is a mapping or a list"),
        (b"<<: {}", "f.yaml:1: [\"<<\"]: merge keys ('<<') are not part of YAML 1.2; write the keys out"),
        (
            b"x:\n- !!python/name:os.system a",
            "f.yaml:2: x[0]: the tag !!python/name:os.system is not allowed; only plain values are read",
        ),
        (b"x: !mine {a: b}", "f.yaml:1: x: the tag !mine is not allowed; only plain values are read"),
        (b"x: !!binary aGk=", "f.yaml:1: x: the tag !!binary is not allowed; only plain values are read"),
        (b"x: !!map [a]", "f.yaml:1: x: the tag !!map is not allowed; only plain values are read"),
        (b"x: !!int abc", "f.yaml:1: x: the tag !!int does not fit this value"),
        (b"x: *a", "f.yaml:1: x: '*a' refers to an anchor that is not defined before it"),
        (b"x: &a [*a]", "f.yaml:1: x[0]: '*a' refers to the value that it is a part of"),
        (
            b"x: " + b"9" * 100,
            "f.yaml:1: x: a number of 100 characters is too long; write it in quotes if it is text",
        ),
        (b"a: b: c", "f.yaml:1: this is not YAML: mapping values are not allowed in this context"),
        (b"a:\n\tb: c", "f.yaml:2: YAML is indented with spaces, and this line begins with a tab"),
        (b"a: [", "f.yaml:1: this is not YAML: did not find expected node content while parsing a flow node"),
        (b"ok: 1\nx: \xff", "f.yaml:2: the file is not UTF-8 text: the byte 0xff does not fit"),
        ("a: b".encode("utf-16"), "f.yaml:1: the file is not UTF-8 text: the byte 0xff does not fit"),
        (b"a: 1\nb: \0", "f.yaml:2: the character U+0000 is not allowed in YAML"),
        (b"a: \x1b[31m", "f.yaml:1: the character U+001B is not allowed in YAML"),
        (b"%A b\n" * 101, "f.yaml: the file has more than 100 lines that begin with '%'"),
        (b"---\n" * 1001, "f.yaml: the file has more than 1,000 documents; spread them over several files"),
        (b"x" * 10_000_000, "f.yaml: the file has 10,000,000 bytes, and 1,048,576 are the limit"),
    ],
)
def test_mistakes_are_problems_with_a_place(text: bytes, problem: str) -> None:
    assert problems(text) == [problem]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param(b"[" * 100_000, "nested deeper than 50 levels", id="sequences"),
        pytest.param(b"{a: " * 100_000, "nested deeper than 50 levels", id="mappings"),
        pytest.param(b"- " * 100_000, "nested deeper than 50 levels", id="blocks"),
        pytest.param(b"? " * 100_000, "nested deeper than 50 levels", id="keys"),
        pytest.param(b"[" * FILE_BYTES, "nested deeper than 50 levels", id="a whole file of brackets"),
        pytest.param(b"[" + b"a," * 30_000, "more than 20,000 values", id="values"),
        pytest.param(b"%A b\n" * 200_000, "the file has more than 100 lines", id="directives"),
        pytest.param(b"--- [\n" * 150_000, "more than 1,000 documents", id="broken documents"),
        pytest.param(
            b"a0: &a0 [x, x, x, x, x, x, x, x, x]\n"
            + b"".join(b"a%d: &a%d [%s]\n" % (n, n, b", ".join([b"*a%d" % (n - 1)] * 9)) for n in range(1, 30)),
            "more than 20,000 values once aliases are written out",
            id="exploding anchors",
        ),
        pytest.param(
            b"a0: &a0 [x]\n" + b"".join(b"a%d: &a%d [*a%d]\n" % (n, n, n - 1) for n in range(1, 90)),
            "deeper than 50 levels once aliases are written out",
            id="nesting by aliases",
        ),
    ],
)
def test_hostile_input_ends_soon(text: bytes, expected: str) -> None:
    started = time.monotonic()
    found = problems(text)
    assert time.monotonic() - started < HOSTILE_SECONDS
    assert any(expected in problem for problem in found)


def test_a_byte_order_mark_is_no_part_of_the_text() -> None:
    assert read_documents(b"\xef\xbb\xbfa: 1", file="f").documents[0].data == {"a": 1}


def test_every_field_has_its_line_and_its_text() -> None:
    text = b"# first\na:\n  - b: 3.10\n    c:\n      text\n  - &x {d: 1}\n  - *x\n---\ne: f\n"
    first, second = read_documents(text, file="f").documents
    assert first.line(()) == 2
    assert first.line(("a", 0, "b")) == 3
    assert first.line(("a", 0, "c")) == 4
    assert first.line(("a", 1, "d")) == 6
    assert first.line(("a", 2)) == 7
    assert first.line(("a", 0, "missing", "too")) == 3
    assert first.written(("a", 0, "b")) == "3.10"
    assert first.written(("a", "nothing")) is None
    assert (second.line(("e",)), second.number) == (9, 2)


def test_a_broken_document_leaves_the_others_and_keeps_its_beginning() -> None:
    text = b"a: 1\n---\nname: x\nb: [\n---\n%c: 1\n...\n%YAML 1.2\n---\nd: 1\ne: {\n"
    first, second, third, fourth = read_documents(text, file="f.yaml").documents
    assert (first.data, first.problems) == ({"a": 1}, ())
    assert second.data["name"] == "x"
    assert not second.whole
    assert [p.line for p in second.problems] == [4]
    assert (third.whole, fourth.whole) == (False, False)
    assert fourth.problems[0].line == 11


def test_what_follows_a_whole_document_is_its_problem() -> None:
    (document,) = read_documents(b'"a"\n"b"\n', file="f").documents
    assert document.data == "a"
    assert document.problems != ()


def test_paths_are_shown_as_a_user_writes_them() -> None:
    assert field_name(("spec", "static", 0, "bundles", "site.css", 1)) == 'spec.static[0].bundles["site.css"][1]'
    assert field_name(("a\nb",)) == '["a\\nb"]'
    assert len(field_name(("x" * 1000,))) < 80


@settings(max_examples=400, deadline=None)  # the campaign fuzzes with more
@given(st.one_of(st.binary(max_size=200), st.text("ab:-?,[]{}&*!|>'\"%@#~ \n\t01.<", max_size=80).map(str.encode)))
def test_no_bytes_raise(text: bytes) -> None:
    read = read_documents(text, file="f")
    for problem in (*read.problems, *(p for document in read.documents for p in document.problems)):
        assert (
            problem.line <= text.count(b"\n") + text.count(b"\r") + 3 * text.count(b"\xe2") + text.count(b"\xc2") + 1
        )
        assert "\n" not in str(problem)
