"""Proves that the documentation has every key, command, condition, event and error, and that its examples hold."""

from __future__ import annotations

import ast
import functools
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from reconciler import agent, engine, stages
from reconciler.cli.commanding import COMMANDS
from reconciler.host import journal
from reconciler.model import errors
from reconciler.model.condition import (
    REASON_DOCUMENTATION,
    TYPE_DOCUMENTATION,
    ConditionReason,
    ConditionStatus,
    ConditionType,
    Standing,
    conditions_of,
)
from reconciler.model.configuration_reading import configuration_schema, read_configuration
from reconciler.model.manifest_checks import UNBUILT
from reconciler.model.manifest_reading import manifest_schema, read_manifests
from reconciler.model.plan import Outcome
from reconciler.model.rendering import render
from reconciler.model.stage import Action, DifferenceKind, Reason, StageName
from reconciler.model.trigger import Trigger

CHECKOUT = Path(__file__).parent.parent
PACKAGE = CHECKOUT / "reconciler"
DOCS = CHECKOUT / "docs"
PAGES = sorted([*DOCS.rglob("*.md"), *CHECKOUT.glob("*.md")])
TERMINAL_COLUMNS = 100
SECOND_SPELLINGS = {"60s": "1m"}
"""Durations that the schema writes in another unit than a reader expects."""

Schema = dict[str, Any]


def text_of(name: str) -> str:
    return (DOCS / name).read_text("utf-8")


def rows_of(text: str) -> dict[str, list[str]]:
    """The rows of all tables, by their first cell without quotes; every cell as it is written."""
    found = {}
    for line in text.splitlines():
        cells = [cell.strip() for cell in line.strip().strip("|").split("|")] if line.startswith("|") else []
        if len(cells) > 1 and set(cells[0]) != {"-"}:
            found.setdefault(cells[0].strip("`"), cells)
    return found


def blocks_of(text: str, kind: str) -> list[str]:
    """The code blocks that are marked as ``kind``, without the indentation of a list around them."""
    pattern = rf"^(?P<indent> *)```{kind}\n(?P<code>.*?)^(?P=indent)```$"
    found = re.finditer(pattern, text, re.MULTILINE | re.DOTALL)
    return [re.sub(rf"^{match['indent']}", "", match["code"], flags=re.MULTILINE) for match in found]


def branches(schema: Schema, node: Schema) -> Iterator[Schema]:
    if "$ref" in node:
        yield from branches(schema, schema["$defs"][node["$ref"].rpartition("/")[2]])
        return
    yield node
    for union in ("anyOf", "oneOf", "allOf"):
        for branch in node.get(union, ()):
            yield from branches(schema, branch)


def keys_of(schema: Schema, node: Schema, start: str = "") -> Iterator[tuple[str, object]]:
    """Every key as ``spec.static[].url``, and its default; ``required`` for a key that has none."""
    for branch in branches(schema, node):
        for name, value in branch.get("properties", {}).items():
            path = f"{start}.{name}" if start else name
            yield path, "required" if name in branch.get("required", ()) else value.get("default")
            yield from keys_of(schema, value, path)
        if isinstance(branch.get("items"), dict):
            yield from keys_of(schema, branch["items"], f"{start}[]")


def documented_keys(name: str) -> dict[str, object]:
    """What a page says of each key: its default, read as YAML."""
    found: dict[str, object] = {}
    for key, cells in rows_of(text_of(name)).items():
        if len(cells) == 4 and key != "key":
            default = cells[2]
            value = default if default == "required" else yaml.safe_load(default.strip("`"))
            found[key] = SECOND_SPELLINGS.get(value, value) if isinstance(value, str) else value
    return found


@functools.cache
def sentences() -> frozenset[str]:
    """Every text in the package's code; what is filled in later is written as an ellipsis."""
    found = set()
    for file in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text("utf-8"))):
            if isinstance(node, ast.JoinedStr):
                parts = [part.value if isinstance(part, ast.Constant) else "…" for part in node.values]
                found.add("".join(map(str, parts)))
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                found.add(node.value)
    found.add((CHECKOUT / "templates" / "nginx.conf.j2").read_text("utf-8"))
    return frozenset(found)


def test_every_manifest_key_is_documented_with_its_default() -> None:
    schema = manifest_schema()
    assert documented_keys("manifest.md") == dict(keys_of(schema, schema))


def test_every_configuration_key_is_documented_with_its_default() -> None:
    schema = configuration_schema()
    assert documented_keys("configuration.md") == dict(keys_of(schema, schema))


def test_every_key_that_is_refused_today_is_listed() -> None:
    section = text_of("manifest.md").partition("## Refused today")[2]
    assert rows_of(section).keys() - {"key"} == {".".join(map(str, row.path)) for row in UNBUILT}


