"""Proves that plans, summaries, tables and drift read as they should, in colour and without."""

from __future__ import annotations

import pytest

from reconciler.cli.views.drift import drift_lines
from reconciler.cli.views.failures import error_lines, error_with_tail
from reconciler.cli.views.lines import Part, Style, coloured, indented, line, plain, without_commands
from reconciler.cli.views.once import summary_lines, url_of
from reconciler.cli.views.plan import plan_lines, planned
from reconciler.cli.views.tables import Table, cell, plain_table
from reconciler.cli.views.times import age, duration
from reconciler.cli.views.words import ACTION_STYLES, REASON_WORDS, SYMBOLS
from reconciler.engine.drift import Drift
from reconciler.engine.results import AppResult, PassResult
from reconciler.model.condition import REASON_DOCUMENTATION, TYPE_DOCUMENTATION, ConditionReason, ConditionType
from reconciler.model.errors import ManifestError, Problem, ReconcilerError, StageFailed
from reconciler.model.plan import AppPlan, Change, Outcome
from reconciler.model.printable import printable
from reconciler.model.stage import Action, AppliedStage, Difference, DifferenceKind, Reason, StageName

COMMIT = "1a2b3c4d5e6f7081920a1b2c3d4e5f60718293a4"
SITE_DIFF = "--- a/blog.conf\n+++ b/blog.conf\n@@ -1 +1 @@\n-client_max_body_size 1m;\n+client_max_body_size 8m;"


def text(lines: list[tuple[Part, ...]]) -> str:
    return "\n".join(plain(parts) for parts in lines)


def app(name: str, outcome: Outcome, *changes: Change, **more: object) -> AppResult:
    return AppResult(name, outcome, AppPlan(name, changes), COMMIT, "0123456789ab", **more)  # type: ignore[arg-type]


def unchanged(count: int) -> tuple[AppResult, ...]:
    return tuple(app(f"app{number}", Outcome.UNCHANGED) for number in range(count))


UPDATE = app(
    "blog",
    Outcome.CHANGED,
    Change(StageName.SOURCE, Action.UPDATE, (Reason.INPUT_CHANGED,), ("source.revision: 1a2b3c4 -> 5d6e7f8",)),
    Change(StageName.BUILD, Action.NONE),
    Change(StageName.STATIC, Action.NONE, (), ("static[0].tree: 1 -> 2", "in the store already")),
    Change(StageName.NGINX, Action.UPDATE, (Reason.INPUT_CHANGED, Reason.DRIFTED), (), diff=SITE_DIFF),
)
CREATE = app(
    "shop",
    Outcome.CHANGED,
    *(Change(stage, Action.CREATE, (Reason.NEVER_APPLIED,)) for stage in (StageName.SOURCE, StageName.VASSAL)),
)
DELETE = AppResult(
    "old", Outcome.CHANGED, AppPlan("old", (Change(StageName.NGINX, Action.DELETE, (Reason.REMOVED,)),))
)


def test_a_plan_shows_symbols_reasons_details_and_diffs() -> None:
    shown = text(plan_lines(PassResult(COMMIT, (UPDATE, CREATE, DELETE, *unchanged(2))), "Raise the limit"))
    assert shown.splitlines()[0] == "Commit 1a2b3c4: Raise the limit"
    assert "~ blog  commit 1a2b3c4, release 0123456789ab" in shown
    assert "  ~ source  an input changed\n      source.revision: 1a2b3c4 -> 5d6e7f8\n" in shown
    assert "  ~ nginx  an input changed, it drifted\n      --- a/blog.conf\n" in shown
    assert "      -client_max_body_size 1m;\n      +client_max_body_size 8m;" in shown
    assert "build" not in shown
    assert "  = static  nothing to do\n      static[0].tree: 1 -> 2\n      in the store already" in shown
    assert "+ shop" in shown
    assert "- old" in shown
    assert "= 2 apps unchanged" in shown
    assert shown.endswith("Plan: 2 to create, 2 to update, 1 to delete; 2 apps unchanged.")


