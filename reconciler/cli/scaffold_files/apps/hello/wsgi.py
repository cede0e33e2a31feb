"""The smallest app worth deploying: one page, no requirements."""

import html
import os

PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<title>{greeting}</title>
<link rel="stylesheet" href="/static/site.css">
<h1>{greeting} from a commit</h1>
<p>Change <code>apps/hello/wsgi.py</code>, commit, and watch the next pass.</p>
</html>
"""


def app(environ, start_response):
    """Answer every request with the page."""
    page = PAGE.format(greeting=html.escape(os.environ.get("GREETING", "Hello"))).encode()
    start_response("200 OK", [("Content-Type", "text/html; charset=utf-8"), ("Content-Length", str(len(page)))])
    return [page]