def test_every_command_and_option_has_its_section() -> None:
    text = text_of("commands.md")
    sections = re.findall(r"^## ([a-z]+)$", text, re.MULTILINE)
    assert sections == list(COMMANDS)
    for name, place in COMMANDS.items():
        module, _, function = place.partition(":")
        source = (CHECKOUT / (module.replace(".", "/") + ".py")).read_text("utf-8")
        definition = next(n for n in ast.parse(source).body if isinstance(n, ast.FunctionDef) and n.name == function)
        section = text.partition(f"\n## {name}\n")[2].partition("\n## ")[0]
        for call in (node for node in ast.walk(definition) if isinstance(node, ast.Call)):
            texts = [value.value for value in call.args if isinstance(value, ast.Constant)]
            spellings = [text for text in texts if isinstance(text, str) and text.startswith("-")]
            # of an option that can be written in two ways, one is enough
            assert not spellings or any(re.search(rf"[ \[]{spelling}\b", section) for spelling in spellings), (
                name,
                spellings,
            )


def error_classes() -> list[type[errors.ReconcilerError]]:
    classes = [value for value in vars(errors).values() if isinstance(value, type)]
    found = [value for value in classes if issubclass(value, errors.ReconcilerError)]
    # the two above the others are never raised by themselves
    return [value for value in found if value not in (errors.ReconcilerError, errors.RepositoryError)]


@pytest.mark.parametrize("error", error_classes(), ids=lambda error: error.__name__)
def test_every_error_is_documented_with_its_exit_status_and_retry(error: type[errors.ReconcilerError]) -> None:
    rows = [line for line in text_of("commands.md").splitlines() if line.startswith(f"| `{error.__name__}`:")]
    assert len(rows) == 1
    _, status, again = (cell.strip() for cell in rows[0].strip("|").rsplit("|", 2))
    assert status == str(error.exit_status)
    words = {errors.Retry.NEVER: "no", errors.Retry.NEXT_PASS: "with the next pass", errors.Retry.ON_CHANGE: "when "}
    assert again.startswith(words[error.retry])


@pytest.mark.parametrize("enumeration", [Outcome, Action, Reason, DifferenceKind], ids=lambda e: e.__name__)
def test_every_word_of_the_json_is_documented(enumeration: type[Outcome | Action | Reason | DifferenceKind]) -> None:
    assert {member.value for member in enumeration} <= rows_of(text_of("commands.md")).keys()


def test_every_stage_is_documented() -> None:
    assert {stage.value for stage in StageName} <= rows_of(text_of("how-it-works.md")).keys()


def documented_conditions() -> dict[tuple[str, str, str], str]:
    rows = [line.strip("|").split("|") for line in text_of("conditions-and-events.md").splitlines()]
    cells = [[cell.strip().strip("`") for cell in row] for row in rows if len(row) == 4]
    return {(row[0], row[1], row[2]): row[3] for row in cells if row[0] in set(ConditionType)}


def test_every_condition_and_reason_is_documented() -> None:
    documented = documented_conditions()
    assert {row[0] for row in documented} == {kind.value for kind in ConditionType}
    assert {row[2] for row in documented} == {reason.value for reason in ConditionReason}
    assert {row[1] for row in documented} == {status.value for status in ConditionStatus}
    table = rows_of(text_of("conditions-and-events.md").partition("| type | status |")[0])
    assert all(table[kind.value][1] == words for kind, words in TYPE_DOCUMENTATION.items())
    assert set(REASON_DOCUMENTATION) == set(ConditionReason)


@pytest.mark.parametrize(
    "standing",
    [
        Standing(),
        Standing("r", "c", "r", listening=True),
        Standing("r", "c", "other", listening=True),
        Standing("r", "c", "r", listening=False),
        Standing("r", "c", "r", listening=True, nginx=False),
        Standing("r", "c", "r", listening=True, last_error="it failed"),
        Standing("r", "c", "r", listening=True, quarantined=True),
        Standing("r", "c", "r", listening=True, suspended_reason="spec.suspend is true"),
        Standing("r", "c", "r", listening=True, unreadable="the repository is gone"),
        Standing("r", "c", "r", listening=True, differences=2),
    ],
)
def test_every_condition_that_occurs_is_in_the_table(standing: Standing) -> None:
    found = {(c.type.value, c.status.value, c.reason.value) for c in conditions_of(standing)}
    assert found <= documented_conditions().keys()


def test_every_journal_event_is_documented() -> None:
    journalled: set[str] = set()
    folders = [Path(str(module.__file__)).parent for module in (agent, engine, stages, journal)]
    for file in (file for folder in folders for file in folder.rglob("*.py")):
        journalled |= set(re.findall(r"EventRecord\(\s*[\w.]+,\s*\"(\w+)\"", file.read_text("utf-8")))
    section = text_of("conditions-and-events.md").partition("## Events in the journal")[2].partition("\n## ")[0]
    events = rows_of(section)
    assert journalled == events.keys() - {"kind"}


