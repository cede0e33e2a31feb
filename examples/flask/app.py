"""A whole web app in one file: a page, a form and a health check."""

from __future__ import annotations

import os

from flask import Flask, jsonify, render_template, request

app = Flask(__name__)


@app.get("/")
def index() -> str:
    name = request.args.get("name", "").strip() or "world"
    return render_template("index.html", greeting=os.environ.get("GREETING", "Hello"), name=name)


@app.get("/healthz")
def health():
    return jsonify(status="ok")
