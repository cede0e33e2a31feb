"""The website beside the service, on Bottle."""

from __future__ import annotations

import os
from pathlib import Path

import bottle

bottle.TEMPLATE_PATH = [str(Path(__file__).resolve().parent / "views")]

app = bottle.Bottle()


@app.get("/")
def index() -> str:
    return bottle.template("index", api=os.environ.get("API_ADDRESS", "http://api.localhost"))