def test_every_variable_of_a_site_template_is_documented() -> None:
    tree = ast.parse((PACKAGE / "stages" / "nginx.py").read_text("utf-8"))
    function = next(n for n in tree.body if isinstance(n, ast.FunctionDef) and n.name == "site_context")
    returned = next(n for n in ast.walk(function) if isinstance(n, ast.Return))
    assert isinstance(returned.value, ast.Dict)
    names = {key.value for key in returned.value.keys if isinstance(key, ast.Constant)}
    folder = next(n for n in ast.walk(returned.value) if isinstance(n, ast.ListComp)).elt
    assert isinstance(folder, ast.Dict)
    names |= {f"static[].{key.value}" for key in folder.keys if isinstance(key, ast.Constant)}
    section = text_of("templates.md").partition("## Variables")[2].partition("The file is included")[0]
    assert rows_of(section).keys() - {"variable"} == names


def test_the_example_of_a_site_template_renders() -> None:
    folder = {"url": "/static/", "alias": "/srv/public/blog/static/0/", "gzip_static": True, "fingerprint": False}
    context = {
        "app": "blog", "listen": ["127.0.0.1:8080"], "server_names": ["blog.example.com"], "static": [folder],
        "client_max_body_size": "1m", "access_log": None, "error_log": "/srv/e.log", "uwsgi_socket": "/srv/web",
    }  # fmt: skip
    (template,) = blocks_of(text_of("templates.md"), "jinja")
    assert 'listen "127.0.0.1:8080";' in render(template, context, name="example")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_examples_of_manifests_and_configurations_are_valid(page: Path) -> None:
    text = page.read_text("utf-8")
    for number, block in enumerate(blocks_of(text, "yaml manifest")):
        found = read_manifests({f"{page.name}, example {number}": block.encode()})
        assert found.problems == ()
        assert found.manifests
    for block in blocks_of(text, "yaml configuration"):
        read_configuration(block.encode(), file=page.name)


def quoted_sentences() -> list[str]:
    lines = text_of("troubleshooting.md").splitlines()
    return [line.removeprefix("> ") for line in lines if line.startswith("> ")]


@pytest.mark.parametrize("quoted", quoted_sentences())
def test_every_sentence_of_troubleshooting_is_still_printed(quoted: str) -> None:
    pieces = [re.escape(piece) for piece in quoted.strip(" …").split("…") if piece.strip()]
    whole = re.compile(".*?".join(pieces), re.DOTALL)
    assert any(whole.search(sentence) for sentence in sentences()), quoted


def anchors_of(page: Path) -> set[str]:
    headings = re.findall(r"^#+ (.+)$", page.read_text("utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_leads_somewhere(page: Path) -> None:
    for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text("utf-8")):
        if "://" in link:
            continue
        name, _, anchor = link.partition("#")
        target = (page.parent / name).resolve() if name else page
        assert target.exists(), link
        assert target.is_relative_to(CHECKOUT.resolve()), link
        assert not anchor or anchor in anchors_of(target), link


def test_every_page_can_be_reached_from_the_readme() -> None:
    seen: set[Path] = set()
    waiting = [CHECKOUT / "README.md"]
    while waiting:
        page = waiting.pop()
        if page in seen or page.suffix != ".md":
            continue
        seen.add(page)
        links = re.findall(r"\]\(([^)\s#]+)[^)]*\)", page.read_text("utf-8"))
        waiting += [(page.parent / link).resolve() for link in links if "://" not in link]
    assert {page.resolve() for page in PAGES} == {page.resolve() for page in seen}


FORBIDDEN = re.compile(r"(?<![\w.-])/((work|root|home)(/|\b)|tmp/)")
ADDRESS = re.compile(r"(?:https?|ssh)://(?:[^@/\s`]*@)?([a-z0-9-]+\.[A-Za-z0-9.-]+)")
HOSTS = re.compile(r"(.+\.)?example\.com|localhost|[\w-]+\.localhost|127\.0\.0\.1")
OTHER_PROJECTS = frozenset({"jinja.palletsprojects.com", "keepachangelog.com", "semver.org"})


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_no_page_names_a_machine_or_a_stranger_s_host(page: Path) -> None:
    text = page.read_text("utf-8")
    assert not FORBIDDEN.search(text)
    hosts = {host for host in ADDRESS.findall(text) if not HOSTS.fullmatch(host)}
    assert hosts <= OTHER_PROJECTS


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_what_terminals_show_fits_into_100_columns(page: Path) -> None:
    fenced = re.findall(r"^```(?:text|console)\n(.*?)^```$", page.read_text("utf-8"), re.MULTILINE | re.DOTALL)
    indented = re.findall(r"^ {4}.*$", page.read_text("utf-8"), re.MULTILINE)
    lines = [*(line for block in fenced for line in block.splitlines()), *indented]
    assert [line for line in lines if len(line) > TERMINAL_COLUMNS + 4] == []


def test_every_trigger_is_documented() -> None:
    shown = rows_of(text_of("logs.md"))["trigger"][-1]
    assert {trigger.value for trigger in Trigger} <= set(re.findall(r"`([^`]+)`", shown))
