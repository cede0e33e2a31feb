"""Python runs this in every command that the tests start: one that passes the canary on as an argument is ended."""

from __future__ import annotations

import os
import sys

MARK = "rc-canary-"
STATUS = 99


def _hook(event: str, values: tuple[object, ...]) -> None:
    if event == "subprocess.Popen" and MARK in repr(values[1]):
        os.write(2, b"the canary was an argument of a program\n")
        os._exit(STATUS)


sys.addaudithook(_hook)