def test_the_counts_are_those_of_the_symbols_shown() -> None:
    suspended = app("later", Outcome.SUSPENDED, *CREATE.plan.changes, note="spec.suspend is true")
    result = PassResult(COMMIT, (UPDATE, suspended))
    assert planned(result) == {Action.UPDATE: 2}
    shown = text(plan_lines(result))
    assert "! later  suspended: nothing is changed until that ends: spec.suspend is true" in shown
    assert shown.endswith("Plan: 0 to create, 2 to update, 0 to delete; 0 apps unchanged, 1 suspended.")


@pytest.mark.parametrize(
    ("apps", "sentence"),
    [
        (8, "No changes. 8 apps are as commit 1a2b3c4 asks."),
        (1, "No changes. 1 app is as commit 1a2b3c4 asks."),
        (0, "No changes. There is no app for this host."),
    ],
)
def test_a_plan_without_changes_says_so_in_a_sentence(apps: int, sentence: str) -> None:
    assert text(plan_lines(PassResult(COMMIT, unchanged(apps)))) == f"Commit 1a2b3c4\n\n{sentence}"


def test_apps_that_are_held_back_come_with_their_sentence_and_hint() -> None:
    wrong = ManifestError(
        (
            Problem("manifests/a.yaml", 3, "spec.nginx", "unknown key", "a"),
            Problem("manifests/a.yaml", 5, "spec.env", "wrong", "a"),
        ),
        hint="correct it",
    )
    failed = app("b", Outcome.QUARANTINED, error=StageFailed("it does not start", hint="run retry"))
    waiting = app("c", Outcome.WAITING, note="too many at once")
    result = PassResult(
        COMMIT,
        (app("a", Outcome.FAILED, error=wrong), failed, waiting),
        ("manifests/a.yaml:3: spec.nginx: unknown key", "manifests/z.yaml: it is no YAML"),
    )
    shown = text(plan_lines(result))
    assert "    error: manifests/a.yaml:3: spec.nginx: unknown key\n" in shown
    assert "    error: manifests/a.yaml:5: spec.env: wrong\n    hint: correct it" in shown
    assert "! b  quarantined" in shown
    assert "    error: it does not start\n    hint: run retry" in shown
    assert "! c  waiting: too many at once" in shown
    assert [row for row in shown.splitlines() if row.startswith("warning")] == [
        "warning: manifests/z.yaml: it is no YAML"
    ]
    assert shown.endswith("0 apps unchanged, 1 failed, 1 quarantined, 1 waiting.")


def test_the_summary_names_where_a_changed_app_is_reached_and_quotes_the_log_of_a_failed_one() -> None:
    broken = app(
        "shop", Outcome.FAILED, error=StageFailed("it does not start", hint="mend it", tail="Traceback\nKeyError: 1")
    )
    result = PassResult(COMMIT, (UPDATE, broken, *unchanged(1)), seconds=2.34)
    shown = text(summary_lines(result, {"blog": "http://blog.example.com:8080", "shop": "http://shop.example.com"}))
    rows = shown.splitlines()
    assert rows[0].startswith("blog  changed  source, nginx in ")
    assert rows[0].endswith("http://blog.example.com:8080")
    assert rows[1] == "shop  failed  what served before still serves  http://shop.example.com"
    assert rows[2:6] == ["  error: it does not start", "  hint: mend it", "  | Traceback", "  | KeyError: 1"]
    assert rows[-1] == "Commit 1a2b3c4: 1 unchanged, 1 changed, 1 failed in 2.3 s."


def test_a_pass_with_nothing_to_do_is_one_sentence() -> None:
    assert text(summary_lines(PassResult(COMMIT, unchanged(3)), {})) == (
        "Nothing to do: 3 apps are as commit 1a2b3c4 asks."
    )


@pytest.mark.parametrize(
    ("listen", "names", "url"),
    [
        ("127.0.0.1:8080", "", "http://127.0.0.1:8080"),
        ("0.0.0.0:8080", "", "http://127.0.0.1:8080"),
        ("127.0.0.1:80", "blog.example.com www.example.com", "http://blog.example.com"),
        ("[::1]:8080", "*.example.com blog.example.com", "http://blog.example.com:8080"),
        ("[::]:8080", "*.example.com", "http://[::1]:8080"),
    ],
)
def test_the_address_of_an_app(listen: str, names: str, url: str) -> None:
    declared = {"nginx.listen": listen, "nginx.serverNames": names}
    assert url_of(AppliedStage(StageName.NGINX, "d", "k", declared)) == url


