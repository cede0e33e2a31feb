"""A process that has imported all of the reconciler, and forks agents that kill themselves where they are told to.

Run as a program, it reads one JSON object per line on standard input and answers each with one:
``{"do": "fork", "arguments": [...], "plan": {...}}`` with ``{"pid": ...}``, and ``{"do": "wait", "pid": ...,
"seconds": ...}`` with ``{"status": ...}`` (negative: the signal; null: it still runs). What an agent does besides its
plan is what ``reconciler ARGUMENTS`` does.
"""

from __future__ import annotations

import ctypes
import gc
import importlib
import json
import os
import pkgutil
import signal
import sys
import time
from pathlib import Path

POLL_SECONDS = 0.005
PR_SET_PDEATHSIG = 1


def import_everything() -> None:
    """Import all modules of the reconciler, so that no agent has to."""
    import reconciler

    for module in pkgutil.walk_packages(reconciler.__path__, "reconciler."):
        if not module.name.endswith("__main__") and "_files" not in module.name:
            importlib.import_module(module.name)


def fork(arguments: list[str], plan: dict[str, object]) -> int:
    """Start an agent; returns its process."""
    template = os.getpid()
    pid = os.fork()
    if pid:
        return pid
    try:
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != template:
            os._exit(1)
        os.setsid()
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        output = os.open(str(plan["output"]), os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        nothing = os.open(os.devnull, os.O_RDONLY)
        os.dup2(nothing, 0)
        os.dup2(output, 1)
        os.dup2(output, 2)
        be_an_agent(arguments, plan)
    finally:
        os._exit(70)


def be_an_agent(arguments: list[str], plan: dict[str, object]) -> None:
    """Do what the command line does, and watch it as the plan says."""
    import canary
    from points import watch
    from reconciler.cli.main import entry
    from reconciler.host import daemons

    if (boot := plan.get("boot")) is not None:
        daemons.BOOT_ID = Path(str(boot))
    if (scratch := plan.get("scratch")) is not None:
        os.environ["TMPDIR"] = str(scratch)
    if module := plan.get("prepare"):
        importlib.import_module(str(module)).prepare(plan)
    canary.forbid_arguments()
    watch(plan)
    sys.argv = ["reconciler", *arguments]
    entry()


def wait(pid: int, seconds: float) -> int | None:
    """How an agent ended: its exit status, or minus the signal; ``None`` when it has not within ``seconds``."""
    deadline = time.monotonic() + seconds
    while True:
        found, status = os.waitpid(pid, os.WNOHANG)
        if found:
            return os.waitstatus_to_exitcode(status)
        if time.monotonic() > deadline:
            return None
        time.sleep(POLL_SECONDS)


def main() -> None:
    """Answer until standard input ends."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parent.parent / "tests")]
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    import_everything()
    gc.collect()
    gc.freeze()
    answers.write("ready\n")
    for line in sys.stdin:
        request = json.loads(line)
        if request["do"] == "fork":
            answer: dict[str, object] = {"pid": fork(request["arguments"], request["plan"])}
        else:
            answer = {"status": wait(request["pid"], request["seconds"])}
        answers.write(json.dumps(answer) + "\n")


if __name__ == "__main__":
    main()
