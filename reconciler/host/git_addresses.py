"""Addresses of git repositories: which are allowed, how they are shown, and where a submodule's leads."""

from __future__ import annotations

import base64
import hashlib
import posixpath
import re
from dataclasses import dataclass
from functools import lru_cache
from urllib.parse import SplitResult, unquote, urlsplit

from reconciler.model.errors import RepositoryRefused

ALLOWED_PROTOCOLS = "https:ssh:file"
"""What git itself may speak (``GIT_ALLOW_PROTOCOL``), should a configuration rewrite an address."""

MIRROR_NAME_DIGITS = 24

_HINT = "write https://…, ssh://…, user@host:path, file:///… or an absolute path"
# and what is no text at all, which a file of a repository may hold
_CONTROL = re.compile(r"[\x00-\x20\x7f\ud800-\udfff]")
_SCP = re.compile(r"(?P<host>[A-Za-z0-9_][\w.-]*@(?:[A-Za-z0-9][A-Za-z0-9.-]*|\[[0-9A-Fa-f:]+\])):(?P<path>[^-:].*)")
_USER_INFO = re.compile(r"(?P<scheme>\bhttps?://)[^/\s'\"]*@|(?P<ssh>\bssh://)[^/\s'\":@]*:[^/\s'\"]*@")


@dataclass(frozen=True, slots=True)
class Address:
    """An address that git may be given.

    ``url`` has no password in it, so that none appears in the list of processes; ``authorization`` is the HTTP
    header that takes its place. ``shown`` is for logs and errors, ``protocol`` is ``https``, ``ssh`` or ``file``.
    """

    url: str
    shown: str
    protocol: str
    authorization: str | None = None

    @property
    def mirror_name(self) -> str:
        """The name of the repository's mirror; a new password leads to the same one."""
        return hashlib.sha256(self.url.encode()).hexdigest()[:MIRROR_NAME_DIGITS] + ".git"


def masked(text: str) -> str:
    """``text`` with the credentials of every URL in it replaced by ``***``."""
    return _USER_INFO.sub(lambda match: f"{match['scheme'] or match['ssh']}***@", text)


@lru_cache(maxsize=4_096)
def parse_address(text: str) -> Address:
    """Check an address; raises :class:`RepositoryRefused` for any but https, ssh and file."""
    shown = masked(text)
    if not text or text.startswith("-") or _CONTROL.search(text):
        raise RepositoryRefused(f"{shown!r} is not a repository address", hint=_HINT)
    if text.startswith("/"):
        return Address(_absolute(text, shown), shown, "file")
    scp = _SCP.fullmatch(text)
    if scp is not None:
        return Address(text, shown, "ssh")
    try:
        parts = urlsplit(text)
        host, _ = parts.hostname, parts.port
    except ValueError as error:
        raise RepositoryRefused(f"{shown!r} is not a repository address: {error}", hint=_HINT) from None
    if parts.scheme == "file" and not parts.netloc:
        return Address(f"file://{_absolute(parts.path, shown)}", shown, "file")
    if parts.scheme not in ("https", "ssh") or "::" in text.split("/", 1)[0]:
        raise RepositoryRefused(f"{shown!r}: only https, ssh and file addresses are allowed", hint=_HINT)
    if not host or host.startswith("-") or parts.netloc.startswith("-") or parts.path.startswith("/-"):
        raise RepositoryRefused(f"{shown!r} is not a repository address", hint=_HINT)
    return _with_host(parts, text, shown)


def _with_host(parts: SplitResult, text: str, shown: str) -> Address:
    if parts.password is None:
        return Address(text, shown, parts.scheme)
    if parts.scheme == "ssh":
        raise RepositoryRefused(f"{shown!r}: ssh takes no password in an address", hint="use a key, without password")
    pair = f"{unquote(parts.username or '')}:{unquote(parts.password)}"
    header = "Authorization: Basic " + base64.b64encode(pair.encode()).decode()
    bare = parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()
    return Address(bare, shown, "https", header)


def _absolute(path: str, shown: str) -> str:
    if not path.startswith("/") or path == "/":
        raise RepositoryRefused(f"{shown!r} is not a repository address", hint=_HINT)
    return "/" + posixpath.normpath(path).lstrip("/")


def submodule_address(parent: str, url: str) -> str:
    """The address of a submodule with ``url`` in .gitmodules of ``parent``, as git resolves it.

    Raises :class:`RepositoryRefused` for an address that is not allowed, and for a local one below a repository
    that came over the network: its author must not choose what is read on this host.
    """
    address = _relative(parent, url) if url.startswith(("./", "../")) or url in (".", "..") else url
    parsed = parse_address(address)
    if parsed.protocol == "file" and parse_address(parent).protocol != "file":
        raise RepositoryRefused(
            f"{masked(parent)}: its submodule {parsed.shown!r} is a path on this host",
            hint="give the submodule an https or ssh address, or one relative to its parent",
        )
    return address


def _relative(parent: str, url: str) -> str:
    base = parent.rstrip("/")
    # a file: or https: path must not climb above its host
    scp = _SCP.fullmatch(base)
    if scp is not None:
        prefix, path = scp["host"] + ":", scp["path"]
    elif "://" in base:
        parts = urlsplit(base)
        prefix, path = f"{parts.scheme}://{parts.netloc}", parts.path
    else:
        prefix, path = "", base
    joined = posixpath.normpath(posixpath.join(path, url))
    if joined in (".", "/") or joined.startswith(".."):
        raise RepositoryRefused(f"{masked(parent)}: its submodule {url!r} leads out of the server's folders")
    return prefix + joined