def test_colour_is_added_to_the_same_words_and_never_alone_says_something() -> None:
    lines = plan_lines(PassResult(COMMIT, (UPDATE,)))
    assert "\x1b[32m" in "".join(coloured(parts) for parts in lines)
    assert "\x1b" not in text(lines)
    without = "\n".join(coloured(parts) for parts in lines)
    for code in ("0", "1", "2", "31", "32", "33", "36", "1;31"):
        without = without.replace(f"\x1b[{code}m", "")
    assert [row.rstrip() for row in without.splitlines()] == text(lines).splitlines()


def test_what_a_log_or_a_commit_says_cannot_steer_the_terminal() -> None:
    assert printable("a\x1b]0;title\x07b\x9bc") == "a\\x1b]0;title\\x07b\\x9bc"
    assert printable("user\u202etxt") == "user\\u202etxt"
    assert "\x1b[2J" not in coloured(line(Part("x\x1b[2J", Style.BAD)))
    assert without_commands("\x1b[31mred\x1b[0m \x1b[2Jgone\n\ttab") == "\x1b[31mred\x1b[0m \\x1b[2Jgone\n\ttab"


def test_every_problem_of_a_manifest_is_an_error_of_its_own() -> None:
    error = ManifestError((Problem("a.yaml", 1, "x", "bad"), Problem("b.yaml", 2, "", "worse")), hint="mend")
    assert text(error_lines(error)) == "error: a.yaml:1: x: bad\nerror: b.yaml:2: worse\nhint: mend"
    assert text(error_with_tail(ReconcilerError("no"))) == "error: no"


def test_plain_tables_are_aligned_and_neither_wrapped_nor_cut() -> None:
    long = "word " * 80
    rows = plain_table(Table(("app", "problem"), ((cell("blog"), cell(long)), (cell("a-longer-name"), cell(None)))))
    assert rows[0] == "app            problem"
    assert rows[1] == f"blog           {long.strip()}"
    assert rows[2] == "a-longer-name  -"


def test_drift_prints_each_difference_and_counts_them() -> None:
    rows = (
        Drift("blog", StageName.NGINX, Difference("/v/blog.conf", DifferenceKind.MODIFIED, SITE_DIFF)),
        Drift(
            "blog",
            StageName.VASSAL,
            Difference("/v/public/blog", DifferenceKind.MISSING, "--- /v/public/blog\n-link"),
        ),
    )
    shown = text(drift_lines(rows, 4))
    assert "! blog nginx  /v/blog.conf was modified\n    --- a/blog.conf" in shown
    assert "! blog vassal  /v/public/blog is missing" in shown
    assert shown.endswith("Drift: 2 differences in 1 app.")
    assert text(drift_lines((), 4)) == "No drift. 4 apps are as applied."
    assert text(drift_lines((), 1)) == "No drift. 1 app is as applied."


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0, "0 s"), (59.9, "59 s"), (60, "1 min"), (3599, "59 min"), (3600, "1 h"), (86400 * 2, "2 d"), (-5, "0 s")],
)
def test_ages(seconds: float, words: str) -> None:
    assert age(seconds) == words


@pytest.mark.parametrize(
    ("seconds", "words"), [(0.012, "0.01 s"), (2.14, "2.1 s"), (75.4, "75 s"), (200, "3 min 20 s")]
)
def test_durations(seconds: float, words: str) -> None:
    assert duration(seconds) == words


def test_every_enum_value_has_its_words() -> None:
    assert set(REASON_WORDS) == set(Reason)
    assert set(SYMBOLS) == set(ACTION_STYLES) == set(Action)
    assert set(TYPE_DOCUMENTATION) == set(ConditionType)
    assert set(REASON_DOCUMENTATION) == set(ConditionReason)


def test_indenting_leaves_blank_lines_blank() -> None:
    assert text(indented([line("a"), (), line("b")])) == "  a\n\n  b"
