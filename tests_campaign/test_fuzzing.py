"""Proves that no parser at the edge raises anything but a documented error, nor works without end, on rubbish."""

from __future__ import annotations

import functools
import random
import resource
import time

import pytest

from mutation import mutated
from parsers import DOCUMENTED, Parser, parsers

SEED = 20261122
INPUT_SECONDS = 1.0
"""Of processor time; the longest that one input may take, a hundred times what most take."""
MEMORY_KILOBYTES = 400 * 1024
"""How much all inputs of a parser together may make this process grow."""
LEAST = 100_000
LONGER = 20
NAMES = (
    "manifests", "agent.yaml", "kept configuration", "refs", "addresses", "revisions", "git's errors", "LFS pointers",
    "signers", "requirements.txt", "pyproject.toml", "uv.lock", "secrets in YAML", "secrets in JSON",
    "secrets in dotenv", "age keys", "environment files", "masking", "nginx", "uWSGI", "quoting", "templates",
    "control requests", "control answers", "results", "uWSGI's stats", "logs", "uv's output", "indexes",
)  # fmt: skip


@functools.cache
def every() -> dict[str, Parser]:
    return parsers()


def test_there_are_enough_inputs() -> None:
    assert tuple(every()) == NAMES
    assert sum(parser.count for parser in every().values()) >= LEAST


@pytest.mark.parametrize("name", NAMES)
def test_rubbish_is_told_in_a_documented_error(name: str, *, long: bool, share: float) -> None:
    parser = every()[name]
    count = int(parser.count * (LONGER if long else share))
    seed = random.randrange(2**32) if long else SEED
    chance = random.Random(f"{seed} {name}")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    slowest, refused, wrong = 0.0, 0, []
    for number, data in enumerate(mutated(chance, parser.corpus, count)):
        began = time.process_time()
        try:
            parser.read(data)
        except DOCUMENTED:
            refused += 1
        except Exception as error:
            wrong.append(f"{type(error).__name__}: {error} for {data[:2000]!r}")
        took = time.process_time() - began
        slowest = max(slowest, took)
        if took > INPUT_SECONDS:
            wrong.append(f"{took:.1f} s for {len(data)} bytes: {data[:2000]!r}")
        assert len(wrong) < 5, f"seed {seed}, until input {number}:\n" + "\n".join(wrong)
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    print(f"{name}: {count:,} inputs, {refused:,} refused, the slowest took {slowest * 1000:.0f} ms")
    assert not wrong, f"seed {seed}:\n" + "\n".join(wrong)
    assert grown < MEMORY_KILOBYTES
