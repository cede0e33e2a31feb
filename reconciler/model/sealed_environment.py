"""The environment file of a vassal with secrets in it, as it may be remembered and shown.

Where the file on disk has ``export NAME='value'``, the sealed text has a keyed hash of the value. It is what the
journal keeps, what plans and drift show, and what the file is compared with. No value can look like a sealed line,
because a quote in a value is always written as ``'\\''``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping

from reconciler.model.errors import StageFailed
from reconciler.model.secret import Secret
from reconciler.model.values import ENVIRONMENT_NAME_PATTERN
from reconciler.model.vassal_environment import FORMAT, check_variable, shell_quote

SEAL_DIGITS = 32
HIDDEN = "(hidden)"

_NAME = ENVIRONMENT_NAME_PATTERN.strip("^$")
_SEALED = re.compile(rf"^export ({_NAME})='\*\*\*' # sealed ([0-9a-f]{{{SEAL_DIGITS}}})$", re.MULTILINE)
_QUOTED = re.compile(r"'([^']*)'|\\(')")
_STATEMENT = re.compile(rf"(?:export )?({_NAME})=((?:'[^']*'|\\')*)\n")


def seal_environment(text: str, seals: Mapping[str, str]) -> str:
    """A rendered environment file with one sealed line for every name and keyed hash in ``seals`` at its end."""
    return text + "".join(_sealed(name, seals[name]) for name in sorted(seals))


def sealed_names(text: str) -> frozenset[str]:
    """The names of the secrets in a sealed text; none in one that is not sealed."""
    return frozenset(match[1] for match in _SEALED.finditer(text))


def open_environment(text: str, secrets: Mapping[str, Secret]) -> str:
    """The text for the disk: every sealed line with its value. The only text that holds one.

    Raises :class:`StageFailed` for a secret that is missing or that no environment can hold.
    """

    def opened(match: re.Match[str]) -> str:
        name = match[1]
        if name not in secrets:
            raise StageFailed(f"the secret {name} is not known", hint="the next pass reads it again")
        check_variable(name, secrets[name].reveal())
        return f"export {name}={shell_quote(secrets[name].reveal())}"

    return _SEALED.sub(opened, text)


def sealed_as(expected: str, actual: str, keyed_hash: Callable[[str, str], str]) -> str:
    """What is on disk in the form of the sealed text ``expected``: equal to it exactly if nothing differs.

    ``keyed_hash`` gives the hash of a name and a value. A secret appears as its hash, what is as expected as it is,
    and everything else as ``(hidden)``, because nobody knows what a person copied there.
    """
    names = sealed_names(expected)
    known = {match[1]: match[0] for match in _STATEMENT.finditer(expected) if match[1] not in names}
    if not actual.startswith(f"{FORMAT}\n"):
        return f"({len(actual):,} characters that were not written by the reconciler)\n"
    shown, position = [f"{FORMAT}\n"], len(FORMAT) + 1
    while match := _STATEMENT.match(actual, position):
        shown.append(_shown(match, names, known, keyed_hash))
        position = match.end()
    if position < len(actual):
        shown.append(f"({len(actual) - position:,} characters that were not written by the reconciler)\n")
    return "".join(shown)


def _shown(
    match: re.Match[str], names: Collection[str], known: Mapping[str, str], keyed_hash: Callable[[str, str], str]
) -> str:
    name, quoted = match[1], match[2]
    if name in names:
        value = "".join(inside or escaped for inside, escaped in _QUOTED.findall(quoted))
        return _sealed(name, keyed_hash(name, value))
    return match[0] if known.get(name) == match[0] else f"export {name}={HIDDEN}\n"


def _sealed(name: str, seal: str) -> str:
    return f"export {name}='***' # sealed {seal[:SEAL_DIGITS]}\n"
