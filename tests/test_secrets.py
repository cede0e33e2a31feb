"""Proves that a secret reaches the app and its hooks and nothing else: no output, log, journal, argument or plan."""

from __future__ import annotations

import copy
import json
import pickle
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from command_line import environment, reconciler
from reconciler.host.git import Mirrors
from reconciler.model.plan import Outcome
from reconciler.model.sealed_environment import open_environment, seal_environment, sealed_as
from reconciler.model.secret import MaskedLines, Secret, masked, masked_within
from reconciler.model.vassal_environment import render_environment
from sops_program import Keeper
from world import World, manifest, new_world, of, ran, wsgi_app

CANARY = "canary-5f1c'7e\"2d"
SECOND = "second-canary-a81b\nof two lines"
FILE = "secrets/blog.yaml"
REFERENCES = {"TOKEN": f"{FILE}#db.token", "COLOUR": f"{FILE}#colour"}

SHOWS = """
import os
def app(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [os.environ["TOKEN"].encode()]
"""
FAILS = "import os\nraise RuntimeError(f'no login with {os.environ[\"TOKEN\"]} or {dict(os.environ)!r}')\n"


def encrypted(keeper: Keeper, token: str = CANARY, colour: str = "green-and-blue") -> str:
    return keeper.encrypt(FILE, f"db:\n  token: {json.dumps(token)}\ncolour: {json.dumps(colour)}\n")


@pytest.fixture
def keeper(world: World) -> Keeper:
    return Keeper.new(world.home)


def blog(**spec: Any) -> str:
    return manifest("blog", **{"secrets": REFERENCES, **spec})


def traces(text: str | bytes) -> bool:
    """Whether a part of the canary is in a text."""
    raw = text.encode() if isinstance(text, str) else text
    return b"canary-5f1c" in raw or b"second-canary-a81b" in raw


def files_with_traces(world: World, *, besides: tuple[str, ...] = ()) -> set[str]:
    found = set()
    for file in world.root.rglob("*"):
        if file.is_file() and not file.is_symlink() and traces(file.read_bytes()) and not file.name.endswith(besides):
            found.add(str(file.relative_to(world.root)))
    return found


def arguments_with_traces() -> list[str]:
    found = []
    for process in Path("/proc").iterdir():
        try:
            if process.name.isdecimal() and traces((process / "cmdline").read_bytes()):
                found.append(process.name)
        except OSError:
            continue
    return found


COMMANDS = (
    ("plan", "--json"), ("once",), ("status", "--json"), ("drift",), ("history", "blog"), ("explain", "blog"),
    ("explain", "--json", "blog"), ("doctor",), ("logs", "blog", "--hooks"),
)  # fmt: skip


def no_command_tells(world: World) -> None:
    for arguments in COMMANDS:
        ended = reconciler("-c", str(world.agent_file), *arguments)
        assert not traces(ended.out + ended.err), arguments
        assert ended.status in (0, 1, 3), ended.err


def assert_untold(world: World, *, log: bool = False) -> None:
    """The canary is in the environment file alone, and no file, journal or list of processes has it."""
    # what an app prints to its own log is its own
    besides = (".env", ".env.kept", *(("blog.log",) if log else ()))
    assert files_with_traces(world, besides=besides) == set()
    assert not arguments_with_traces()
    dump = "\n".join(sqlite3.connect(world.root / "journal.sqlite3").iterdump())
    assert not traces(dump)


def environment_files(world: World) -> list[Path]:
    return sorted(world.root.glob("vassals/*.env"))


