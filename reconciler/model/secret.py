"""A secret's value, as a type that shows ``***`` wherever text is shown, and a mask for texts that others wrote."""

from __future__ import annotations

import hmac
import json
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NoReturn, Self
from weakref import WeakValueDictionary

MASK = "***"
MASKED_CHARACTERS = 4
"""A shorter value, or a shorter line of one, is in so many words that masking it would tell more than it hides."""
LINE_BYTES = 1024 * 1024

_alive: WeakValueDictionary[int, Secret] = WeakValueDictionary()


class Secret(str):
    """The text ``***``, with a value behind it that only :meth:`reveal` gives.

    It is a text, so that whatever prints, formats, joins or serializes it gets the mask and never the value. Two
    secrets are equal when their values are; a secret and a text never are. It cannot be pickled.
    """

    __slots__ = ("__weakref__", "_value")

    def __new__(cls, value: str) -> Self:
        """A secret with this value."""
        secret = super().__new__(cls, MASK)
        secret._value = value
        _alive[id(secret)] = secret
        return secret

    _value: str

    def reveal(self) -> str:
        """The value. Whoever calls this keeps it out of everything that is shown or written down."""
        return self._value

    def __repr__(self) -> str:
        return MASK

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Secret):
            return False
        return hmac.compare_digest(_encoded(self), _encoded(other))

    def __ne__(self, other: object) -> bool:
        return not self == other

    def __hash__(self) -> int:
        return hash(MASK)

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, _memo: object) -> Self:
        return self

    def __reduce_ex__(self, _protocol: object) -> NoReturn:
        raise TypeError("a secret is not written down")


def masked(text: str, secrets: Iterable[Secret] | None = None) -> str:
    """``text`` with every value of ``secrets`` (left out: of all that this process holds) replaced by ``***``.

    A value is found as it is, as Python and JSON write it in quotes, and, where it has several lines, line by line.
    """
    found = list(_alive.values()) if secrets is None else list(secrets)
    spellings = {spelling for secret in found for spelling in _spellings(secret.reveal())}
    for spelling in sorted(spellings, key=len, reverse=True):
        text = text.replace(spelling, MASK)
    return text


def masked_within(value: Any) -> Any:
    """A value of plain data with :func:`masked` texts, at any depth."""
    if isinstance(value, Secret):
        return MASK
    if isinstance(value, str):
        return masked(value)
    if isinstance(value, dict):
        return {masked_within(key): masked_within(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(masked_within(item) for item in value)
    return value


class MaskedLines:
    """Hands output on line by line, with every value of ``secrets`` masked; :meth:`end` hands on the last one."""

    def __init__(self, write: Callable[[bytes], None], secrets: Iterable[Secret]) -> None:
        self._write = write
        self._secrets = tuple(secrets)
        self._rest = b""

    def write(self, output: bytes) -> None:
        """Take what was printed; a line that has not ended yet waits, as long as it is not endless."""
        *lines, self._rest = (self._rest + output).split(b"\n")
        self._hand_on(b"".join(line + b"\n" for line in lines))
        if len(self._rest) > LINE_BYTES:
            self.end()

    def end(self) -> None:
        """There is no more output."""
        rest, self._rest = self._rest, b""
        self._hand_on(rest)

    def _hand_on(self, output: bytes) -> None:
        if output:
            text = masked(output.decode("utf-8", "surrogateescape"), self._secrets)
            self._write(text.encode("utf-8", "surrogateescape"))


def _spellings(value: str) -> Iterator[str]:
    lines = [line.strip() for line in value.splitlines()]
    for text in {value, *lines}:
        if len(text) >= MASKED_CHARACTERS:
            yield from (text, repr(text)[1:-1], json.dumps(text)[1:-1], json.dumps(text, ensure_ascii=False)[1:-1])
            yield text.replace("'", "'\\''")


def _encoded(secret: Secret) -> bytes:
    return secret.reveal().encode("utf-8", "surrogatepass")
