"""An open loop of requests as a program of its own: each starts on time, whatever became of the ones before.

Usage: load.py PORT HOST PATH RATE SECONDS RESULT: one line per request, ``started latency status body``; the status
is 0 for a request that was not answered. Ends early when its standard input ends.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from pathlib import Path

REQUEST_SECONDS = 20.0


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


async def load(port: int, host: str, path: str, rate: float, seconds: float) -> list[tuple[float, float, int, str]]:
    """``rate`` requests per second for ``seconds``."""
    request = f"GET {path} HTTP/1.0\r\nHost: {host}\r\n\r\n".encode()
    results: list[tuple[float, float, int, str]] = []
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_reader(sys.stdin, lambda: ended.set() if not sys.stdin.readline() else None)
    tasks: set[asyncio.Task[None]] = set()
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
    return sorted(results)


def main() -> None:
    """Run as the arguments say."""
    port, host, path, rate, seconds, result = sys.argv[1:7]
    results = asyncio.run(load(int(port), host, path, float(rate), float(seconds)))
    Path(result).write_text(json.dumps(results), "utf-8")


if __name__ == "__main__":
    main()
