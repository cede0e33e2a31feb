"""Proves that encrypted files are those of the program sops, both ways, and that no change of one goes unnoticed."""

from __future__ import annotations

import json
import re
import string
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st

from reconciler.host.sops.files import encrypt_again
from reconciler.host.sops.metadata import Rule
from reconciler.model.errors import HostError, SecretsUnreadable, UsageError
from sops_program import Keeper

YAML = """# for the blog
db:
    # inside
    password: "hun\\"ter2"   # beside
    port: 5432
    ratio: 1.50
    flag: true
    empty: ""
    nothing: null
    absent:
    when: 2024-01-02T03:04:05Z
    pem: |
        line1
        line2
    chomped: |-
        line1

        line3
    flow: {a: x, "b": [y, 'z']}
    list:
        # in a list
        - a
        - 2
        - key: "yes"
          other: ünïcode ✓ 😀
plain_unencrypted: hello
number_unencrypted: 2.5
flag_unencrypted: true
list_unencrypted: [1, a, null]
# the end
"""
JSON = json.dumps(
    {"a": {"b": "c", "n": 5, "f": 1.5, "t": True, "z": None, "l": ["x", {"y": "ü\n"}], "e": ""}, "x_unencrypted": 5}
)
DOTENV = '# comment\nA=1\nB=two words "quoted" = x\nC=multi\\nline\n\nD_unencrypted=plain\nEMPTY=\n'
FILES = {"a.yaml": YAML, "b.json": JSON, "c.env": DOTENV}


@pytest.fixture(scope="module")
def keeper() -> Iterator[Keeper]:
    with tempfile.TemporaryDirectory() as folder:
        yield Keeper.new(Path(folder))


def parsed(name: str, text: str) -> object:
    if name.endswith(".env"):
        return sorted(line for line in text.splitlines() if line)
    return json.loads(text) if name.endswith(".json") else yaml.safe_load(text)


@pytest.mark.parametrize("only_encrypted", [False, True])
@pytest.mark.parametrize("name", FILES)
def test_sops_reads_what_we_encrypt(keeper: Keeper, name: str, only_encrypted: bool) -> None:
    ours = keeper.folder / name
    ours.write_text(keeper.encrypt(name, FILES[name], only_encrypted=only_encrypted))
    assert parsed(name, keeper.sops("--decrypt", str(ours))) == parsed(name, FILES[name])
    # keys and ciphertext are random, and may have anything in them
    shown = re.sub(r"[A-Za-z0-9+/=]{12,}", "", ours.read_text())
    for value in ("hun", "5432", "line1", "two words", '"c"'):
        assert value not in shown


OPTIONS = (
    (),
    ("--mac-only-encrypted",),
    ("--encrypted-regex", "^(a|db|password|B)$"),
    ("--unencrypted-regex", "^(f|pem|A)$"),
    ("--encrypted-suffix", "d"),
)


@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("name", FILES)
def test_we_read_and_edit_what_sops_encrypts(keeper: Keeper, name: str, options: tuple[str, ...]) -> None:
    (keeper.folder / f"plain-{name}").write_text(FILES[name])
    theirs = keeper.sops("--encrypt", "--age", keeper.recipient, *options, f"plain-{name}")
    found = keeper.decrypt(name, theirs)
    assert parsed(name, found.text) == parsed(name, FILES[name])
    assert "ENC[" not in found.text
    again = encrypt_again(found, found.text.encode())
    (keeper.folder / name).write_text(again)
    assert parsed(name, keeper.sops("--decrypt", name)) == parsed(name, FILES[name])
    # what has not changed keeps its ciphertext; a comment may have moved
    values = {value for value in re.findall(r"ENC\[.*?\]", theirs) if "type:comment" not in value}
    assert len(values - set(re.findall(r"ENC\[.*?\]", again))) == 1, "the message authentication code alone is new"


def test_values_are_found_by_their_keys(keeper: Keeper) -> None:
    found = keeper.decrypt("a.yaml", keeper.encrypt("a.yaml", YAML)).by_keys
    shown = {".".join(keys): value.variable for keys, value in found.items()}
    assert shown["db.password"] == 'hun"ter2'
    assert shown["db.port"] == "5432"
    assert shown["db.flag"] == "true"
    assert shown["db.pem"] == "line1\nline2\n"
    assert shown["plain_unencrypted"] == "hello"
    assert not any("list" in name for name in shown)


