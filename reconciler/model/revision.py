"""Which commit a revision means: a branch, a tag, a commit, or the highest version tag in a range.

A range is one or more terms, all of which must hold, separated by commas or spaces::

    ^1.4        from 1.4.0, below 2.0.0      (^0.4 stays below 0.5.0, ^0.0.3 below 0.0.4)
    ~1.2        from 1.2.0, below 1.3.0
    1.x  1.2.*  any version that begins so
    >=1.0,<2    the usual comparisons; a version may leave out its minor and patch number

A pre-release such as 2.0.0-rc.1 is chosen only when a term names a pre-release of that same 2.0.0.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

from reconciler.model.errors import RevisionNotFound
from reconciler.model.object_ids import is_whole

if TYPE_CHECKING:
    from semver import Version

BRANCHES = "refs/heads/"
TAGS = "refs/tags/"
RANGE_CHARACTERS = 200
"""A longer range is a mistake, and parsing it would only cost time."""

_RANGE = re.compile(r"[\^~<>=!].*|[0-9]+(\.[0-9]+)?\.[xX*](\.[xX*])?([\s,].*)?", re.DOTALL)
_TERM = re.compile(
    r"(?P<operator>\^|~|>=|<=|>|<|==?|!=)?\s*v?"
    r"(?P<major>[0-9]{1,9})(\.(?P<minor>[0-9]{1,9}|[xX*])(\.(?P<patch>[0-9]{1,9}|[xX*])"
    r"(-(?P<pre>[0-9A-Za-z.-]+))?(\+[0-9A-Za-z.-]+)?)?)?(?=[\s,]|$)"
)
# "v1" alone is left out: it is the custom of moving such a tag along
_VERSION_TAG = re.compile(r"v?((?:0|[1-9][0-9]{0,8})\.(?:0|[1-9][0-9]{0,8})(?:\.[0-9]{1,9}([-+][0-9A-Za-z.+-]+)?)?)")


@dataclass(frozen=True, slots=True)
class Selected:
    """The commit that a revision means; ``ref`` is the full name of the branch or tag that led to it."""

    commit: str
    ref: str | None


@dataclass(frozen=True, slots=True)
class _Bound:
    """Versions from ``low`` (inclusive) to below ``high``; ``None`` is no limit; ``inverted`` means all others."""

    low: Version | None
    high: Version | None
    named: Version | None = None
    inverted: bool = False

    def holds(self, version: Version) -> bool:
        within = (self.low is None or version >= self.low) and (self.high is None or version < self.high)
        return within is not self.inverted


def select(revision: str, refs: Mapping[str, str]) -> Selected | None:
    """The commit that ``revision`` means among ``refs`` (full ref name to commit id, annotated tags peeled).

    ``None`` says that no ref answers to it; a commit that no ref points at is then the mirror's to find.
    Raises :class:`RevisionNotFound` for a version range that cannot be read.
    """
    for ref in (BRANCHES + revision, TAGS + revision, revision):
        if ref.startswith((BRANCHES, TAGS)) and ref in refs:
            return Selected(refs[ref], ref)
    commit = revision.lower()
    if is_whole(commit):
        return Selected(commit, None) if commit in refs.values() else None
    if not is_range(revision):
        return None
    bounds = _parse_range(revision)
    matching = [(version, tag) for version, tag in _version_tags(refs) if _admits(bounds, version)]
    if not matching:
        return None
    # 1.4 and v1.4.0 are the same version; the tag that is written out is the one that never moves
    _, ref = max(matching, key=lambda candidate: (candidate[0], candidate[1].count("."), candidate[1]))
    return Selected(refs[ref], ref)


def is_range(revision: str) -> bool:
    """Whether ``revision`` is written as a version range, well or badly."""
    return bool(_RANGE.fullmatch(revision.strip()))


def newest_versions(refs: Mapping[str, str], limit: int) -> tuple[str, ...]:
    """The short names of up to ``limit`` version tags, the highest first."""
    ordered = sorted(_version_tags(refs), reverse=True)
    return tuple(ref.removeprefix(TAGS) for _, ref in ordered[:limit])


def _version_tags(refs: Mapping[str, str]) -> list[tuple[Version, str]]:
    found = ((_version_of(ref), ref) for ref in refs if ref.startswith(TAGS))
    return [(version, ref) for version, ref in found if version is not None]


@lru_cache(maxsize=16_384)
def _version_of(ref: str) -> Version | None:
    match = _VERSION_TAG.fullmatch(ref.removeprefix(TAGS))
    if match is None:
        return None
    try:
        from semver import Version  # noqa: PLC0415  only ranges of versions need it

        return Version.parse(match[1], optional_minor_and_patch=True)
    except ValueError:
        return None


def _admits(bounds: tuple[_Bound, ...], version: Version) -> bool:
    if not all(bound.holds(version) for bound in bounds):
        return False
    if version.prerelease is None:
        return True
    release = version.finalize_version()
    return any(bound.named is not None and bound.named.finalize_version() == release for bound in bounds)


@lru_cache(maxsize=1_024)
def _parse_range(revision: str) -> tuple[_Bound, ...]:
    text = revision.strip()
    bounds: list[_Bound] = []
    position = 0
    while position < len(text) <= RANGE_CHARACTERS:
        match = _TERM.match(text, position)
        if match is None:
            break
        try:
            bounds.append(_bound(match))
        except ValueError:
            break
        separator = re.compile(r"\s*,\s*|\s+|$").match(text, match.end())
        position = separator.end() if separator else match.end()
    if not bounds or position < len(text) or text.endswith(","):
        raise RevisionNotFound(
            f"{revision[:RANGE_CHARACTERS]!r} is not a version range that can be read",
            hint="write it like ^1.4, ~1.2, 1.x or >=1.0,<2",
        )
    return tuple(bounds)


def _bound(match: re.Match[str]) -> _Bound:
    """The versions that one term admits. Raises ``ValueError`` for a pre-release that is none."""
    numbers = _numbers(match)
    low = _version(numbers, match["pre"])
    exact = len(numbers) == 3
    # what the written part covers: 1.2 is all of 1.2.x, 1.2.3 is itself alone
    after = _above(low) if exact else _next(numbers, len(numbers) - 1)
    operator = match["operator"]
    if operator == "^":
        first = next((place for place, number in enumerate(numbers) if number), len(numbers) - 1)
        after = _next(numbers, first)
    elif operator == "~":
        after = _next(numbers, min(1, len(numbers) - 1))
    limits: dict[str, tuple[Version | None, Version | None]] = {
        ">=": (low, None),
        "<": (None, low),
        ">": (after, None),
        "<=": (None, after),
    }
    lowest, highest = limits.get(operator, (low, after))
    return _Bound(lowest, highest, low if low.prerelease else None, inverted=operator == "!=")


def _numbers(match: re.Match[str]) -> list[int]:
    numbers = []
    for part in (match["major"], match["minor"], match["patch"]):
        if part is None or part in "xX*":
            break
        numbers.append(int(part))
    return numbers


def _version(numbers: list[int], pre: str | None = None) -> Version:
    if pre is not None and len(numbers) < 3:
        raise ValueError("a pre-release belongs to a whole version")
    major, minor, patch = [*numbers, 0, 0][:3]
    from semver import Version  # noqa: PLC0415  only ranges of versions need it

    return Version.parse(f"{major}.{minor}.{patch}" + (f"-{pre}" if pre is not None else ""))


def _next(numbers: list[int], place: int) -> Version:
    """The first version with a higher number at ``place`` (0 major, 1 minor, 2 patch)."""
    return _version([*numbers[:place], numbers[place] + 1])


def _above(version: Version) -> Version:
    """The version that follows immediately: nothing sorts between ``1.2.3`` and ``1.2.4-0``."""
    if version.prerelease:
        return version.replace(prerelease=f"{version.prerelease}.0")
    return version.replace(patch=version.patch + 1, prerelease="0")
