"""A small Flask app. Edit the greeting, commit, and watch http://127.0.0.1:8080 change."""

import os

from flask import Flask

GREETING = "Hello from a commit"

app = Flask(__name__, static_folder=None)


@app.get("/")
def index() -> str:
    """The one page."""
    release = os.environ.get("RECONCILER_RELEASE", "unknown")
    return f"""<!doctype html>
<html lang="en">
<head><meta charset="utf-8"><title>{GREETING}</title><link rel="stylesheet" href="/static/site.css"></head>
<body><main><h1>{GREETING}</h1><p>Release <code>{release}</code>, served by nginx and uWSGI.</p></main></body>
</html>
"""
