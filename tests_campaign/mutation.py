"""Inputs for parsers: what is right, changed at random places in ways that parsers trip over."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence

LONGEST = 64 * 1024
"""No input grows beyond this, whatever happens to it."""

PIECES: tuple[bytes, ...] = (
    b"\0", b"\n", b"\r", b"\r\n", b"\t", b" ", b"\xff", b"\xfe\xff", b"\xef\xbb\xbf", b"\xed\xa0\x80",
    b"\xe2\x80\xae", b"\x1b]0;x\x07", b"'", b'"', b"\\", b"\\u0000", b"\\ud800", b"`", b"$(x)", b"${x}", b"%(x)",
    b"@(x)", b"%", b"%s", b"{{", b"}}", b"{%", b"%}", b"{#", b"[", b"]", b"{", b"}", b"(", b")", b"<", b">",
    b"[" * 200, b"{" * 200, b"(" * 200, b"- " * 100, b"? " * 50, b"&a ", b"*a",
    b"!!python/object/apply:os.system ", b"!!int ", b"!", b"<<: ", b"---\n", b"...\n", b"%YAML 1.1\n", b"|\n",
    b">\n", b"# ", b": ", b",", b";", b"=", b"/", b"..", b"../" * 20, b"//", b"://", b"file:///", b"ext::", b"-",
    b"--", b"-e ", b"-r ", b"@", b"#", b"&&", b"0", b"-1", b"1e999", b"-0.0", b".inf", b".nan", b"9" * 30,
    b"9" * 400, b"0x" + b"f" * 40, b"0o7", b"null", b"true", b"~", b"NaN", b"Infinity", b"^", b"~1", b">=1,<2",
    b"*", b"x" * 300, b"a" * 5000, "ünï✓😀".encode(), b"ENC[AES256_GCM,data:,iv:,tag:,type:str]", b"sops",
    b"\n\n\n", b"AAAA", b"refs/heads/", b"^{}", b"1" * 40, b"\x7f", b"\x85", b"\xc2\x85", b"\xe2\x80\xa8",
)  # fmt: skip


def mutated(chance: random.Random, corpus: Sequence[bytes], count: int) -> Iterator[bytes]:
    """``count`` inputs, each made from one of the corpus by one to eight changes."""
    for _ in range(count):
        data = bytearray(chance.choice(corpus))
        for _ in range(chance.choice((1, 1, 2, 3, 5, 8))):
            _change(chance, data, corpus)
        yield bytes(data[:LONGEST])


def _change(chance: random.Random, data: bytearray, corpus: Sequence[bytes]) -> None:
    start = chance.randint(0, len(data))
    end = min(len(data), start + chance.choice((1, 2, 4, 16, 64)))
    match chance.randrange(8):
        case 0:
            data[start:end] = b""
        case 1:
            data[start:start] = chance.choice(PIECES)
        case 2:
            data[start:end] = chance.choice(PIECES)
        case 3:
            data[start:start] = data[start:end] * chance.choice((1, 2, 50))
        case 4 if data:
            data[min(start, len(data) - 1)] = chance.randrange(256)
        case 5:
            other = chance.choice(corpus)
            cut = chance.randint(0, len(other))
            data[start:end] = other[cut : cut + chance.choice((4, 32, 256))]
        case 6:
            del data[start:]
        case _:
            data[start:start] = bytes(chance.randrange(256) for _ in range(chance.choice((1, 3, 9))))
