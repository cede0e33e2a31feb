"""An open loop of requests as a program of its own: each starts on time, whatever became of the ones before.

Usage: load.py PORT HOST PATH RATE SECONDS RESULT [STOLEN]: one line per request, ``started latency status body``; the
status is 0 for a request that was not answered. Ends early when its standard input ends. STOLEN tells for how long a
hypervisor has kept each processor from this machine so far: ``time seconds seconds ...``, all in seconds.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from pathlib import Path

REQUEST_SECONDS = 20.0
LOOK_SECONDS = 0.02
STEAL = 8
"""Where a processor's line of ``/proc/stat`` has the time that was stolen from it."""


async def ask(port: int, request: bytes, results: list[tuple[float, float, int, str]]) -> None:
    """One request on a connection of its own."""
    started = time.monotonic()
    status, body = 0, ""
    writer = None
    try:
        async with asyncio.timeout(REQUEST_SECONDS):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(request)
            answer = (await reader.read()).decode("utf-8", "replace")
            head, _, body = answer.partition("\r\n\r\n")
            status = int(head.split(" ", 2)[1])
    except (OSError, TimeoutError, ValueError, IndexError) as error:
        body = repr(error)
    finally:
        if writer is not None:
            writer.close()
    results.append((started, time.monotonic() - started, status, body[:200]))


def stolen() -> list[float]:
    """The time now, and what was stolen from each processor since the boot."""
    lines = [line.split() for line in Path("/proc/stat").read_text().splitlines() if line.startswith("cpu")]
    # the first line is the sum of all
    return [time.monotonic(), *(int(line[STEAL]) / os.sysconf("SC_CLK_TCK") for line in lines[1:])]


async def look_on(looks: list[list[float]]) -> None:
    """Look again and again at what is stolen, until nobody waits for it."""
    while True:
        looks.append(stolen())
        await asyncio.sleep(LOOK_SECONDS)


async def load(
    port: int, host: str, path: str, rate: float, seconds: float, looks: list[list[float]] | None
) -> list[tuple[float, float, int, str]]:
    """``rate`` requests per second for ``seconds``."""
    request = f"GET {path} HTTP/1.0\r\nHost: {host}\r\n\r\n".encode()
    results: list[tuple[float, float, int, str]] = []
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_reader(sys.stdin, lambda: ended.set() if not sys.stdin.readline() else None)
    tasks: set[asyncio.Task[None]] = set()
    looking = None if looks is None else asyncio.create_task(look_on(looks))
    begin = time.monotonic()
    for number in range(int(rate * seconds)):
        due = begin + number / rate
        delay = due - time.monotonic()
        if delay > 0:
            await asyncio.sleep(delay)
        if ended.is_set():
            break
        task = asyncio.create_task(ask(port, request, results))
        tasks.add(task)
        task.add_done_callback(tasks.discard)
    loop.remove_reader(sys.stdin)
    if tasks:
        await asyncio.wait(tasks)
    if looks is not None and looking is not None:
        looking.cancel()
        looks.append(stolen())
    return sorted(results)


def main() -> None:
    """Run as the arguments say."""
    port, host, path, rate, seconds, result, *more = sys.argv[1:]
    looks: list[list[float]] | None = [] if more else None
    results = asyncio.run(load(int(port), host, path, float(rate), float(seconds), looks))
    Path(result).write_text(json.dumps(results), "utf-8")
    for file in more:
        Path(file).write_text(json.dumps(looks), "utf-8")


if __name__ == "__main__":
    main()
