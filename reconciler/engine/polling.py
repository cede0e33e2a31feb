"""Poll: one ``ls-remote`` for each repository and pass, however many apps share it; a fetch only when a ref moved."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context

from reconciler.host.git import Mirrors, RemoteRefs
from reconciler.model.errors import ReconcilerError

POLLS_AT_ONCE = 8

Polled = Mapping[str, RemoteRefs | ReconcilerError]
"""What every repository answered, by address: its refs, or why there are none."""


def poll(mirrors: Mirrors, addresses: Iterable[str]) -> dict[str, RemoteRefs | ReconcilerError]:
    """Ask every repository for its refs, side by side."""
    wanted = sorted(addresses)

    def ask(address: str) -> RemoteRefs | ReconcilerError:
        try:
            return mirrors.poll(address)
        except ReconcilerError as error:
            return error

    if len(wanted) <= 1:
        return {address: ask(address) for address in wanted}
    context = copy_context()
    with ThreadPoolExecutor(POLLS_AT_ONCE) as pool:
        # threads look at the wish to end of the one that waits for them
        answers = pool.map(lambda address: context.copy().run(ask, address), wanted)
        return dict(zip(wanted, answers, strict=True))


def fetch(mirrors: Mirrors, polled: Polled) -> dict[str, RemoteRefs | ReconcilerError]:
    """Bring the mirrors up to what was polled, side by side."""

    def update(entry: tuple[str, RemoteRefs | ReconcilerError]) -> RemoteRefs | ReconcilerError:
        address, answer = entry
        if isinstance(answer, ReconcilerError):
            return answer
        try:
            mirrors.update(address, answer)
        except ReconcilerError as error:
            return error
        return answer

    if len(polled) <= 1:
        return {address: update((address, answer)) for address, answer in polled.items()}
    context = copy_context()
    with ThreadPoolExecutor(POLLS_AT_ONCE) as pool:
        answers = pool.map(lambda entry: context.copy().run(update, entry), polled.items())
        return dict(zip(polled, answers, strict=True))


def refs_of(polled: Polled, address: str) -> RemoteRefs:
    """What a repository answered; raises the error of one that did not."""
    answer = polled[address]
    if isinstance(answer, ReconcilerError):
        raise answer
    return answer
