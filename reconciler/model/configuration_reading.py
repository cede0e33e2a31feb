"""From the text of agent.yaml to a :class:`Configuration`."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from pydantic import TypeAdapter, ValidationError

from reconciler.model.configuration import DEFAULT_PORT, DEFAULT_TLS_PORT, Configuration
from reconciler.model.errors import ConfigurationError, Problem
from reconciler.model.schemas import Schema, adapter_of, json_schema
from reconciler.model.validation_sentences import found, problems_of
from reconciler.model.yaml_documents import Document, Path
from reconciler.model.yaml_reading import read_documents

SCHEMA_IDENTIFIER = "https://example.com/reconciler/v1/agent.schema.json"
EMBEDDED_ONLY = {
    "root": "this belongs to the embedded profile; the system profile keeps its state in /var/lib/reconciler",
    "http": "this belongs to the embedded profile; in the system profile every manifest says its nginx.listen",
}
HINT = "correct the file; `reconciler init DIR` writes one that works"


def read_configuration(text: bytes, *, file: str) -> Configuration:
    """The configuration that ``text`` says. Raises :class:`ConfigurationError` with every mistake on its own line."""
    read = read_documents(text, file=file)
    problems = [*read.problems, *(problem for document in read.documents for problem in document.problems)]
    documents = [document for document in read.documents if document.data is not None]
    if not problems and len(documents) != 1:
        line = documents[1].line(()) if documents else 0
        what = "it has more than one document" if documents else "it is empty"
        problems.append(Problem(file, line, "", f"expected one configuration, and {what}"))
    if problems:
        raise _error(problems)
    return _read_document(documents[0], file)


def configuration_schema() -> Schema:
    """The JSON Schema (draft 2020-12) of agent.yaml, for editors."""
    return json_schema(_adapter(), identifier=SCHEMA_IDENTIFIER, title="Configuration of an agent")


@lru_cache(maxsize=1)
def _adapter() -> TypeAdapter[Configuration]:
    return adapter_of(Configuration)


def _read_document(document: Document, file: str) -> Configuration:
    data = document.data
    if not isinstance(data, dict):
        message = f"expected a mapping of keys, found {found(data, document.written(()))}"
        raise _error([Problem(file, document.line(()), "", message)])
    problems = [
        Problem(file, document.line(path), ".".join(map(str, path)), message) for path, message in _unbuilt(data)
    ]
    try:
        configuration = _adapter().validate_python(data)
    except ValidationError as error:
        problems += problems_of(error, document, file=file, schema=configuration_schema)
        raise _error(problems) from None
    if problems:
        raise _error(problems)
    return configuration


def _unbuilt(data: dict[str, Any]) -> list[tuple[Path, str]]:
    """What the configuration knows and nothing acts on: in this profile, or yet."""
    unbuilt: list[tuple[Path, str]] = []
    if data.get("profile") == "system":
        unbuilt += [((key,), sentence) for key, sentence in EMBEDDED_ONLY.items() if key in data]
    elif data.get("uwsgi", "environment") != "environment":
        unbuilt.append((("uwsgi",), "this belongs to the system profile; the embedded one has a uWSGI in every app"))
    http = data.get("http")
    if isinstance(http, dict) and http.get("port", DEFAULT_PORT) == http.get("tlsPort", DEFAULT_TLS_PORT):
        unbuilt.append((("http", "tlsPort"), "http.port is this port already; nginx needs another one for TLS"))
    return unbuilt


def _error(problems: list[Problem]) -> ConfigurationError:
    problems.sort(key=lambda problem: (problem.line, problem.field))
    return ConfigurationError("\n".join(map(str, problems)), hint=HINT)
