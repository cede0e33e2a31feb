"""What the log of an app says to a person: why uWSGI ended, without the lines that uWSGI prints at every start."""

from __future__ import annotations

import re

TRACEBACK = "Traceback (most recent call last)"
CAUSE_CHARACTERS = 300

_OPTION_COMPLAINTS = ("unable to find option", "[strict-mode]", "unavailable modifier", "unrecognized option")
_SYNTAX_ERROR = re.compile(
    r'^  File "(?P<file>.+)", line (?P<line>\d+)\n(?:    .*\n)*(?P<words>\w+Error: .*)', re.MULTILINE
)
_DEATH = re.compile(r"^DAMN ! worker \d+ \(pid: \d+\) died(?:, killed by signal (\d+))? :\(", re.MULTILINE)
_BEGINNING = re.compile(r"^\[uWSGI\] getting INI configuration from ", re.MULTILINE)
_NOISE = re.compile(
    r"\*\*\* .*\*\*\*\s*$|compiled with version: |os: |nodename: |machine: |clock source: |pcre jit |detected |"
    r"current working directory: |chdir\(\) to |lock engine: |thunder lock: |uwsgi socket \d+ |uWSGI running as |"
    r"your (processes number|memory page|server socket|mercy) |Python version: |--- Python VM |"
    r"Python main interpreter |python threads support|mapped \d+ bytes|VACUUM: |unlink\(\): No such file|"
    r"spawned uWSGI |announcing my loyalty|unable to load app \d+ \(mountpoint|WSGI app \d+ \(mountpoint|"
    r"\[uWSGI\] getting INI |!!! |.* - \[emperor\] |vassal: \d+: \.: cannot open "
)


def cause_of_end(log: str) -> str:
    """Why uWSGI ended, as the log has it: the app's exception, a wrong option; else that it did."""
    trace = _from_traceback(log)
    if trace is not None:
        for line in trace.splitlines()[1:]:
            if line and not line.startswith((" ", "\t")):
                return _short(line)
    syntax = _SYNTAX_ERROR.search(log)
    if syntax is not None:
        return _short(f"{syntax['words']} ({syntax['file'].rpartition('/')[2]}, line {syntax['line']})")
    for line in log.splitlines():
        if line.startswith(_OPTION_COMPLAINTS):
            return _short(line.strip())
        if "callable not found" in line:
            return "its module has no such callable"
    return "uWSGI ends before it can take a request"


def telling(log: str) -> str:
    """The log from its last traceback on, without uWSGI's own news of a start."""
    lines = (_from_traceback(log) or log).splitlines()
    return "\n".join(line for line in lines if line.strip() and not _NOISE.match(line))


def death_of_worker(log: str) -> str | None:
    """How the last worker ended that uWSGI did not end itself, as the end of a sentence; ``None`` when none did."""
    deaths = _DEATH.findall(log)
    if not deaths:
        return None
    return f"was killed by signal {deaths[-1]}" if deaths[-1] else "ended by itself"


def about_vassal(emperor_log: str, vassal: str) -> str:
    """The part of the Emperor's log that the last start of one vassal printed; all vassals print into it."""
    parts = _BEGINNING.split(emperor_log)
    own = next((part for part in reversed(parts[1:]) if part.startswith(f"{vassal}.ini")), "")
    return own.partition("\n")[2]


def _from_traceback(log: str) -> str | None:
    start = log.rfind(TRACEBACK)
    return None if start < 0 else log[start:]


def _short(text: str) -> str:
    return text if len(text) <= CAUSE_CHARACTERS else f"{text[:CAUSE_CHARACTERS]}…"