def test_comments_are_encrypted_and_come_back_in_their_places(keeper: Keeper) -> None:
    encrypted = keeper.encrypt("a.yaml", YAML)
    for words in ("for the blog", "inside", "beside", "in a list", "the end"):
        assert words not in encrypted
    found = keeper.decrypt("a.yaml", encrypted)
    assert re.findall("#.*", found.text) == re.findall("#.*", YAML)


def test_one_edited_value_is_the_only_new_ciphertext(keeper: Keeper) -> None:
    before = keeper.decrypt("a.yaml", keeper.encrypt("a.yaml", "a: one\nb: two\nc: [two, two]\n"))
    old = before.document.written({}, before.metadata.as_mapping())
    new = encrypt_again(before, before.text.replace("a: one", "a: three").encode())
    assert keeper.decrypt("a.yaml", new).by_keys[("a",)].text == "three"
    lines = [(one, other) for one, other in zip(old.splitlines(), new.splitlines(), strict=True) if one != other]
    assert {one.split(":")[0].strip() for one, _ in lines} <= {"a", "lastmodified", "mac"}


CHANGES = {
    "a value swapped": lambda text: _swapped(text, "one:", "two:"),
    "a value moved to another key": lambda text: text.replace("one:", "uno:"),
    "a value dropped": lambda text: re.sub(r"(?m)^two:.*\n", "", text),
    "a value doubled": lambda text: text.replace("four_unencrypted", "three_unencrypted: added\nfour_unencrypted"),
    "a plain value changed": lambda text: text.replace("plain", "other"),
    "plain in place of encrypted": lambda text: re.sub(r"(?m)^one:.*$", "one: plain", text),
    "the code removed": lambda text: re.sub(r"(?m)^    mac:.*\n", "", text),
    "the time changed": lambda text: re.sub(r'lastmodified: "2...', 'lastmodified: "2001', text),
    "a bit of a value flipped": lambda text: text.replace("data:", "data:A", 1),
    "the rule widened": lambda text: text.replace('"_unencrypted"', '"e"'),
    "authenticated less": lambda text: _said(text, "mac_only_encrypted: true"),
    "two rules": lambda text: _said(text, "encrypted_suffix: x"),
    "groups of keys": lambda text: _said(text, "shamir_threshold: 2"),
    "no recipients": lambda text: re.sub(r"(?s)    age:.*?    lastmodified", "    pgp: [x]\n    lastmodified", text),
    "a comment rule": lambda text: _said(text, "encrypted_comment_regex: x"),
    "no metadata": lambda text: text.partition("sops:")[0],
    "metadata of another kind": lambda text: text.partition("sops:")[0] + "sops: 5\n",
    "an alias": lambda text: text.replace("one:", "zero: &a x\none:"),
    "the same key twice": lambda text: text.replace("three:", "one:"),
    "no YAML": lambda text: "[" + text,
    "a list": lambda text: "- a\n",
    "two documents": lambda text: text + "---\na: b\n",
    "too deep": lambda text: "a: " + "[" * 5000 + "]" * 5000,
    "too large": lambda text: text + "#" * 300_000,
    "no text": lambda text: "\udcff" + text,
}  # fmt: skip


def _said(text: str, line: str) -> str:
    return text.replace("    unencrypted_suffix", f"    {line}\n    unencrypted_suffix")


def _swapped(text: str, one: str, two: str) -> str:
    values = {key: re.search(rf"(?m)^{key} (.*)$", text)[1] for key in (one, two)}  # type: ignore[index]
    return re.sub(rf"(?m)^({one}|{two}) .*$", lambda m: f"{m[1]} {values[two if m[1] == one else one]}", text)


@pytest.mark.parametrize("change", CHANGES)
def test_every_change_without_the_key_is_refused(keeper: Keeper, change: str) -> None:
    plain = "one: 11111\ntwo: two-secret\nthree: three\nfour_unencrypted: plain\n"
    encrypted = keeper.encrypt("a.yaml", plain)
    changed = CHANGES[change](encrypted)
    assert changed != encrypted
    with pytest.raises(SecretsUnreadable) as refused:
        from reconciler.host.sops.files import decrypt_file

        decrypt_file("a.yaml", changed.encode("utf-8", "surrogateescape"), keeper.unwrap)
    assert "two-secret" not in str(refused.value)
    assert "11111" not in str(refused.value)


