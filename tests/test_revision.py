"""A revision means the branch, tag, commit or highest version that its reader expects, and garbage never crashes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.model.errors import RevisionNotFound
from reconciler.model.revision import Selected, is_range, newest_versions, select

TAGS = """
v1.0.0 1.4 v1.4.0 v1.4.2 v1.5.0-rc.1 2.0.0 v2.0.0-rc.1 v2.0.0-rc.2 v2.1.0-beta v0.4.0 0.4.9 0.5.0 0.0.3 0.0.4
v1 20240101 v3.0.0+build nightly
"""
REFS = {f"refs/tags/{tag}": tag for tag in TAGS.split()}


@pytest.mark.parametrize(
    ("revision", "tag"),
    [
        ("^1.4", "v1.4.2"),
        ("^v1.4", "v1.4.2"),
        ("~1.4.0", "v1.4.2"),
        ("~1", "v1.4.2"),
        ("1.x", "v1.4.2"),
        ("1.*", "v1.4.2"),
        ("1.X.x", "v1.4.2"),
        ("1.4.*", "v1.4.2"),
        (">=1.0,<2", "v1.4.2"),
        (">= 1.0, < 2", "v1.4.2"),
        (">=1.0 <1.4.2", "v1.4.0"),
        ("<=1.4", "v1.4.2"),
        ("<=1.4.0", "v1.4.0"),
        ("<1.4", "v1.0.0"),
        ("=1.4.0", "v1.4.0"),
        ("!=3.0.0, !=2.0", "v1.4.2"),
        (">2.0", "v3.0.0+build"),
        ("^0.4", "0.4.9"),
        ("^0.0.3", "0.0.3"),
        ("^0.0", "0.0.4"),
        ("^0", "0.5.0"),
        (">=2.0.0-rc.1,<2.0.0", "v2.0.0-rc.2"),
        ("=2.0.0-rc.1", "v2.0.0-rc.1"),
        ("<=2.0.0-rc.1,>=2.0.0-rc.0", "v2.0.0-rc.1"),
        ("^2.0.0-rc.1", "2.0.0"),
    ],
)
def test_a_range_is_the_highest_version_tag_in_it(revision: str, tag: str) -> None:
    assert select(revision, REFS) == Selected(tag, f"refs/tags/{tag}")


@pytest.mark.parametrize("revision", ["^9", "^1.5", ">2.0.0,<3", "=2.1.0"])
def test_a_range_without_a_release_in_it_selects_nothing(revision: str) -> None:
    assert is_range(revision)
    assert select(revision, REFS) is None


@pytest.mark.parametrize(
    "revision",
    [
        "^",
        "^1.",
        ">=1,",
        ">=1,,<2",
        "^1.4 ||",
        "~=1.4",
        "^a",
        "^1.2.3-01",
        "1.x foo",
        "=>1",
        "^" + "1" * 500,
        "^1.2.x-rc",
    ],
)
def test_a_range_that_cannot_be_read_is_an_error_with_examples(revision: str) -> None:
    with pytest.raises(RevisionNotFound, match="not a version range") as caught:
        select(revision, REFS)
    assert caught.value.hint is not None
    assert "^1.4" in caught.value.hint


def test_a_branch_comes_before_a_tag_and_both_before_a_commit_and_a_range() -> None:
    commit = "a" * 40
    refs = {
        "refs/heads/x": "1",
        "refs/tags/x": "2",
        f"refs/tags/{commit}": "3",
        "refs/tags/1.x": "4",
        "refs/tags/1.2.0": "5",
    }
    assert select("x", refs) == Selected("1", "refs/heads/x")
    assert select("refs/tags/x", refs) == Selected("2", "refs/tags/x")
    assert select(commit, refs) == Selected("3", f"refs/tags/{commit}")
    assert select("1.x", refs) == Selected("4", "refs/tags/1.x")


def test_a_commit_is_selected_only_where_a_ref_points_at_it() -> None:
    commit = "abcdef0123" * 4
    assert select(commit.upper(), {"refs/heads/main": commit}) == Selected(commit, None)
    assert select(commit[:10], {"refs/heads/main": commit}) is None
    assert select(commit, {"refs/heads/main": "0" * 40}) is None


def test_other_refs_than_branches_and_tags_do_not_count() -> None:
    assert select("refs/pull/1/head", {"refs/pull/1/head": "1"}) is None
    assert select("pull/1/head", {"refs/pull/1/head": "1"}) is None


def test_the_newest_versions_are_named_for_hints() -> None:
    assert newest_versions(REFS, 3) == ("v3.0.0+build", "v2.1.0-beta", "2.0.0")


@given(
    st.text(max_size=30) | st.from_regex(r"\A[\^~<>=!]{0,2}v?[0-9xX*.]{1,8}(-[a-z0-9.]{1,5})?[ ,]?.{0,6}\Z"),
    st.dictionaries(
        st.text(max_size=20).map(lambda name: f"refs/tags/{name}")
        | st.from_regex(r"\Arefs/(tags|heads)/v?[0-9.]{1,9}[-+a-z0-9.]{0,6}\Z")
        | st.text(max_size=20),
        st.text(max_size=8),
        max_size=8,
    ),
)
def test_no_revision_and_no_refs_crash_the_selection(revision: str, refs: dict[str, str]) -> None:
    try:
        selected = select(revision, refs)
    except RevisionNotFound:
        return
    assert selected is None or selected.ref is None or refs[selected.ref] == selected.commit


def test_a_tag_with_a_number_of_5000_digits_is_no_version() -> None:
    assert select("^1", {f"refs/tags/{'9' * 5000}.0.0": "1", f"refs/tags/1.0.{'9' * 5000}": "2"}) is None