def test_a_canary_is_seen_by_the_app_and_its_hooks_and_by_nobody_else(world: World, keeper: Keeper) -> None:
    hooks = {"beforeSwitch": ['printf "%s\\n" "$TOKEN" && test -n "$TOKEN" && env > "$HOME/seen"']}
    build = {"commands": ['test -z "$TOKEN"']}
    static = [{"source": "static", "url": "/static/", "command": 'test -z "$TOKEN" && cp -r raw static'}]
    world.commit(
        {
            FILE: encrypted(keeper),
            "apps/blog/wsgi.py": SHOWS,
            "apps/blog/raw/a.txt": "a",
            "manifests/blog.yaml": blog(hooks=hooks, build=build, static=static),
        }
    )
    assert not of(world.once(), "blog").error
    assert world.text("blog.example.com") == CANARY
    seen = world.root / "shared" / "blog" / ".home" / "seen"
    assert traces(seen.read_bytes())
    seen.unlink()
    assert [file.stat().st_mode & 0o777 for file in environment_files(world)] == [0o600]
    assert_untold(world)
    assert "***" in (world.root / "logs" / "blog.hooks.log").read_text()

    # a change
    world.commit({FILE: encrypted(keeper, SECOND)})
    planned = of(world.plan(), "blog")
    assert ran(planned) == {"vassal"}
    (change,) = (change for change in planned.plan.changes if change.needed)
    assert change.detail == ("secrets.TOKEN changed",)
    assert "export TOKEN='***'" in change.diff
    assert not traces(change.diff)
    assert of(world.once(), "blog").outcome is Outcome.CHANGED
    assert world.text("blog.example.com") == SECOND
    seen.unlink()
    assert_untold(world)

    # a failure that quotes all that it knows
    world.commit({"apps/blog/wsgi.py": FAILS, "manifests/blog.yaml": blog(verify={"timeout": "10s"})})
    failed = reconciler("-c", str(world.agent_file), "once")
    assert failed.status == 1
    assert not traces(failed.out + failed.err)
    assert "no login with ***" in failed.out + failed.err
    assert world.text("blog.example.com") == SECOND
    no_command_tells(world)
    assert_untold(world, log=True)


def test_drift_of_a_secret_is_seen_told_and_healed_without_its_value(world: World, keeper: Keeper) -> None:
    world.commit(
        {FILE: encrypted(keeper), "apps/blog/wsgi.py": SHOWS, "manifests/blog.yaml": blog(env={"A": "plain"})}
    )
    world.once()
    (file,) = environment_files(world)
    good = file.read_text()
    changes = {
        "another secret": (
            good.replace("export TOKEN='canary-5f1c", "export TOKEN='canary-5f1cX"),
            "+export TOKEN='***'",
        ),
        "a copy of it": (f"{good}export COPY='canary-5f1c'\n", "+export COPY=(hidden)"),
        "a plain variable": (good.replace("A='plain'", "A='canary-5f1c'"), "+export A=(hidden)"),
        "no file of ours": ("canary-5f1c", "characters that were not written"),
        "something at the end": (good + "echo canary-5f1c >&2", "characters that were not written"),
        "a missing secret": (good.replace("export COLOUR='green-and-blue'\n", ""), "-export COLOUR='***'"),
    }
    for name, (text, told) in changes.items():
        assert text != good, name
        file.write_text(text)
        shown = reconciler("-c", str(world.agent_file), "drift")
        assert shown.status == 3, name
        assert told in shown.out, name
        assert not traces(shown.out), name
        healed = of(world.once(), "blog")
        assert not traces(str(healed)), name
        assert ran(healed) == {"vassal"}
        assert file.read_text() == good
        # the same file again and again would be held
        assert reconciler("-c", str(world.agent_file), "retry", "blog").status == 0
    file.unlink()
    world.once()
    assert file.read_text() == good
    assert_untold(world)


def test_touch_goes_back_to_the_old_secret_when_the_new_one_fails(world: World, keeper: Keeper) -> None:
    touch = {"uwsgi": {"strategy": "touch"}, "verify": {"timeout": "10s"}}
    world.commit({FILE: encrypted(keeper), "apps/blog/wsgi.py": SHOWS, "manifests/blog.yaml": blog(**touch)})
    world.once()
    assert world.text("blog.example.com") == CANARY
    world.commit({FILE: encrypted(keeper, SECOND), "apps/blog/wsgi.py": FAILS})
    assert of(world.once(), "blog").outcome is Outcome.FAILED
    assert world.text("blog.example.com") == CANARY
    world.commit({"apps/blog/wsgi.py": SHOWS})
    assert of(world.once(), "blog").outcome is Outcome.CHANGED
    assert world.text("blog.example.com") == SECOND
    assert not list(world.root.glob("vassals/*.kept"))
    assert_untold(world, log=True)


