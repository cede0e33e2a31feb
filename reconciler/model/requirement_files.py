"""pip's requirements files: their lines, their includes, and what in them points into the app's own folder.

Paths are relative POSIX paths inside the app's folder; files are read through a callable, so no disk is needed.
The patterns run over files of strangers: none of them may take more than linear time.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable, Iterator

from reconciler.model.errors import StageFailed

MAX_FILES = 100
MAX_FILE_BYTES = 1024 * 1024

Reader = Callable[[str], bytes | None]
"""Gives a file's content, or ``None`` when there is no such file."""

_INCLUDE = re.compile(r"(?:-[rc][\s=]*|--(?:requirement|constraint)[\s=]+)(?P<value>\S.*)")
_EDITABLE = re.compile(r"(?:-e[\s=]+|--editable[\s=]+)(?P<value>\S.*)")
_FIND_LINKS = re.compile(r"(?:-f[\s=]+|--find-links[\s=]+)(?P<value>\S.*)")
_NAMED = re.compile(r"[A-Za-z0-9][\w.-]*\s*(?:\[[^\]]*\]\s*)?@\s*(?P<target>\S+)")
_REQUIRE_HASHES = re.compile(r"--require-hashes\b|--hash[=\s]")
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
_ARCHIVES = (".whl", ".zip", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")


class RequirementFiles:
    """One requirements file and everything it includes.

    ``files`` maps paths to contents. ``needs_source`` says that something in the app's own folder gets installed,
    ``requires_hashes`` that hash checking is asked for.

    Raises :class:`StageFailed` for a file that is missing, too large, malformed or outside the app's folder.
    """

    def __init__(self, entry: str, read: Reader) -> None:
        self.files: dict[str, bytes] = {}
        self.needs_source = False
        self.requires_hashes = False
        waiting = [(entry, "")]
        while waiting:
            path, parent = waiting.pop()
            if path in self.files:
                continue
            if len(self.files) == MAX_FILES:
                raise StageFailed(f"{entry} includes more than {MAX_FILES} files", hint="join some of them")
            self.files[path] = content_of(path, read, parent=parent)
            waiting += [(included, path) for included in self._scan(path)]

    def _scan(self, path: str) -> Iterator[str]:
        folder = posixpath.dirname(path)
        for line in logical_lines(text_of(path, self.files[path])):
            self.requires_hashes |= bool(_REQUIRE_HASHES.search(line))
            if include := _INCLUDE.fullmatch(line):
                yield inside(path, folder, _unquoted(include["value"]))
            elif links := _FIND_LINKS.fullmatch(line):
                self.needs_source |= _links_locally(path, folder, _unquoted(links["value"]))
            elif not line.startswith("-") or _EDITABLE.fullmatch(line):
                # uv reads local paths relative to the folder it runs in, which is the app's
                self.needs_source |= points_inside(path, "", line)


def without_editable(content: bytes) -> bytes:
    """A requirements file that installs copies where it asked for links into a folder (``-e``)."""
    return re.sub(rb"(?m)^([ \t]*)(?:-e|--editable)(?:[ \t]+|[ \t]*=[ \t]*)", rb"\1", content)


def logical_lines(text: str) -> Iterator[str]:
    """The lines of a requirements file: continuations joined, comments and blank lines left out."""
    joined = ""
    for line in re.split(r"\r\n|\r|\n", text):
        # a comment ends a continuation, as it does for pip
        bare = re.sub(r"(?:^|(?<=\s))#.*", "", line)
        if bare == line and line.endswith("\\"):
            joined += line[:-1]
            continue
        if logical := (joined + bare).strip():
            yield logical
        joined = ""
    if logical := joined.strip():
        yield logical


def points_inside(path: str, base: str, requirement: str) -> bool:
    """Whether a requirement in the file ``path`` is installed from the app's own folder; any other folder is refused.

    A relative path in it is relative to the folder ``base``.
    """
    editable = _EDITABLE.fullmatch(requirement)
    line = editable["value"] if editable else requirement
    named = _NAMED.match(line)
    target = named["target"] if named else re.split(r";|(?<=\s)--", line, maxsplit=1)[0].strip()
    if re.match(r"(git|hg|svn|bzr)\+(file:|[./])", target):
        inside(path, base, target.partition("+")[2])
    local = re.sub(r"^file:(?://(?:localhost)?(?=/))?", "", target)
    if _SCHEME.match(local):
        return False
    looks_local = target.startswith(("file:", ".")) or "/" in target or target.lower().endswith(_ARCHIVES)
    if not (looks_local or editable or named):
        return False
    if root := re.match(r"/*\$\{PROJECT_ROOT\}/*", local):
        base, local = "", local[root.end() :]
    inside(path, base, re.split(r"[\[#?]", local, maxsplit=1)[0] or ".")
    return True


def _links_locally(path: str, folder: str, value: str) -> bool:
    """Whether ``--find-links`` names a folder of the app; an absolute one belongs to the host, not to the app."""
    if value.startswith("/") or _SCHEME.match(value):
        return False
    # uv reads it relative to the file
    inside(path, folder, value.removeprefix("file:"))
    return True


def inside(path: str, base: str, value: str) -> str:
    """``value`` relative to the folder ``base`` as a path in the app's folder; ``path`` is the file that names it."""
    if _SCHEME.match(value) or value.startswith("file:"):
        raise StageFailed(
            f"{path} includes {without_password(value)}, which is not in git",
            hint="commit the file and include it by its path",
        )
    joined = posixpath.normpath(posixpath.join(base, value))
    if value.startswith("/") or joined == ".." or joined.startswith("../") or "\x00" in value:
        raise StageFailed(
            f"{path} names {value!r}, which is outside the app's folder",
            hint="move it below source.directory, or choose a source.directory that holds both",
        )
    return joined


def without_password(text: str) -> str:
    """``text`` with the password of every URL in it masked."""
    return re.sub(r"(?<=://)([^/\s@:]*):[^/\s@]+@", r"\1:****@", text)


def content_of(path: str, read: Reader, *, parent: str = "", limit: int = MAX_FILE_BYTES) -> bytes:
    """The content of ``path``, which must exist; ``parent`` is the file that includes it, ``limit`` is in bytes."""
    content = read(path)
    if content is None:
        named = f"{parent} includes {path}" if parent else f"build.requirements names {path}"
        raise StageFailed(
            f"{named}, which is not in the app's folder at this commit",
            hint=f"commit {path}, or correct the name (it is case sensitive and relative to source.directory)",
        )
    return checked(path, content, limit)


def checked(path: str, content: bytes, limit: int) -> bytes:
    """``content`` itself, unless it is larger than ``limit`` bytes."""
    if len(content) > limit:
        raise StageFailed(
            f"{path} has {len(content)} bytes; at most {limit} are read", hint="check that it is the file you mean"
        )
    return content


def text_of(path: str, content: bytes) -> str:
    """The text of a file, which must be UTF-8."""
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise StageFailed(f"{path} is not UTF-8 text (byte {error.start})", hint="save it as UTF-8") from None


def _unquoted(value: str) -> str:
    value = value.strip()
    return value[1:-1] if len(value) > 1 and value[0] == value[-1] and value[0] in "'\"" else value
