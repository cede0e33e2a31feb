"""Reading a folder of manifests as a pass would, without git."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from reconciler.model.errors import Problem, UsageError
from reconciler.model.manifest_reading import ManifestSet, Placed, read_manifests

MANIFESTS = "manifests"
TEMPLATES = "templates"
ENDINGS = (".yaml", ".yml")
READ_LIMIT_BYTES = 16 * 1024 * 1024
"""More than the reader takes of a manifest, so that it is the reader who refuses."""


@dataclass(frozen=True, slots=True)
class Validation:
    """What was found: how many files and apps there are, and every mistake."""

    files: int
    apps: int
    problems: tuple[Problem, ...]

    def as_json(self) -> dict[str, object]:
        """The object that ``validate --json`` prints."""
        return {
            "valid": not self.problems,
            "files": self.files,
            "apps": self.apps,
            "problems": [
                {
                    "file": problem.file,
                    "line": problem.line,
                    "field": problem.field,
                    "message": problem.message,
                    "app": problem.app,
                }
                for problem in self.problems
            ],
        }


def validate(folder: Path, allowed_options: Collection[str] = ()) -> Validation:
    """Every mistake of every manifest in ``folder/manifests``, or in ``folder`` itself where there is no such folder.

    Raises :class:`UsageError` when there is nothing to read.
    """
    if not folder.is_dir():
        raise UsageError(f"there is no folder {folder}", hint="name the config repository's folder, such as .")
    manifests = folder / MANIFESTS
    root, start = (folder, manifests) if manifests.is_dir() else (folder, folder)
    found = sorted(file for file in start.rglob("*") if file.suffix in ENDINGS and _is_read(file, start))
    if not found:
        raise UsageError(f"there is no manifest in {start}", hint="`reconciler init DIR` writes an example")
    texts = {str(file.relative_to(root)): _read(file) for file in found}
    manifest_set = read_manifests(texts, allowed_options=allowed_options)
    problems = [*manifest_set.problems, *_template_problems(manifest_set, root)]
    return Validation(len(found), len(manifest_set.manifests), tuple(sorted(problems, key=_place)))


def _is_read(file: Path, start: Path) -> bool:
    hidden = any(part.startswith(".") for part in file.relative_to(start).parts)
    return file.is_file() and not hidden


def _template_problems(manifest_set: ManifestSet, root: Path) -> list[Problem]:
    problems = []
    beside = root.resolve().parent / TEMPLATES
    # whoever names the folder of the manifests itself has the templates beside it
    templates = beside if beside.is_dir() and not (root / TEMPLATES).is_dir() else root / TEMPLATES
    for placed in manifest_set.manifests:
        name = placed.manifest.spec.nginx.template
        sentence = _template_mistake(templates / name, name) if name is not None else None
        if sentence is not None:
            problems.append(_problem(placed, sentence))
    return problems


def _template_mistake(file: Path, name: str) -> str | None:
    try:
        text = file.read_text("utf-8")
    except FileNotFoundError:
        return f"there is no {TEMPLATES}/{name}"
    except (OSError, UnicodeDecodeError) as error:
        return f"{TEMPLATES}/{name} cannot be read: {error}"
    # Jinja2 takes 40 ms to import, and few apps have a template of their own
    from reconciler.cli.template_parsing import parse_mistake  # noqa: PLC0415

    mistake = parse_mistake(text)
    return None if mistake is None else f"{TEMPLATES}/{name}, line {mistake[0]}: {mistake[1]}"


def _problem(placed: Placed, sentence: str) -> Problem:
    return Problem(placed.file, placed.line, "spec.nginx.template", sentence, placed.manifest.name)


def _read(file: Path) -> bytes:
    with file.open("rb") as opened:
        return opened.read(READ_LIMIT_BYTES)


def _place(problem: Problem) -> tuple[str, int, str]:
    return problem.file, problem.line, problem.field
