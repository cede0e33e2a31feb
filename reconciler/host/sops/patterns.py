"""The pattern by which an encrypted file chooses its values, matched in a process of its own.

The file says the pattern, and whoever may commit writes the file: there are patterns of ten characters that match a
key of thirty for years, and nothing in Python ends them.
"""

from __future__ import annotations

import json
import sys
from functools import lru_cache

from reconciler.host.processes import run
from reconciler.model.errors import CommandFailed, SecretsUnreadable

MATCHING_SECONDS = 5.0
PATTERN_CHARACTERS = 1_000
REMEMBERED = 64

_PROGRAM = """\
import json, re, sys
asked = json.load(sys.stdin)
search = re.compile(asked["pattern"]).search
json.dump([key for key in asked["keys"] if search(key)], sys.stdout)
"""


@lru_cache(maxsize=REMEMBERED)
def matching(pattern: str, keys: frozenset[str]) -> frozenset[str]:
    """Those of the keys in which a pattern is found; :class:`SecretsUnreadable` for one that takes too long."""
    if len(pattern) > PATTERN_CHARACTERS:
        raise SecretsUnreadable(
            f"has a pattern of {len(pattern):,} characters, and {PATTERN_CHARACTERS:,} are the limit"
        )
    asked = json.dumps({"pattern": pattern, "keys": sorted(keys)}).encode()
    try:
        found = run([sys.executable, "-I", "-c", _PROGRAM], timeout=MATCHING_SECONDS, stdin=asked, what="matching")
    except CommandFailed:
        raise SecretsUnreadable(
            f"chooses its values by {pattern[:60]!r}, which is no pattern, or one that takes more than "
            f"{MATCHING_SECONDS:g} s"
        ) from None
    return frozenset(json.loads(found.stdout))
