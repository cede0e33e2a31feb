"""The reconciler as it is measured: a world whose app is the one that the other tools deploy."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from bench import CHECKOUT
from bench.measuring import command
from world import World, manifest

HOST = "blog.example.com"
APP = """\
from flask import Flask

app = Flask(__name__)


@app.get("/")
def index() -> str:
    return {greeting!r}
"""
REQUIREMENTS = "flask>=3.0,<4\n"
STYLE = "body {\n  color: #123456;\n}\n"


def app_files(folder: str, greeting: str) -> dict[str, str]:
    """The app that everybody deploys, below ``folder`` of a repository."""
    return {
        f"{folder}/wsgi.py": APP.format(greeting=greeting),
        f"{folder}/requirements.txt": REQUIREMENTS,
        f"{folder}/static/site.css": STYLE,
    }


def app_manifest(body_size: str = "1m") -> str:
    """Its manifest."""
    return manifest("blog", static=[{"source": "static", "url": "/static/"}], nginx={"clientMaxBodySize": body_size})


def once(world: World) -> None:
    """``reconciler once``, as a whole process."""
    command(reconciler(world, "once"), env=environment())


def reconciler(world: World, *arguments: str) -> list[str | Path]:
    """A command of the reconciler."""
    return [sys.executable, "-m", "reconciler", "-c", world.agent_file, *arguments]


def environment() -> dict[str, str]:
    """An installed package has its bytecode, so a checkout has it too."""
    own = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    return {**own, "PYTHONPATH": str(CHECKOUT)}