MISTAKES = {
    "no file": ({FILE: None}, "has no file secrets/blog.yaml"),
    "not encrypted": ({FILE: "db: {token: x}\n"}, "is not a block of keys|is not encrypted"),
    "no key": ({"manifests/blog.yaml": blog(secrets={"TOKEN": f"{FILE}#db.nothing"})}, "has no value db.nothing"),
    "a map": ({"manifests/blog.yaml": blog(secrets={"TOKEN": f"{FILE}#db"})}, "has no value db"),
}


def test_a_mistake_holds_its_app_with_a_sentence_and_the_old_release_serves(world: World, keeper: Keeper) -> None:
    good = {FILE: encrypted(keeper), "apps/blog/wsgi.py": SHOWS, "manifests/blog.yaml": blog()}
    world.commit({**good, "apps/other/wsgi.py": wsgi_app("other"), "manifests/other.yaml": manifest("other")})
    world.once()
    for number, (files, sentence) in enumerate(MISTAKES.values()):
        world.commit({**files, "apps/other/wsgi.py": wsgi_app(f"other {number}")})
        result = world.once()
        error = of(result, "blog").error
        assert error is not None
        assert any(part in str(error) for part in sentence.split("|")), str(error)
        assert error.hint
        assert world.text("blog.example.com") == CANARY
        assert world.text("other.example.com") == f"other {number}"
        world.commit(good)
        assert of(world.once(), "blog").outcome is Outcome.UNCHANGED
    # the key of the host is gone, or open to others
    keeper.key_file.chmod(0o644)
    world.commit({FILE: encrypted(keeper, SECOND)})
    assert "mode 0644" in str(of(world.once(), "blog").error)
    keeper.key_file.chmod(0o600)
    keeper.key_file.rename(world.home / "away")
    assert "no age key" in str(of(world.once(), "blog").error)
    (world.home / "away").rename(keeper.key_file)
    assert of(world.once(), "blog").outcome is Outcome.CHANGED
    assert world.text("blog.example.com") == SECOND


def test_another_secret_in_the_same_file_moves_nothing(world: World, keeper: Keeper) -> None:
    one = blog(secrets={"TOKEN": f"{FILE}#db.token"})
    world.commit({FILE: encrypted(keeper), "apps/blog/wsgi.py": SHOWS, "manifests/blog.yaml": one})
    world.once()
    world.commit({FILE: encrypted(keeper, colour="red")})
    assert of(world.once(), "blog").outcome is Outcome.UNCHANGED


@pytest.mark.builds
def test_a_settled_pass_imports_no_cryptography(world: World, keeper: Keeper) -> None:
    world.commit({FILE: encrypted(keeper), "apps/blog/wsgi.py": SHOWS, "manifests/blog.yaml": blog()})
    world.once()
    unwanted = "{'pyrage', 'cryptography', 'reconciler.host.sops'}"
    program = (
        "import sys; from reconciler.cli.commanding import run_command; "
        f"status = run_command(['-c', {str(world.agent_file)!r}, 'once']); "
        f"print(status, sorted({unwanted} & sys.modules.keys()), file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], env=environment(), capture_output=True, text=True, check=True
    )
    assert done.stderr.splitlines()[-1] == "0 []"


def test_the_hash_in_the_digest_needs_the_key_of_the_host(world: World, keeper: Keeper) -> None:
    world.commit({FILE: encrypted(keeper), "apps/blog/wsgi.py": SHOWS, "manifests/blog.yaml": blog()})
    world.once()
    key = world.root / "seal-key"
    assert key.stat().st_mode & 0o777 == 0o600
    with new_world() as other:
        (other.home / "age.key").write_bytes(keeper.key_file.read_bytes())
        (other.home / "age.key").chmod(0o600)
        other.commit({FILE: encrypted(keeper), "apps/blog/wsgi.py": SHOWS, "manifests/blog.yaml": blog()})
        other.once()
        seals = [sqlite3.connect(w.root / "journal.sqlite3").execute(
            "SELECT json_extract(content, '$.declared.\"secrets.TOKEN\"') FROM applied WHERE stage = 'vassal'"
        ).fetchone()[0] for w in (world, other)]  # fmt: skip
    assert seals[0] != seals[1]
    assert all(len(seal) == 64 for seal in seals)


