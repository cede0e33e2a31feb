"""Proves that `reconciler secrets` makes keys, encrypts, shows and edits, and leaves nothing in the clear behind."""

from __future__ import annotations

from pathlib import Path

import pytest

from command_line import Ended, reconciler
from sops_program import Keeper


@pytest.fixture
def keeper(tmp_path: Path) -> Keeper:
    made = reconciler("secrets", "keygen", "--age-key", str(tmp_path / "age.key"))
    assert made.status == 0, made.err
    return Keeper(tmp_path, tmp_path / "age.key", made.out.split()[-1])


def secrets(keeper: Keeper, *arguments: str, editor: str = "") -> Ended:
    env = {"SOPS_AGE_KEY_FILE": str(keeper.key_file), "EDITOR": editor, "VISUAL": ""}
    return reconciler("secrets", *arguments, cwd=keeper.folder, env=env)


def editor(keeper: Keeper, code: str) -> str:
    """An editor that runs a line of shell with the file as ``$1``, and notes its rights and where it lies."""
    program = keeper.folder / "editor"
    notes = f'ls -l "$1" > {keeper.folder}/seen\ndirname "$1" > {keeper.folder}/where'
    program.write_text(f"#!/bin/sh\nset -e\n{notes}\n{code}\n")
    program.chmod(0o755)
    return str(program)


def copy_is_gone(keeper: Keeper) -> bool:
    """Whether the folder in which the editor saw the file is not there any more."""
    return not Path((keeper.folder / "where").read_text().strip()).exists()


def test_a_file_is_encrypted_shown_and_edited(keeper: Keeper) -> None:
    file = keeper.folder / "blog.yaml"
    file.write_text("token: hunter2\nother: same\n")
    refused = secrets(keeper, "encrypt", "blog.yaml")
    assert refused.status == 2
    assert "nothing says for whom" in refused.err
    (keeper.folder / ".sops.yaml").write_text(f"creation_rules: [{{path_regex: blog, age: {keeper.recipient}}}]\n")
    assert secrets(keeper, "encrypt", "blog.yaml").status == 0
    before = file.read_text()
    assert "hunter2" not in before
    assert secrets(keeper, "show", "blog.yaml").out == "token: hunter2\nother: same\n"
    done = secrets(keeper, "edit", "blog.yaml", editor=editor(keeper, 'sed -i s/hunter2/hunter3/ "$1"'))
    assert done.status == 0, done.err
    assert (keeper.folder / "seen").read_text().startswith("-rw-------")
    assert keeper.sops("--decrypt", "blog.yaml") == "token: hunter3\nother: same\n"
    assert before.splitlines()[1] == file.read_text().splitlines()[1]
    assert copy_is_gone(keeper)


def test_an_editor_that_fails_or_writes_nonsense_leaves_the_file_as_it_was(keeper: Keeper) -> None:
    file = keeper.folder / "blog.yaml"
    file.write_text(keeper.encrypt("blog.yaml", "token: hunter2\n"))
    before = file.read_text()
    for code, sentence in (
        ("exit 3", "ended with status 3"),
        ('echo "[" > "$1"', "is not YAML"),
        ("true", "as it was"),
    ):
        ended = secrets(keeper, "edit", "blog.yaml", editor=editor(keeper, code))
        assert sentence in ended.out + ended.err
        assert "hunter2" not in ended.out + ended.err
        assert file.read_text() == before
        assert copy_is_gone(keeper)


def test_edit_makes_a_new_file(keeper: Keeper) -> None:
    code = editor(keeper, 'printf "A=1\\n" > "$1"')
    done = secrets(keeper, "edit", "--recipient", keeper.recipient, "new.env", editor=code)
    assert done.status == 0, done.err
    assert secrets(keeper, "show", "new.env").out == "A=1\n"


@pytest.mark.parametrize(
    ("rules", "sentence"),
    [
        ("creation_rules: [{path_regex: other, age: x}]", "has no rule for blog.yaml"),
        ("creation_rules: [{pgp: ABC}]", "asks for pgp in a rule"),
        ("creation_rules: [{age: nonsense}]", "is not the recipient of an age key"),
        ("creation_rules: [{path_regex: '['}]", "a path_regex that is no pattern"),
        ("creation_rules: [{path_regex: ''}]", "has a rule without an age key"),
        ("[", "cannot be read"),
    ],
)
def test_rules_that_are_not_understood_are_refused(keeper: Keeper, rules: str, sentence: str) -> None:
    (keeper.folder / ".sops.yaml").write_text(rules)
    (keeper.folder / "blog.yaml").write_text("a: b\n")
    ended = secrets(keeper, "encrypt", "blog.yaml")
    assert (ended.status, sentence in ended.err) == (2, True), ended.err
    assert (keeper.folder / "blog.yaml").read_text() == "a: b\n"


def test_a_key_is_never_written_over(keeper: Keeper) -> None:
    ended = secrets(keeper, "keygen")
    assert (ended.status, "exists already" in ended.err) == (2, True)
