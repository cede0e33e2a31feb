"""Text files from Jinja2 templates, with quoting for the two programs that read them.

Templates come from the package or from the config repository, so they run in Jinja2's sandbox, cannot load other
files, and fail on every name that is not given. This module imports Jinja2, which takes 40 ms: import it only where
something is to be rendered.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from types import TracebackType

from jinja2 import StrictUndefined, Template, TemplateSyntaxError
from jinja2.sandbox import ImmutableSandboxedEnvironment

from reconciler.model.errors import StageFailed
from reconciler.model.uwsgi_options import EXPANSIONS

COMPILED_TEMPLATES = 64


def nginx_quote(value: object) -> str:
    """``value`` as a string in double quotes that nginx reads back unchanged.

    Raises :class:`ValueError` for what nginx has no way to say: control characters, and ``$``, which it would take
    for the beginning of a variable.
    """
    text = _one_line(value, "nginx")
    if "$" in text:
        raise ValueError(f"{text!r} has a '$', which nginx would read as a variable")
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def ini_value(value: object) -> str:
    """``value`` as uWSGI reads it back unchanged from the right side of a line; booleans as ``true`` and ``false``.

    Raises :class:`ValueError` for what uWSGI has no way to say: control characters, blanks at the ends, and the
    beginnings of its own expansions ``$(``, ``@(`` and ``%(``.
    """
    if isinstance(value, bool):
        return "true" if value else "false"
    text = _one_line(value, "uWSGI")
    for expansion in EXPANSIONS:
        if expansion in text:
            raise ValueError(f"{text!r} has {expansion!r}, which uWSGI would expand")
    if text != text.strip():
        raise ValueError(f"{text!r} begins or ends with a blank, which uWSGI would drop")
    return text.replace("%", "%%")


def _one_line(value: object, program: str) -> str:
    text = str(value)
    if any(ord(character) < 32 or ord(character) == 127 for character in text):
        raise ValueError(f"{text!r} has a line break or another control character, which {program} cannot take")
    return text


def _given(value: object) -> object:
    # "None" in a configuration file is always a mistake of the template
    if value is None:
        raise ValueError("a value that is null is written out")
    return value


_environment = ImmutableSandboxedEnvironment(
    undefined=StrictUndefined,
    autoescape=False,
    trim_blocks=True,
    lstrip_blocks=True,
    keep_trailing_newline=True,
    finalize=_given,
)
_environment.filters["nginx_quote"] = nginx_quote
_environment.filters["ini_value"] = ini_value


def render(template: str, context: Mapping[str, object], *, name: str) -> str:
    """The text that ``template`` gives for ``context``; ``name`` is the template's file, for errors.

    Raises :class:`StageFailed` with the template's file and line.
    """
    try:
        return _compiled(template, name).render(dict(context))
    except TemplateSyntaxError as error:
        raise _failed(name, error.lineno, error.message or "the template does not parse") from error
    except Exception as error:
        # a template is a program: whatever it runs into is the template's failure, at one of its lines
        raise _failed(name, _line_of(error.__traceback__, name), str(error) or type(error).__name__) from error


@functools.lru_cache(maxsize=COMPILED_TEMPLATES)
def _compiled(template: str, name: str) -> Template:
    code = _environment.compile(template, name=name, filename=name)
    return Template.from_code(_environment, code, _environment.make_globals(None))


def _line_of(trace: TracebackType | None, name: str) -> int:
    """The line of the innermost frame that belongs to the template; 0 when there is none."""
    line = 0
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == name:
            line = trace.tb_lineno
        trace = trace.tb_next
    return line


def _failed(name: str, line: int, message: str) -> StageFailed:
    place = f"{name}, line {line}" if line else name
    return StageFailed(f"the template {place}: {message}", hint="correct the template in the config repository")
