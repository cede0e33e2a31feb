"""What uv's output says went wrong, in one sentence that names the requirement."""

from __future__ import annotations

import re

_UNREACHABLE = ("Failed to fetch", "error sending request", "Could not connect", "dns error", "tcp connect error")
_UNREACHABLE_STATUS = re.compile(r"HTTP status (?:server error|client error) \((?:5\d\d|429)")
_MARKS = re.compile(r"^\s*(?:error:|cause:|Caused by:|×|╰─▶|├─▶)\s*")
_CONCLUSION = re.compile(r",? we can conclude that .*|,? and therefore .* unsatisfiable.*", re.DOTALL)
_FETCHED = re.compile(r"Failed to fetch: `?([^\s`]+)")
_BUILD = re.compile(r"Failed to (?:build|prepare) `([^\s`]+)")
MAX_SENTENCE_CHARACTERS = 500


def unreachable_index(output: str) -> str | None:
    """The address that did not answer, or ``None`` when the output is about something else."""
    if not any(sign in output for sign in _UNREACHABLE):
        return None
    fetched = _FETCHED.search(output)
    # an answer such as 404 or 401 comes again with the next try; no answer, or a server's failure, may not
    if "HTTP status" in output and not _UNREACHABLE_STATUS.search(output):
        return None
    return fetched[1] if fetched else "the package index"


def failure_sentence(entry: str, output: str) -> str:
    """Why the requirements in ``entry`` cannot be installed."""
    statements = _statements(output)
    reason = next((text for text in statements if text.startswith("Because ")), None)
    if reason is not None:
        return _short(
            f"{entry} cannot be resolved: {_CONCLUSION.sub('', reason.removeprefix('Because ')).rstrip('.')}"
        )
    built = _BUILD.search(output)
    if built is not None:
        last = _last_indented(output)
        return _short(f"{entry}: {built[1]} cannot be built" + (f": {last}" if last else ""))
    return _short(f"{entry} cannot be installed: {': '.join(statements[:2]) or 'uv gave no reason'}")


def _statements(output: str) -> list[str]:
    """The error and its causes, each joined to one line; quotes of other programs' output are left out."""
    statements: list[str] = []
    open_statement = False
    for line in output.splitlines():
        if _MARKS.match(line):
            statements.append(_MARKS.sub("", line).strip())
            open_statement = True
        elif not line.strip() or line.startswith("hint:"):
            open_statement = False
        elif open_statement and line.startswith(" "):
            statements[-1] += " " + line.strip()
    return [text.rstrip(":") for text in statements if text]


def _last_indented(output: str) -> str:
    """The last line of what a build printed, which uv quotes indented."""
    _, _, quoted = output.rpartition("[stderr]")
    own_words = re.search(r"(?m)^\s*hint:", quoted)
    quoted = quoted[: own_words.start()] if own_words else quoted
    lines = [line.strip() for line in quoted.splitlines() if line.startswith("  ") and line.strip()]
    return lines[-1] if lines else ""


def _short(sentence: str) -> str:
    # the marks below the quoted line mean nothing once it is joined to the sentence
    line = re.sub(r" \^+$", "", " ".join(sentence.split()))
    return line if len(line) <= MAX_SENTENCE_CHARACTERS else line[: MAX_SENTENCE_CHARACTERS - 1] + "…"
