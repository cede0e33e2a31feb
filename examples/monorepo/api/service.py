"""A JSON service in plain WSGI, without a framework."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable
from typing import TYPE_CHECKING

import humanize

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIEnvironment

STARTED = time.monotonic()


def application(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    if environ["PATH_INFO"] != "/":
        return answer(start_response, "404 Not Found", {"error": "there is only /"})
    uptime = humanize.precisedelta(time.monotonic() - STARTED, minimum_unit="seconds", format="%d")
    return answer(start_response, "200 OK", {"service": "api", "uptime": uptime})


def answer(start_response: StartResponse, status: str, value: dict[str, str]) -> Iterable[bytes]:
    body = json.dumps(value).encode() + b"\n"
    start_response(status, [("Content-Type", "application/json"), ("Content-Length", str(len(body)))])
    return [body]