# the type


def test_a_secret_shows_nothing_in_any_form() -> None:
    secret = Secret(CANARY)
    shown = [
        str(secret), repr(secret), f"{secret}", f"{secret!r:>40}", "%s" % secret, "".join(["a", secret]),  # noqa: UP031
        json.dumps({"a": secret}), secret + "", format(secret), str([secret]), str({"a": secret}), secret[:],
        secret.upper(), secret.encode().decode(), str(vars(Secret)),
    ]  # fmt: skip
    assert not any(traces(text) for text in shown)
    assert secret.reveal() == CANARY
    assert secret == Secret(CANARY)
    assert secret != Secret("other")
    assert secret != "***"
    assert copy.deepcopy(secret) is secret
    with pytest.raises(TypeError):
        pickle.dumps(secret)


def test_logs_mask_what_is_alive(configure_logs: Callable[[], None], capsys: pytest.CaptureFixture[str]) -> None:
    configure_logs()
    secret = Secret(CANARY)
    try:
        raise RuntimeError(f"with {secret.reveal()}")
    except RuntimeError as error:
        structlog.get_logger().error("failed", error=str(error), more=[{"a": (CANARY,)}], quoted=repr(CANARY))
    told = capsys.readouterr().err
    assert "with ***" in told
    assert not traces(told)
    assert masked_within({"a": [secret, CANARY]}) == {"a": ["***", "***"]}


def test_output_is_masked_line_by_line_however_it_is_cut() -> None:
    secret = Secret(SECOND)
    text = f"before {SECOND} after\n{json.dumps(SECOND)}\nand second-canary-a81b".encode()
    for size in (1, 7, 1000):
        heard: list[bytes] = []
        lines = MaskedLines(heard.append, [secret])
        for start in range(0, len(text), size):
            lines.write(text[start : start + size])
        lines.end()
        assert not traces(b"".join(heard))
        assert b"before *** after".split()[0] in b"".join(heard)
    assert masked("x second-canary-a81b", [secret]) == "x ***"


VALUES = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=30)
NAMES = st.from_regex(r"[A-Z][A-Z0-9]{0,6}", fullmatch=True).filter(lambda name: name not in ("UID", "EUID", "PPID"))


@given(st.dictionaries(NAMES, VALUES, max_size=4), st.dictionaries(NAMES, VALUES, min_size=1, max_size=4))
def test_an_opened_environment_compares_equal_to_its_sealed_form(
    plain: dict[str, str], secret: dict[str, str]
) -> None:
    plain = {name: value for name, value in plain.items() if name not in secret}

    def keyed(name: str, value: str) -> str:
        import hashlib

        return hashlib.sha256(f"{name} {value}".encode()).hexdigest()

    rendered = render_environment(plain, Path("/usr/bin/uwsgi"))
    sealed = seal_environment(rendered, {name: keyed(name, value) for name, value in secret.items()})
    opened = open_environment(sealed, {name: Secret(value) for name, value in secret.items()})
    assert sealed_as(sealed, opened, keyed) == sealed
    name = next(iter(secret))
    other = open_environment(sealed, {n: Secret(v + "x" if n == name else v) for n, v in secret.items()})
    assert sealed_as(sealed, other, keyed) != sealed


def test_mirrors_know_the_ids_of_files(world: World) -> None:
    commit = world.commit({"secrets/a.yaml": "a: b\n"})
    mirrors = Mirrors(world.home / "m")
    address = str(world.config)
    mirrors.update(address, mirrors.poll(address))
    found = mirrors.files.file_ids(address, commit, ["secrets/a.yaml", "secrets", "nothing"])
    assert found["secrets/a.yaml"] is not None
    assert (found["secrets"], found["nothing"]) == (None, None)
