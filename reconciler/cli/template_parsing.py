"""Whether a template parses, without anything to render it with."""

from __future__ import annotations

from jinja2 import TemplateSyntaxError
from jinja2.sandbox import ImmutableSandboxedEnvironment


def parse_mistake(text: str) -> tuple[int, str] | None:
    """The line and the sentence of the first mistake in a Jinja2 template; ``None`` when it parses."""
    try:
        ImmutableSandboxedEnvironment().parse(text)
    except TemplateSyntaxError as error:
        return error.lineno, error.message or "the template does not parse"
    return None
