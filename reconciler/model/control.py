"""The language of the control socket: one JSON object per line, in and out. Pure; both ends speak it from here.

A request has ``version``, ``command`` and what that command takes; an answer has ``version``, ``ok``, and either what
was done or an ``error`` with ``message``, ``hint`` and the exit ``status`` for the one who asked.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from enum import StrEnum
from typing import Any

from reconciler.model.errors import ReconcilerError, UsageError

PROTOCOL_VERSION = 1
REQUEST_BYTES = 8 * 1024
"""The longest request, with its line break."""
REASON_CHARACTERS = 500
SYNC_SECONDS = 600.0
"""How long a client waits for the end of a pass unless it says otherwise,"""
LONGEST_SYNC_SECONDS = 86_400.0
"""and the longest that it may ask for."""
OTHER_VERSION_HINT = "the agent is of another version; restart it after an upgrade"


class Command(StrEnum):
    """What can be asked of an agent."""

    SYNC = "sync"
    SUSPEND = "suspend"
    RESUME = "resume"
    RETRY = "retry"
    ABORT = "abort"


@dataclass(frozen=True, slots=True)
class Request:
    """One request; :data:`TAKES` says what each command takes. All but ``sync`` need an ``app``."""

    command: Command
    app: str | None = None
    reason: str | None = None
    wait: bool = True
    seconds: float = SYNC_SECONDS


TAKES: Mapping[Command, frozenset[str]] = {
    Command.SYNC: frozenset({"app", "wait", "seconds"}),
    Command.SUSPEND: frozenset({"app", "reason"}),
    Command.RESUME: frozenset({"app"}),
    Command.RETRY: frozenset({"app"}),
    Command.ABORT: frozenset({"app"}),
}
"""The keys that each command takes besides ``version`` and ``command``."""


def write_request(request: Request) -> bytes:
    """One line that :func:`read_request` reads."""
    taken = {name: value for name, value in asdict(request).items() if name in TAKES[request.command]}
    return _line({"version": PROTOCOL_VERSION, "command": request.command.value, **taken})


def read_request(line: bytes) -> Request:
    """The request that a line holds; :class:`UsageError` with the reason when it holds none."""
    data = _object(line, "request")
    if data.get("version") != PROTOCOL_VERSION:
        raise UsageError(
            f"this agent speaks version {PROTOCOL_VERSION} of the control protocol, and was asked in version "
            f"{_shown(data.get('version'))}",
            hint=OTHER_VERSION_HINT,
        )
    if data.get("command") not in list(Command):
        raise UsageError(f"no command {_shown(data.get('command'))}; there are: {', '.join(Command)}")
    command = Command(data["command"])
    values = {name: value for name, value in data.items() if name not in ("version", "command")}
    if unknown := values.keys() - TAKES[command]:
        raise UsageError(f"{command} takes no {', '.join(sorted(map(_shown, unknown)))}")
    return _checked(Request(command, **values))


def write_answer(values: Mapping[str, object]) -> bytes:
    """The line that says what was done."""
    return _line({"version": PROTOCOL_VERSION, "ok": True, **values})


def write_error(error: ReconcilerError) -> bytes:
    """The line that says why nothing was done."""
    told = {"message": str(error), "hint": error.hint, "status": error.exit_status}
    return _line({"version": PROTOCOL_VERSION, "ok": False, "error": told})


def read_answer(line: bytes) -> Mapping[str, Any]:
    """What was done; raises the error that the answer holds, or one about the answer itself."""
    data = _object(line, "answer")
    if data.get("version") != PROTOCOL_VERSION:
        version = _shown(data.get("version"))
        raise ReconcilerError(
            f"the agent answers in version {version} of the control protocol", hint=OTHER_VERSION_HINT
        )
    if data.get("ok") is True:
        return data
    told = data.get("error")
    if not isinstance(told, dict) or not isinstance(told.get("message"), str):
        raise ReconcilerError("the agent answered with neither a result nor an error", hint=OTHER_VERSION_HINT)
    hint = told.get("hint")
    kind = UsageError if told.get("status") == UsageError.exit_status else ReconcilerError
    raise kind(told["message"], hint=hint if isinstance(hint, str) else None)


def checked_reason(reason: str) -> str:
    """A reason for a suspension, as it is kept; :class:`UsageError` when it says nothing, or too much."""
    text = " ".join(reason.split())
    if not text:
        raise UsageError("the reason is empty", hint="say why in a few words: --reason 'the database moves'")
    if len(text) > REASON_CHARACTERS:
        raise UsageError(f"the reason has {len(text)} characters, {REASON_CHARACTERS} are allowed")
    if not text.isprintable():
        raise UsageError("the reason has control characters", hint="write it as plain text")
    return text


def _checked(request: Request) -> Request:
    kinds: Mapping[str, type | tuple[type, ...]] = {
        "app": (str, type(None)), "reason": (str, type(None)), "wait": bool, "seconds": (int, float),
    }  # fmt: skip
    for field in fields(request):
        value = getattr(request, field.name)
        wrong = field.name in kinds and not isinstance(value, kinds[field.name])
        if wrong or (field.name == "seconds" and isinstance(value, bool)):
            raise UsageError(f"{field.name} is {_shown(value)}, which it cannot be")
    if request.app is None and request.command is not Command.SYNC:
        raise UsageError(f"{request.command} needs an app")
    if request.command is Command.SUSPEND:
        checked_reason(request.reason or "")
    if not 0 < request.seconds <= LONGEST_SYNC_SECONDS:
        raise UsageError(f"seconds is {request.seconds:g}, not between 0 and {LONGEST_SYNC_SECONDS:g}")
    return request


def _object(line: bytes, what: str) -> dict[str, Any]:
    try:
        data = json.loads(line)
    except (ValueError, RecursionError):
        raise UsageError(f"the {what} is no JSON: {_shown(line.decode('utf-8', 'replace'))}") from None
    if not isinstance(data, dict):
        raise UsageError(f"the {what} is no JSON object: {_shown(data)}")
    return data


def _shown(value: object) -> str:
    """A value as it is quoted in a sentence: on one line, and not long."""
    text = ascii(value)
    return text if len(text) <= 60 else f"{text[:60]}…"


def _line(data: Mapping[str, object]) -> bytes:
    return json.dumps(data, ensure_ascii=True, allow_nan=False).encode() + b"\n"