def test_a_file_for_another_key_says_for_whom_it_is(keeper: Keeper, tmp_path: Path) -> None:
    other = Keeper.new(tmp_path, "other.key")
    with pytest.raises(SecretsUnreadable, match=f"is encrypted for {keeper.recipient}"):
        other.decrypt("a.yaml", keeper.encrypt("a.yaml", "a: b\n"))


@pytest.mark.parametrize("value", ["0755", "0x1f", "1_000", ".inf", "2024-01-02", "12345678901234567890", "+5"])
def test_what_programs_read_differently_stays_text_and_is_refused_in_the_clear(keeper: Keeper, value: str) -> None:
    encrypted = keeper.encrypt("a.yaml", f"pin: {value}\n")
    assert keeper.decrypt("a.yaml", encrypted).by_keys[("pin",)].text == value
    with pytest.raises(SecretsUnreadable, match="quote it"):
        keeper.encrypt("a.yaml", f"pin_unencrypted: {value}\n")


def test_a_key_that_others_can_read_is_refused(tmp_path: Path) -> None:
    keeper = Keeper.new(tmp_path)
    assert keeper.key_file.stat().st_mode & 0o777 == 0o600
    keeper.key_file.chmod(0o640)
    with pytest.raises(HostError, match="mode 0640"):
        _ = keeper.unwrap
    with pytest.raises(UsageError, match="exists already"):
        Keeper.new(tmp_path)


TEXTS = st.text(st.characters(codec="utf-8", exclude_characters="\r"), max_size=40)
KEYS = st.text(string.ascii_letters + "_-", min_size=1, max_size=8).filter(lambda key: key != "sops")
SCALARS = TEXTS | st.integers(-(10**14), 10**14) | st.booleans() | st.none() | st.floats(-1e6, 1e6, width=32)
RULES = (Rule(), Rule("encrypted_regex", "[a-m]"))
TREES = st.dictionaries(
    KEYS, st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3)),
    min_size=1, max_size=4,
)  # fmt: skip


@settings(deadline=None, max_examples=60)
@given(
    TREES,
    st.sampled_from(["a.yaml", "a.json"]),
    st.booleans(),
    st.sampled_from([Rule(), Rule("encrypted_regex", "[a-m]")]),
)
@example({"A": [[-0.0]]}, "a.json", False, Rule("encrypted_regex", "[a-m]"))
def test_what_is_encrypted_comes_back(
    keeper: Keeper, tree: dict[str, object], name: str, only_encrypted: bool, rule: Rule
) -> None:
    text = json.dumps(tree) if name == "a.json" else yaml.safe_dump(tree, allow_unicode=True, sort_keys=False)
    expected = parsed(name, text)
    try:
        encrypted = keeper.encrypt(name, text, rule, only_encrypted=only_encrypted)
    except SecretsUnreadable as error:
        assert "quote it" in str(error)
        return
    found = keeper.decrypt(name, encrypted)
    assert parsed(name, found.text) == expected
    assert parsed(name, keeper.decrypt(name, encrypt_again(found, found.text.encode())).text) == expected


NAMES = st.text(string.ascii_uppercase, min_size=1, max_size=8).filter(lambda name: not name.startswith("SOPS"))
VALUES = st.text(st.characters(codec="utf-8", exclude_characters="\r\\"), max_size=30)


@settings(deadline=None, max_examples=40)
@given(st.dictionaries(NAMES, VALUES, min_size=1, max_size=4))
def test_variables_come_back(keeper: Keeper, variables: dict[str, str]) -> None:
    lines = [f"{name}={value}".replace("\n", "\\n") for name, value in variables.items()]
    text = "\n".join([*lines, ""])
    found = keeper.decrypt("a.env", keeper.encrypt("a.env", text))
    assert {keys[0]: value.text for keys, value in found.by_keys.items()} == variables
    assert found.text == text
